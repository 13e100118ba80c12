"""Runs that end in the middle: killed, suspended, and what `--resume` and `answer` make of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess

from cli_project import Project, control, done, finish, write

from tests.running import wait_for

NAP = f"sleep 7302{os.getpid()}"  # of this test run alone: another one may be going on beside it

ASKS = control("colour = ask_user('Which colour?')\nwrite_file(colour + '.txt')") + "\n```text\npaint\n```\n"
WAITS = {"on_unanswered": "suspend"}
SCRIPT = [ASKS, done("Painted.")]


def listed(project: Project) -> dict[str, object]:
    found: dict[str, object] = json.loads(project.cli("sessions", "list", "--json").stdout)[0]
    return found


def test_kill_9_in_the_middle_loses_nothing(project: Project) -> None:
    project.agent([write("a.txt", "one\n"), control(f"execute('main', '{NAP}')"), done("Done.")], asks=False)
    running = project.popen("run", "agent.yaml", "do it", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(NAP)
    running.send_signal(signal.SIGKILL)
    running.wait(timeout=20)
    assert listed(project)["status"] == "interrupted"
    assert "interrupted" in project.cli("log").stdout
    before = json.loads(project.cli("sessions", "show", "tester", "--json").stdout)["messages"]
    # What it says next is read from the conversation: a model of its own, for the second half.
    project.agent([done("Nothing was lost.")], asks=False)
    again = project.cli("run", "--resume", "tester")
    assert (again.returncode, again.stdout) == (0, "Nothing was lost.\n"), again.stderr
    after = json.loads(project.cli("sessions", "show", "tester", "--json").stdout)["messages"]
    assert after[: len(before)] == before and after[-1]["content"].startswith("```completion")
    assert (project.work / "a.txt").read_text() == "one\n"
    [run] = json.loads(project.cli("log", "--json").stdout)["runs"]
    assert run["status"] == "completed" and run["files_changed"] == ["a.txt"]


def test_a_suspended_run_is_answered_later_and_goes_on(project: Project) -> None:
    project.agent(SCRIPT, asks=False, runtime=WAITS)
    ran = project.run()
    assert ran.returncode == 6
    name = str(listed(project)["session_id"])
    assert ran.stderr.endswith(f"It asks: Which colour?\nAnswer: autopilot answer {name} ANSWER\n")
    assert listed(project)["status"] == "suspended"
    *_, asked, way = project.cli("sessions", "show", str(listed(project)["session_id"])).stdout.splitlines()
    assert asked == "It asks: Which colour?"
    assert way.startswith("Answer: autopilot answer ")
    waits = project.cli("run", "--resume", name)
    assert waits.returncode == 6 and "Which colour?" in waits.stderr
    project.agent([done("Painted.")], asks=False, runtime=WAITS)
    answered = project.cli("answer", name, "blue")
    assert (answered.returncode, answered.stdout) == (0, "Painted.\n"), answered.stderr
    assert (project.work / "blue.txt").read_text() == "paint\n"


def test_an_answer_may_wait_for_the_resume(project: Project) -> None:
    project.agent(SCRIPT, asks=False, runtime=WAITS)
    project.run()
    assert project.cli("answer", "tester", "red", "--no-resume").returncode == 0
    assert not list(project.work.iterdir())
    project.agent([done("Painted.")], asks=False, runtime=WAITS)
    assert project.cli("run", "--resume", "tester").stdout == "Painted.\n"
    assert (project.work / "red.txt").exists()


def test_a_permission_is_answered_with_yes_or_a_reason(project: Project) -> None:
    project.agent([write("a.txt", "x\n")], runtime=WAITS)
    assert "yes|no|always|REASON" in project.run().stderr
    project.agent([done("I did without.")], runtime=WAITS)
    ran = project.cli("answer", "tester", "not in this folder")
    assert ran.stdout == "I did without.\n"
    assert not (project.work / "a.txt").exists()
    assert "not in this folder" in project.cli("sessions", "show", "tester").stdout


def test_answers_that_fit_nothing_are_refused(project: Project) -> None:
    project.agent([done("ok")], runtime=WAITS)
    project.run()
    nothing = project.cli("answer", "tester", "yes")
    assert nothing.returncode == 2 and "Nothing waits for an answer" in nothing.stderr
    project.agent(SCRIPT, asks=False, runtime=WAITS)
    project.run("--session", "other")
    unknown = project.cli("answer", "other", "q_123", "yes")
    assert unknown.returncode == 2 and "q_123" in unknown.stderr
    assert project.cli("answer", "other", "one", "two", "three").returncode == 2


def test_a_program_learns_what_waits(project: Project) -> None:
    project.agent(SCRIPT, asks=False, runtime=WAITS)
    first = json.loads(project.run("--output", "json").stdout)
    again = json.loads(project.cli("run", "--resume", "tester", "--output", "json").stdout)
    for value in (first, again):
        assert value["subtype"] == "error_needs_input" and value["exit_code"] == 6
        assert [one["question"] for one in value["open_requests"]] == ["Which colour?"]


def test_on_a_terminal_resume_asks_there(project: Project) -> None:
    project.agent(SCRIPT, asks=False, runtime=WAITS)
    project.run()
    project.agent([done("Painted.")], asks=False, runtime=WAITS)
    child = project.tty("run", "--resume", "tester")
    child.expect(r"Which colour\?")
    child.expect("> ")
    child.sendline("green")
    assert finish(child) == 0
    assert (project.work / "green.txt").exists()


def test_permissions_given_by_flags_are_not_remembered(project: Project) -> None:
    project.agent([control("1"), write("a.txt", "x\n"), done("ok")])
    project.run("--max-steps", "1", "--allow", "write_file(*)")
    project.agent([write("a.txt", "x\n"), done("ok")])
    assert project.cli("run", "--resume", "tester").returncode == 6
    assert not (project.work / "a.txt").exists()
