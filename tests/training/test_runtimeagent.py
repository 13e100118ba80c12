"""Our own runtime as judge and optimizer: real runs with scripted models, in a folder of their own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import AgentFileError, EventType, ScriptedProvider, SetupError
from autopilot_runtime.core.errors import MissingKey
from autopilot_runtime.training import (
    AgentOptimizer,
    Datum,
    JudgeAgent,
    JudgeLoss,
    RuntimeAgent,
    TextGradient,
    TextParameter,
)
from tests.fake_provider import FakeModel

EDIT = """I set the tone.

```codepilot
text = read_file("prompt.md")
write_file("prompt.md")
```

```text filename=prompt.md
Be kind and brief.
```

```completion
Strategy: set the tone
prompt.md:1 now says how to speak; mends "too curt".
```
"""


def prompt() -> TextParameter:
    made = TextParameter("Be brief.", name="prompt")
    made.receive(TextGradient("too curt", severity="high"))
    return made


def test_the_shipped_proposer_changes_a_prompt_through_a_control_block() -> None:
    model = ScriptedProvider([EDIT])
    agent = RuntimeAgent("proposer", provider=model)
    parameter = prompt()
    optimizer = AgentOptimizer(agent, [parameter])
    assert optimizer.step() == 1
    assert parameter.data == "Be kind and brief."
    assert optimizer.strategy == "set the tone"
    assert optimizer.last is not None and optimizer.last.files_changed == ("prompt.md",)
    asked = model.calls[0].messages[-1].content
    assert "too curt" in asked and "Be brief." in asked
    assert optimizer.usage.calls == agent.usage.calls == 1 and agent.runs == 1


def test_a_refused_value_reaches_the_model_in_a_second_run(tmp_path: Path) -> None:
    def reply(text: str) -> str:
        return f'```codepilot\nwrite_file("p.md")\n```\n\n```text\n{text}\n```\n\n```completion\ndone\n```\n'

    def short(text: str) -> None:
        assert len(text) < 20, "longer than 20 characters"

    parameter = TextParameter("x", name="p", check=short)
    parameter.receive(TextGradient("empty"))
    model = ScriptedProvider([reply("much too long a text to be taken"), reply("short")])
    AgentOptimizer(RuntimeAgent("proposer", provider=model), [parameter]).step()
    assert parameter.data == "short"
    assert "longer than 20 characters" in model.calls[1].messages[-1].content


def test_the_shipped_judge_judges_through_a_real_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.dumps({"reasons": ["'meh' is no greeting"], "score": 0.2, "passed": False})
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test-0123456789abcdef")
    with FakeModel([f"```completion\n{answer}\n```"]) as fake:
        judge = RuntimeAgent("judge", overrides={"model.base_url": fake.url})
        loss = JudgeLoss(JudgeAgent(judge, "Is it a greeting?"))
        found = loss("meh", Datum(id="a"))
    assert found.metrics["score"] == 0.2 and not found
    assert found.feedback == "'meh' is no greeting"
    assert "Is it a greeting?" in fake.requests[0].text
    assert judge.usage.output


def test_a_model_for_each_run_and_every_event_to_who_listens(tmp_path: Path) -> None:
    seen: list[Any] = []
    made: list[ScriptedProvider] = []

    def model() -> ScriptedProvider:
        made.append(ScriptedProvider(["```completion\nhello\n```"]))
        return made[-1]

    agent = RuntimeAgent("proposer", provider=model, work_dir=tmp_path, on_event=lambda e: seen.append(e.type))

    async def twice() -> list[Any]:
        return list(await asyncio.gather(agent.run("one"), agent.run("two")))

    results = asyncio.run(twice())
    assert [one.summary for one in results] == ["hello", "hello"]
    assert len(made) == 2 and seen.count(EventType.RUN_ENDED) == 2 and agent.runs == 2


def test_nothing_is_printed_and_a_failed_run_is_a_result(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    agent = RuntimeAgent("proposer", provider=ScriptedProvider([]), work_dir=tmp_path)
    result = asyncio.run(agent.run("Go"))
    assert result.status == "failed" and "the script has 0 replies" in str(result.error)
    said = capsys.readouterr()
    assert said.out == said.err == ""


def test_it_cannot_leave_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("top")
    (tmp_path / "in").mkdir()
    block = '```codepilot\nread_file("../secret.txt")\n```\n'
    model = ScriptedProvider([block, "```completion\nno\n```"])
    asyncio.run(RuntimeAgent("proposer", provider=model).within(tmp_path / "in").run("Look"))
    assert "top" not in model.calls[1].messages[-1].content
    assert "leaves the workspace" in model.calls[1].messages[-1].content or "outside" in str(model.calls[1].messages)


def test_what_is_wrong_with_the_agent_file_or_its_key_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(MissingKey, match="set ANTHROPIC_API_KEY"):
        AgentOptimizer(RuntimeAgent("proposer"), [prompt()])
    with pytest.raises(SetupError, match="No agent 'propser'"):
        AgentOptimizer(RuntimeAgent("propser"), [prompt()])
    (tmp_path / "a.yaml").write_text("agent: {name: A, modle: {}}")
    with pytest.raises(AgentFileError, match="modle"):
        RuntimeAgent(tmp_path / "a.yaml").ready()
