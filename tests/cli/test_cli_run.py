"""`autopilot run` without a terminal: what goes where, and which exit code says what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from cli_project import Project, control, done, write

from tests.running import is_running, wait_for

TASK = ("run", "agent.yaml", "do it")


def test_stdout_carries_the_answer_and_nothing_else(project: Project) -> None:
    project.agent([control("read_file('a.txt')", "I look first."), done("It says hi.")])
    (project.work / "a.txt").write_text("hi\n")
    ran = project.run()
    assert ran.returncode == 0
    assert ran.stdout == "It says hi.\n"
    assert "I look first." in ran.stderr
    assert "✓ Reading a.txt" in ran.stderr
    assert "\x1b" not in ran.stdout + ran.stderr


def test_a_chat_answer_is_printed_once(project: Project) -> None:
    project.agent(["Just talking.\n"])
    ran = project.run()
    assert ran.stdout == "Just talking.\n"
    assert "Just talking." not in ran.stderr


def test_with_stream_the_text_flows_to_stdout(project: Project) -> None:
    project.agent([control("1", "On my way."), done("There.")])
    ran = project.run("--stream")
    assert ran.stdout == "On my way.\nThere.\n"


def test_a_permission_finds_nobody_and_is_denied(project: Project) -> None:
    project.agent([write("new.txt", "x\n"), done("I could not.")])
    ran = project.run()
    assert ran.returncode == 6
    assert not (project.work / "new.txt").exists()
    assert "nobody is there to ask" in ran.stderr
    assert "--allow" in ran.stderr


def test_a_question_finds_nobody_and_the_run_goes_on(project: Project) -> None:
    project.agent([control("ask_user('Which?')"), done("I took the safe way.")])
    ran = project.run()
    assert (ran.returncode, ran.stdout) == (6, "I took the safe way.\n")


def test_an_agent_that_waits_for_answers_does_not_hang_a_script(project: Project) -> None:
    project.agent([control("ask_user('Which?')"), done("ok")], runtime={"on_unanswered": "wait"})
    assert project.run().returncode == 6


def test_allow_and_deny_rules_decide_without_a_person(project: Project) -> None:
    project.agent([write("good.txt", "x\n"), write("bad.txt", "x\n"), done("ok")])
    ran = project.run("--allow", "write_file(*.txt)", "--deny", "write_file(bad.txt)")
    assert ran.returncode == 0
    assert (project.work / "good.txt").exists()
    assert not (project.work / "bad.txt").exists()
    assert "+++ b/good.txt" in ran.stderr  # a plain unified diff


@pytest.mark.parametrize(
    ("mode", "written"), [("accept-edits", True), ("plan", False), ("deny", False), ("bypass", True)]
)
def test_permission_modes(project: Project, mode: str, written: bool) -> None:
    project.agent([write("new.txt", "x\n"), done("ok")])
    ran = project.run("--permission-mode", mode)
    assert (project.work / "new.txt").exists() is written
    assert ran.returncode == 0  # what a mode refuses was asked for


def test_stdin_is_left_alone_even_when_it_never_ends(project: Project) -> None:
    project.agent([done("ok")])
    reader, writer = os.pipe()
    try:
        ran = project.run(stdin=reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert (ran.returncode, ran.stdout) == (0, "ok\n")


def test_a_dash_reads_the_task_from_stdin(project: Project) -> None:
    project.agent([done("ok")])
    ran = project.cli("run", "agent.yaml", "-", "--output", "jsonl", stdin="line one\nline two\n")
    assert json.loads(ran.stdout.splitlines()[0])["task"] == "line one\nline two\n"


def test_a_dash_with_nothing_behind_it_is_a_usage_error(project: Project) -> None:
    project.agent([done("ok")])
    ran = project.cli("run", "agent.yaml", "-", stdin="  \n")
    assert (ran.returncode, ran.stderr) == (2, "error: The task on standard input is empty.\n")


def test_json_is_one_object_with_the_names_scripts_know(project: Project) -> None:
    project.agent([write("new.txt", "x\n"), done("ok")], asks=False)
    ran = project.run("--output", "json")
    found = json.loads(ran.stdout)
    assert {"duration_ms", "usage", "session_id", "run_id"} <= set(found)
    expected = {"type": "result", "subtype": "success", "is_error": False, "result": "ok", "num_turns": 2}
    expected |= {
        "total_cost_usd": 0.0,
        "status": "completed",
        "exit_code": 0,
        "files_changed": ["new.txt"],
        "gate": None,
    }
    assert {key: found[key] for key in expected} == expected
    assert ran.stderr == ""


def test_jsonl_is_one_line_per_event_and_ends_with_the_result(project: Project) -> None:
    project.agent([control("read_file('a.txt')", "Look."), done("ok")])
    (project.work / "a.txt").write_text("hi\n")
    lines = [json.loads(line) for line in project.run("--output", "jsonl").stdout.splitlines()]
    events, result = lines[:-1], lines[-1]
    names = [line["type"] for line in events]
    assert (names[0], names[-1]) == ("run.started", "run.finished")
    assert {"step.started", "text.delta", "tool.started", "tool.finished", "usage", "task.completed"} <= set(names)
    assert [line["seq"] for line in events] == sorted(line["seq"] for line in events)
    assert all(line["v"] == 1 for line in events)
    assert (result["type"], result["exit_code"]) == ("result", 0)


def test_jsonl_lines_come_when_they_happen(project: Project) -> None:
    project.agent([control("execute('main', 'sleep 30')"), done("ok")], asks=False)
    child = project.popen(*TASK, "--output", "jsonl", stdout=subprocess.PIPE)
    assert child.stdout is not None
    for line in child.stdout:  # ends at the tool call, long before the tool
        if json.loads(line)["type"] == "tool.started":
            break
    child.send_signal(signal.SIGTERM)
    rest = [json.loads(line) for line in child.stdout]
    assert child.wait(10) == 143
    assert rest[-2]["type"] == "run.failed"
    assert (rest[-1]["status"], rest[-1]["exit_code"]) == ("aborted", 143)
    child.stdout.close()


def test_a_failure_before_the_run_is_an_object_too(project: Project) -> None:
    ran = project.cli("run", "missing.yaml", "x", "--output", "json")
    found = json.loads(ran.stdout)
    assert (ran.returncode, found["exit_code"], found["is_error"]) == (2, 2, True)
    assert found["error"] in ran.stderr


@pytest.mark.parametrize(
    ("replies", "runtime", "code", "status"),
    [
        ([control("1")] * 9, {"max_steps": 2}, 4, "max_steps"),
        ([control("1")] * 9, {"max_tokens_total": 50}, 5, "budget"),
        ([{"text": "", "error": "auth"}], {}, 7, "failed"),
        ([control("while True: pass")], {"timeout_s": 1.5}, 124, "budget"),
    ],
    ids=["steps", "budget", "provider", "timeout"],
)
def test_exit_codes(
    project: Project, replies: list[object], runtime: dict[str, object], code: int, status: str
) -> None:
    project.agent(replies, runtime=runtime)  # type: ignore[arg-type]
    ran = project.run("--output", "json")
    found = json.loads(ran.stdout)
    assert (ran.returncode, found["exit_code"], found["status"], found["is_error"]) == (code, code, status, True)


def test_flags_replace_the_limits_of_the_file(project: Project) -> None:
    project.agent([control("1")] * 9)
    assert project.run("--max-steps", "1", "--output", "json").returncode == 4
    assert project.run("--max-tokens", "10", "--output", "json").returncode == 5
    assert project.run("--timeout", "0.001", "--output", "json").returncode == 124
    assert "✗ stopped at the time limit · " in project.run("--timeout", "0.001").stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_run_and_its_command(project: Project, number: signal.Signals, code: int) -> None:
    nap = f"sleep {1000 + code / 1000 + os.getpid() / 1e7:.7f}"  # a confined shell has numbers of its own
    project.agent([control(f"execute('main', 'exec {nap}', 600)"), done("ok")], asks=False)
    child = project.popen(*TASK, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(nap)
    begun = time.monotonic()
    child.send_signal(number)
    _, err = child.communicate(timeout=15)
    assert time.monotonic() - begun < 3
    assert child.returncode == code
    assert b"stopped" in err
    assert not is_running(nap)


def test_a_reader_that_has_seen_enough_ends_the_run_quietly(project: Project) -> None:
    project.agent([*[control("1", "word " * 40)] * 5, done("ok")], delay=0.02)
    child = project.popen(*TASK, "--stream", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.read(1)
    child.stdout.close()
    err = child.stderr.read().decode()
    assert child.wait(20) == 1
    assert "Traceback" not in err and "BrokenPipe" not in err
    child.stderr.close()


def test_a_closed_stdout_is_no_crash(project: Project) -> None:
    project.agent([done("ok")])
    command = f"{sys.executable} -m autopilot_runtime run agent.yaml 'do it' >&-"
    ran = subprocess.run(
        ["sh", "-c", command], check=False, cwd=project.folder, env=project.env(), capture_output=True, timeout=30
    )
    assert ran.returncode == 0
    assert b"Traceback" not in ran.stderr


def test_a_session_goes_on_where_it_was(project: Project) -> None:
    project.agent([done("first")])
    assert project.run("--session", "work").returncode == 0
    ran = project.run("--session", "work", "--output", "json")
    assert json.loads(ran.stdout)["session_id"] == "work"
    assert list((project.home / ".autopilot" / "sessions").glob("*work*"))


def test_bare_leaves_the_projects_instructions_out(project: Project) -> None:
    project.agent([done("ok")])
    (project.work / "AGENTS.md").write_text("Be kind.\n")
    assert "loaded: AGENTS.md (1 line)" in project.run().stderr
    assert "AGENTS.md" not in project.run("--bare").stderr


def test_the_models_control_characters_never_reach_the_terminal(project: Project) -> None:
    project.agent([done("safe \x1b]0;owned\x07 \x9b31m \u202etxt.exe")])
    ran = project.run()
    assert ran.stdout == "safe \\x1b]0;owned\\x07 \\x9b31m \\u202etxt.exe\n"


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colour_is_where_it_was_asked_for(project: Project, env: dict[str, str], coloured: bool) -> None:
    project.agent([write("a.txt", "x\n"), done("ok")], asks=False)
    assert ("\x1b[32m" in project.run(**env).stderr) is coloured
