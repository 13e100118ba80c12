"""Commands over parts that other modules bring: forks, undo, sessions in a database."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cli_project import Project, control, done, write


def kept(project: Project, *flags: str) -> list[dict[str, Any]]:
    listed = project.cli("sessions", "list", "--json", *flags)
    assert listed.returncode == 0, listed.stderr
    found: list[dict[str, Any]] = json.loads(listed.stdout)
    return found


def messages(project: Project, session: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(project.cli("sessions", "show", session, "--json").stdout)["messages"]
    return found


@pytest.fixture
def place(request: pytest.FixtureRequest, project: Project) -> tuple[str, ...]:
    """The usual folder, and a database."""
    return () if request.param == "file" else ("--db-url", f"sqlite:///{project.home}/sessions.db")


def test_a_fork_goes_its_own_way(project: Project) -> None:
    project.agent([control("1"), done("ok")])
    project.run("--session", "trunk")
    forked = project.cli("sessions", "fork", "trunk")
    assert forked.returncode == 0, forked.stderr
    name = forked.stdout.strip()
    assert name.startswith("tester-") and f"autopilot run --resume {name} TASK" in forked.stderr
    before = messages(project, "trunk")
    assert messages(project, name) == before
    assert project.cli("run", "--resume", name, "another way").returncode == 0
    assert messages(project, "trunk") == before
    assert len(messages(project, name)) > len(before)


def test_a_fork_may_begin_earlier_and_have_a_name(project: Project) -> None:
    project.agent([control("1"), done("ok")])
    project.run("--session", "trunk")
    forked = project.cli("sessions", "fork", "trunk", "--at", "2", "--id", "twig")
    assert (forked.returncode, forked.stdout) == (0, "twig\n")
    assert messages(project, "twig") == messages(project, "trunk")[:2]
    assert project.cli("sessions", "fork", "trunk", "--id", "twig").returncode != 0  # it is there already
    assert messages(project, "twig") == messages(project, "trunk")[:2]


def test_a_fork_knows_its_agent_and_folder(project: Project) -> None:
    project.agent([done("ok")])
    project.run("--session", "trunk")
    project.cli("sessions", "fork", "trunk", "--id", "twig")
    origins = {one["session_id"]: one["origin"] for one in kept(project)}
    assert origins["twig"] == origins["trunk"]


def test_undo_takes_back_what_the_last_run_changed(project: Project) -> None:
    (project.work / "a.txt").write_text("before\n")
    project.agent([write("a.txt", "after\n"), write("new.txt", "x\n"), done("ok")], asks=False)
    project.run()
    ran = project.cli("sessions", "undo", "tester")
    assert ran.returncode == 0, ran.stderr
    assert (project.work / "a.txt").read_text() == "before\n"
    assert not (project.work / "new.txt").exists()


def test_undo_of_a_named_run_and_by_a_program(project: Project) -> None:
    project.agent([write("a.txt", "after\n"), done("ok")], asks=False)
    run = json.loads(project.run("--output", "json").stdout)["run_id"]
    ran = project.cli("sessions", "undo", "tester", run, "--json")
    assert ran.returncode == 0, ran.stderr
    json.loads(ran.stdout)
    assert not (project.work / "a.txt").exists()


@pytest.mark.parametrize("place", ["file", "db"], indirect=True)
def test_the_same_commands_work_in_both_places(project: Project, place: tuple[str, ...]) -> None:
    project.agent([control("1"), done("ok")])
    assert project.run("--max-steps", "1", *place).returncode == 4
    [one] = kept(project, *place)
    assert one["status"] == "max_steps" and one["task"] == "do it"
    assert project.cli("run", "--resume", "tester", *place).returncode == 0
    assert project.cli("run", "--continue", "agent.yaml", "next", *place).returncode == 0
    assert "Task 2" in project.cli("sessions", "show", "tester", *place).stdout
    assert project.cli("sessions", "export", "tester", "--format", "json", *place).returncode == 0
    assert project.cli("sessions", "fork", "tester", "--id", "twig", *place).returncode == 0
    assert project.cli("sessions", "delete", "twig", "--yes", *place).returncode == 0
    assert len(kept(project, *place)) == 1


def test_the_database_may_come_from_the_environment(project: Project) -> None:
    project.agent([done("ok")])
    url = f"sqlite:///{project.home}/sessions.db"
    assert project.run(AUTOPILOT_DB_URL=url).returncode == 0
    assert kept(project) == []
    listed = project.cli("sessions", "list", "--json", AUTOPILOT_DB_URL=url)
    assert len(json.loads(listed.stdout)) == 1


def test_an_answer_reaches_a_run_in_a_database(project: Project) -> None:
    url = ("--db-url", f"sqlite:///{project.home}/sessions.db")
    project.agent([control("print(ask_user('Which?'))"), done("ok")], runtime={"on_unanswered": "suspend"})
    assert project.run(*url).returncode == 6
    project.agent([done("Answered.")], runtime={"on_unanswered": "suspend"})
    assert project.cli("answer", "tester", "this one", *url).stdout == "Answered.\n"
