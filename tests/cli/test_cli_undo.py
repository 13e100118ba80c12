"""`autopilot undo`: what a run did is listed, undone, and brought back, by a process that knows nothing of it."""

from __future__ import annotations

import json

from cli_project import Project, done, write

from autopilot_runtime.cli.exitcode import ExitCode


def ran(project: Project) -> None:
    """A run that has written one file and changed another."""
    (project.work / "old.txt").write_text("old\n")
    project.agent([write("old.txt", "changed\n"), write("new.txt", "made\n"), done("ok")], asks=False)
    assert project.run().returncode == ExitCode.DONE


def test_the_newest_run_is_undone_and_brought_back(project: Project) -> None:
    ran(project)
    undone = project.cli("undo", "--work-dir", "ws")
    assert undone.returncode == ExitCode.DONE
    assert undone.stdout.splitlines()[:2] == ["removed new.txt", "restored old.txt"]
    assert {p.name: p.read_text() for p in project.work.iterdir()} == {"old.txt": "old\n"}
    again = undone.stdout.split()[-1]
    assert project.cli("undo", again, "--work-dir", "ws").returncode == ExitCode.DONE
    assert (project.work / "new.txt").read_text() == "made\n"


def test_the_list_shows_runs_and_json_is_for_programs(project: Project) -> None:
    ran(project)
    listed = project.cli("undo", "--list", "--agent", "agent.yaml")
    assert "do it" in listed.stdout and "new.txt, old.txt" in listed.stdout
    (one,) = json.loads(project.cli("undo", "--list", "--json", "--work-dir", "ws").stdout)
    assert (one["task"], one["paths"]) == ("do it", ["new.txt", "old.txt"])
    value = json.loads(project.cli("undo", one["id"], "--json", "--work-dir", "ws").stdout)
    assert (value["run"], value["paths"]) == (one["id"], ["new.txt", "old.txt"])
    assert "can be undone" in project.cli("undo", "--list").stdout


def test_a_conflict_and_an_unknown_run_are_wrong_usage(project: Project) -> None:
    ran(project)
    unknown = project.cli("undo", "run_x", "--work-dir", "ws")
    assert unknown.returncode == ExitCode.USAGE and "There are: run_" in unknown.stderr
    (project.work / "old.txt").write_text("a person's\n")
    conflict = project.cli("undo", "--work-dir", "ws")
    assert conflict.returncode == ExitCode.USAGE and "old.txt" in conflict.stderr and "--force" in conflict.stderr
    assert (project.work / "old.txt").read_text() == "a person's\n"
    assert project.cli("undo", "--force", "--work-dir", "ws").returncode == ExitCode.DONE
    assert (project.work / "old.txt").read_text() == "old\n"


def test_nothing_to_undo_is_said(project: Project) -> None:
    nothing = project.cli("undo")
    assert nothing.returncode == ExitCode.USAGE and "nothing to undo" in nothing.stderr
