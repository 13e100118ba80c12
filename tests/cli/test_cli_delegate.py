"""What a person sees of a sub-agent: a line for each of its calls under its name, and who asks."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
from typing import Any

import pytest
from cli_project import Project, control, done, finish, write

from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.tally import Tally
from autopilot_runtime.cli.tty import Facts
from autopilot_runtime.cli.view import View
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.stream import Scope, Stream
from tests.running import is_running, wait_for

PLAIN = Facts(out_tty=False, err_tty=False, person=False, live=False, out_colour=False, err_colour=False)


@pytest.fixture
def crew(project: Project) -> Project:
    """A lead that calls a helper, who writes a file."""
    tools = [{"name": "delegate", "config": {"agents": {"helper": "./helper.yaml"}}}]
    project.agent([control("delegate('helper', 'Write a.txt')", "I ask."), done("All done.")], tools=tools)
    (project.folder / "helper.json").write_text(json.dumps([write("a.txt", "hello\n"), done("a.txt says hello.")]))
    helper = {
        "name": "Helper",
        "model": {"provider": "scripted", "name": "helper.json"},
        "tools": [{"name": "write_file", "config": {"require_permission": True}}],
    }
    (project.folder / "helper.yaml").write_text(json.dumps({"agent": helper}))
    return project


def test_the_work_of_a_helper_is_shown_under_its_name_and_its_words_are_not(crew: Project) -> None:
    ran = crew.run("--allow", "write_file")
    assert ran.returncode == 0
    assert ran.stdout.strip() == "All done."
    lines = [re.sub(r"\d+\.\d s", "<time>", line) for line in ran.stderr.splitlines()]
    at = lines.index("    helper: Write a.txt")
    assert lines[at : at + 4] == [
        "    helper: Write a.txt",
        "    helper ✓ Writing a.txt  <time>",
        "    helper   a.txt created  +1 -0",
        "  ✓ Delegating to helper: Write a.txt  <time>",
    ]
    assert "1 file changed" in lines[-1]
    assert "says hello" not in ran.stderr


def test_a_program_reads_one_run_and_the_helpers_events_as_such(crew: Project) -> None:
    ran = crew.run("--output", "jsonl", "--allow", "write_file")
    events = [json.loads(line) for line in ran.stdout.splitlines()][:-1]
    names = [event["type"] for event in events]
    assert names.count("run.started") == names.count("run.finished") == names.count("task.completed") == 1
    below = [event["event"] for event in events if event["type"] == "agent.event"]
    assert (below[0], below[-1]) == ("start", "run_ended")
    assert {event["agent"] for event in events if event["type"] == "agent.event"} == {"helper"}


def test_nobody_there_is_a_no_for_the_helper_too_and_the_exit_code_says_so(crew: Project) -> None:
    ran = crew.run("--output", "json")
    result = json.loads(ran.stdout)
    assert (ran.returncode, result["status"]) == (6, "completed")
    assert [denial["tool_name"] for denial in result["permission_denials"]] == ["write_file"]


def test_a_person_is_asked_in_the_helpers_name(crew: Project) -> None:
    child = crew.tty("run", "agent.yaml", "do it")
    child.expect_exact("helper: Create a.txt")
    child.expect_exact("Allow?")
    child.sendline("y")
    child.expect_exact("helper ✓ Writing a.txt")
    child.expect_exact("All done.")
    assert finish(child) == 0


def test_a_key_that_a_helper_lacks_is_found_before_it_is_called(crew: Project) -> None:
    file = crew.folder / "helper.yaml"
    model = {"provider": "anthropic", "name": "claude-sonnet-4-5", "api_key_env": "HELPERS_KEY"}
    file.write_text(json.dumps({"agent": {**json.loads(file.read_text())["agent"], "model": model}}))
    for command in (["doctor", "agent.yaml"], ["run", "agent.yaml", "x", "--dry-run"]):
        assert "the variable HELPERS_KEY is not set" in crew.cli(*command).stdout


def test_ctrl_c_ends_what_a_helper_runs(crew: Project) -> None:
    nap = f"sleep 12345.{os.getpid()}"
    file = crew.folder / "helper.yaml"
    file.write_text(json.dumps({"agent": {**json.loads(file.read_text())["agent"], "tools": ["execute"]}}))
    (crew.folder / "helper.json").write_text(json.dumps([control(f"execute('main', '{nap}', 600)")]))
    running = crew.popen("run", "agent.yaml", "do it", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(nap)
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 130
    assert not is_running(nap)


def _shown(*events: tuple[str, EventType, dict[str, Any]]) -> str:
    err = io.StringIO()
    view, stream = View(Screen(PLAIN, out=io.StringIO(), err=err), flow=True), Stream()
    stream.listen(view.show)
    scopes = {name: Scope(stream).of(name).child() for name, *_ in events}
    for name, kind, data in events:
        scopes[name].emit(kind, **data)
    return err.getvalue()


def test_what_goes_wrong_in_a_helper_is_one_line_that_steers_no_terminal() -> None:
    evil = "bad\x1b[2K\nsecond line"
    shown = _shown(
        ("a", EventType.START, {"task": evil}),
        ("a", EventType.TOOL_CALL, {"tool": "t", "args": {}, "label": "one"}),
        ("b", EventType.TOOL_CALL, {"tool": "t", "args": {}, "label": "two"}),
        ("a", EventType.TOOL_RESULT, {"tool": "t", "ok": False, "result": evil, "elapsed": 1}),
        ("b", EventType.TOOL_RESULT, {"tool": "t", "ok": True, "result": "", "elapsed": 1}),
        ("a", EventType.BLOCK_ENDED, {"ok": False, "failure": "Traceback\nValueError: x"}),
        ("a", EventType.RETRY, {"attempt": 1, "delay": 1.0, "error": "down", "kind": ""}),
        ("a", EventType.WARNING, {"message": "odd"}),
        ("a", EventType.SECURITY_ERROR, {"error": "no sockets"}),
        ("a", EventType.PERMISSION_DECIDED, {"tool": "t", "allowed": False, "reason": "no"}),
        ("a", EventType.PERMISSION_DECIDED, {"tool": "t", "allowed": True, "reason": ""}),
        ("a", EventType.RUN_ENDED, {"status": "budget", "error": "spent"}),
        ("b", EventType.RUN_ENDED, {"status": "completed", "error": None}),
        ("a", EventType.STREAM, {"text": "never shown"}),
    )
    assert shown.splitlines() == [
        "    a: bad\\x1b[2K",
        "    a ✗ one  1.0 s",
        "    a   bad\\x1b[2K",
        "    b ✓ two  1.0 s",
        "    a: a block failed: ValueError: x",
        "    a: the model call failed: down; trying again",
        "    a: warning: odd",
        "    a: refused: no sockets",
        "    a: t not allowed: no",
        "    a: ended as budget: spent",
    ]


def test_the_live_line_says_who_is_at_work() -> None:
    tally, stream = Tally(), Stream()
    stream.listen(lambda event: tally.note(event, person=False))
    helper = Scope(stream).of("helper")
    helper.emit(EventType.STEP, step=7, max_steps=9)
    assert tally.line().endswith("helper: waiting for the model") and tally.step == 0
    helper.emit(EventType.TOOL_CALL, tool="t", args={}, label="Reading a.py")
    assert tally.line().endswith("helper: Reading a.py")
