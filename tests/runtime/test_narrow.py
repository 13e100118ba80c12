"""A sub-agent has no power that its caller does not have, whatever its own file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.agentschema import SandboxSpec
from autopilot_runtime.runtime.narrow import narrowed, stricter
from autopilot_runtime.tool.bounds import Bounds

HERE, THERE = Path("/there/agents"), Path("/there")


def both(mine: dict[str, Any], theirs: dict[str, Any]) -> SandboxSpec:
    """What a helper in /there/agents may, called by an agent in /there."""
    return stricter(SandboxSpec(**mine), SandboxSpec(**theirs), folder=HERE, other_folder=THERE)


@pytest.mark.parametrize(
    ("mine", "theirs", "found"),
    [("off", "auto", "auto"), ("auto", "off", "auto"), ("auto", "required", "required"), ("off", "off", "off")],
)
def test_a_shell_is_confined_as_the_stricter_of_both_says(mine: str, theirs: str, found: str) -> None:
    assert both({"shell": mine}, {"shell": theirs}).shell == found


@pytest.mark.parametrize(
    ("mine", "theirs", "found"),
    [
        ("on", "off", "off"),
        ("off", "on", "off"),
        ("on", "on", "on"),
        ("on", ["pypi.org"], ["pypi.org"]),
        (["pypi.org"], "on", ["pypi.org"]),
        (["pypi.org", "a.b.org", "evil.org"], ["PyPI.org", "*.b.org"], ["pypi.org", "a.b.org"]),
        (["*.org"], ["pypi.org", "b.org"], ["pypi.org", "b.org"]),
        (["pypi.org:443", "b.org"], ["pypi.org", "b.org:80"], ["pypi.org:443", "b.org:80"]),
        (["pypi.org:443"], ["pypi.org:80"], "off"),
        (["evil.org"], ["pypi.org"], "off"),
    ],
)
def test_only_hosts_both_may_reach_are_left(mine: Any, theirs: Any, found: Any) -> None:
    assert both({"network": mine}, {"network": theirs}).network == found


def test_folders_and_variables_are_those_of_both_and_limits_the_lesser() -> None:
    mine = {"writable": ["../cache/pip", "/tmp/x", "../cache/../secret"], "env": ["A", "B"], "memory_mb": 900}
    mine |= {"readable": ["../cache/npm", "../data/a", "../other"]}
    theirs = {"writable": ["cache"], "readable": ["data"], "env": ["B", "C"], "memory_mb": 512, "max_processes": 50}
    found = both(mine, theirs)
    assert found.writable == ["/there/cache/pip"]
    assert found.readable == ["/there/cache/npm", "/there/data/a"]
    assert (found.env, found.memory_mb, found.max_processes) == (["B"], 512, 50)


def test_every_setting_of_the_sandbox_is_narrowed() -> None:
    widest = SandboxSpec(
        shell="off", network="on", writable=["/x"], readable=["/y"], env=["A"], memory_mb=4_000, max_processes=400
    )
    strictest = SandboxSpec(shell="required", memory_mb=64, max_processes=8)
    for one, other in ((widest, strictest), (strictest, widest)):
        assert stricter(one, other, folder=HERE, other_folder=THERE) == strictest


def test_an_agent_works_in_its_callers_folder_and_is_unsafe_only_if_both_are(tmp_path: Path) -> None:
    def agent(name: str, **runtime: Any) -> AgentFile:
        file = tmp_path / f"{name}.yaml"
        file.write_text("agent: {name: A, model: {provider: scripted, name: none}}")
        return AgentFile.load(file, {f"runtime.{key}": value for key, value in runtime.items()})

    lead = agent("lead", work_dir="work", limits={"calls": 10, "memory_mb": 4_000})
    helper = agent("helper", work_dir="elsewhere", unsafe_mode=True, limits={"calls": 99, "memory_mb": 100})
    found = narrowed(helper, lead)
    assert found.work_dir == tmp_path / "work" and found.runtime.work_dir == str(tmp_path / "work")
    assert found.runtime.unsafe_mode is False
    assert (found.limits.calls, found.limits.memory_mb) == (10, 100)
    assert found.runtime.max_steps == helper.runtime.max_steps
    assert narrowed(helper, agent("lead", unsafe_mode=True)).runtime.unsafe_mode is True


def test_of_two_bounds_the_lesser_holds_and_none_is_no_bound() -> None:
    one, other = Bounds(5, None, 100, 0.0), Bounds(None, 1.5, 70, 3.0)
    assert one.within(other) == other.within(one) == Bounds(5, 1.5, 70, 0.0)
