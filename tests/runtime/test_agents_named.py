"""The agents that a tool may call: named in the file, read with it, and their faults told with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from autopilot_runtime import AgentFileError, AsyncRuntime, ScriptedProvider

LEAD = """
agent:
  name: Lead
  model: {provider: scripted, name: none}
  tools:
    - name: delegate
      config:
        agents:
"""
HELPER = """
agent:
  name: Helper
  model: {provider: scripted, name: none}
"""


def faults(folder: Path, lead: str) -> list[str]:
    """What is wrong with a lead, without the folder."""
    (folder / "lead.yaml").write_text(lead.lstrip())
    with pytest.raises(AgentFileError) as caught:
        AsyncRuntime(folder / "lead.yaml", provider=ScriptedProvider([]))
    return [text.replace(f"{folder}/", "") for text in caught.value.problems]


def test_every_fault_of_the_files_below_is_told_with_both_places(tmp_path: Path) -> None:
    files = {
        "tools": HELPER + "  tools: [reed_file]\n",
        "rules": HELPER + "  permissions:\n    - deny: execute(\n",
        "keys": HELPER + "  modle: {}\n  tools: 5\n",
        "below": HELPER + "  tools:\n    - {name: delegate, config: {agents: {a: ./tools.yaml, b: ./none.yaml}}}\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text.lstrip())
    lines = [f"          {name}: ./{name}.yaml\n" for name in [*files, "gone"]]
    found = faults(tmp_path, LEAD + "".join(lines))
    told = "lead.yaml:{}:{} tools.0.config.agents.{}: {}"
    expected = [
        told.format(8, 18, "tools", "tools.yaml:4:11 tools.0: No tool or tool pack 'reed_file'."),
        told.format(9, 18, "rules", "rules.yaml:5:7 permissions.0: expected tool or tool(pattern)"),
        told.format(10, 17, "keys", "keys.yaml:4:3 modle: unknown key; did you mean 'model'?"),
        told.format(10, 17, "keys", "keys.yaml:5:10 tools: expected a list, got 5"),
        told.format(11, 18, "below", "below.yaml:5:62 tools.0.config.agents.b: none.yaml: there is no such file"),
        told.format(12, 17, "gone", "gone.yaml: there is no such file"),
    ]
    for text, beginning in zip(found, expected, strict=True):
        assert text.startswith(beginning), text


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("delegate", "delegate calls other agents, and none is named"),
        ("{name: delegate, config: {agents: {x: nobody}}}", "No agent 'nobody'. Shipped: coder,"),
        ("{name: delegate, config: {agents: {x: ../x.yaml}}}", "leads outside the project"),
        ("{name: delegate, config: {agents: {a/b: coder}}}", "expected a name of letters"),
        ("{name: delegate, config: {agents: {x: coder}, max_dept: 1}}", "did you mean 'max_depth'?"),
        ("{name: find, config: {agents: {x: coder}}}", "find calls no agents"),
    ],
)
def test_an_entry_that_names_no_agent_or_a_wrong_one_is_a_fault(tmp_path: Path, entry: str, fault: str) -> None:
    (found,) = faults(tmp_path, LEAD.partition("    - name")[0] + f"    - {entry}\n")
    assert found.startswith("lead.yaml:5:") and fault in found


def test_agents_that_call_each_other_are_read_once_each(tmp_path: Path) -> None:
    (tmp_path / "lead.yaml").write_text(LEAD + "          me: ./lead.yaml\n          other: ./other.yaml\n")
    (tmp_path / "other.yaml").write_text(LEAD.replace("Lead", "Other") + "          back: ./lead.yaml\n")
    runtime = AsyncRuntime(tmp_path / "lead.yaml", provider=ScriptedProvider([]))
    assert [agent.name for agent in runtime._kit.ground.roster] == ["Lead", "Other"]
