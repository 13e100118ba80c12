"""`autopilot log`: what ran, found again by words, status, agent, time; and one run event by event."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

from cli_project import Project, control, done, finish, write


def log(project: Project, *args: str) -> list[dict[str, Any]]:
    ran = project.cli("log", "--json", *args)
    assert ran.returncode == 0, ran.stderr
    found: list[dict[str, Any]] = json.loads(ran.stdout)["runs"]
    return found


def some_runs(project: Project) -> None:
    """A good run that writes, and one that has too few steps."""
    project.agent([write("roof.txt", "x\n"), done("The roof is mended.")], asks=False)
    project.cli("run", "agent.yaml", "Mend the roof")
    project.agent([control("read_file('door.txt')"), done("ok")])
    project.cli("run", "agent.yaml", "Paint the doors", "--max-steps", "1")


def test_without_a_log_it_says_who_makes_one(project: Project) -> None:
    ran = project.cli("log")
    assert ran.returncode == 2 and "the first `autopilot run` makes it" in ran.stderr
    path = project.cli("log", "--path").stdout
    assert path == f"{project.home}/.autopilot/log.db\n"


def test_every_run_is_a_row_that_people_and_datasette_can_read(project: Project) -> None:
    some_runs(project)
    newest, first = log(project)
    assert newest["status"] == "max_steps" and newest["steps"] == 1
    assert first["task"] == "Mend the roof" and first["summary"] == "The roof is mended."
    assert first["status"] == "completed" and first["files_changed"] == ["roof.txt"]
    assert first["agent"] == "Tester" and first["model"] == "scripted/script.json"
    assert first["work_dir"] == str(project.work) and first["tokens_in"] > 0 and first["cost_usd"] == 0
    assert first["seconds"] > 0 and first["ended"] > first["started"]
    file = project.home / ".autopilot" / "log.db"
    assert file.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(file) as db:
        types = [
            row[0] for row in db.execute("SELECT type FROM events WHERE run_id = ? ORDER BY seq", (first["run_id"],))
        ]
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()
    assert types[0] == "start" and types[-1] == "run_ended" and "tool_call" in types and "stream" not in types


FOUND: list[tuple[tuple[str, ...], list[str]]] = [
    (("roof",), ["Mend the roof"]),
    (("painting",), ["Paint the doors"]),  # the stem counts
    (('"the roof"',), ["Mend the roof"]),
    (("mend roof.txt",), ["Mend the roof"]),  # one word of the task, one of a call
    (("roof doors",), []),
    (("pai*",), ["Paint the doors"]),
    (('" OR NEAR(',), []),
    (("--status", "max_steps"), ["Paint the doors"]),
    (("--agent", "tester", "-n", "1"), ["Paint the doors"]),
    (("--agent", "other"), []),
    (("--since", "5min"), ["Paint the doors", "Mend the roof"]),
    (("--since", "2999-01-01"), []),
    (("--here",), ["Paint the doors", "Mend the roof"]),
    (("--session", "nobody"), []),
]


def test_runs_are_found(project: Project) -> None:
    some_runs(project)
    for args, tasks in FOUND:
        assert [one["task"] for one in log(project, *args)] == tasks, args


def test_the_table_fits_80_columns_and_ends_with_totals(project: Project) -> None:
    some_runs(project)
    project.cli("run", "agent.yaml", "words " * 100)
    ran = project.cli("log", "-n", "2")
    *_, last = lines = ran.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert re.fullmatch(r"3 runs · \$0\.00 · [\d.]+k tokens \(the newest 2 are shown; -n 0 shows all\)", last)
    assert project.cli("log", "nothing like this").stdout == "No runs fit.\n"


def test_an_id_shows_what_happened_in_that_run(project: Project) -> None:
    some_runs(project)
    run = log(project, "roof")[0]["run_id"]
    text = project.cli("log", run).stdout
    assert re.search(r"\d\d:\d\d:\d\d tool_call +write_file: Writing roof.txt", text)
    assert "summary   The roof is mended." in text
    value = json.loads(project.cli("log", run[:-2], "--json").stdout)
    assert value["run_id"] == run and value["events"][0]["data"] == {"task": "Mend the roof"}
    assert "2 runs begin with 'run_'" in project.cli("log", "run_").stderr


def test_sql_reads_and_does_nothing_else(project: Project) -> None:
    some_runs(project)
    ran = project.cli("log", "--sql", "select status, count(*) as n from runs group by status order by status")
    assert ran.stdout == "status\tn\ncompleted\t1\nmax_steps\t1\n"
    words = project.cli("log", "--json", "--sql", "select kind from words where words match 'mended'")
    assert {one["kind"] for one in json.loads(words.stdout)} == {"task", "summary"}
    for sql in (
        "delete from runs",
        "select 1; delete from runs",
        f"attach '{project.home}/new.db' as other",
        "pragma user_version = 9",
        "with x as (select 1) insert into runs select * from x",
        "vacuum into 'copy.db'",
        "drop table runs",
        "nonsense",
    ):
        ran = project.cli("log", "--sql", sql)
        assert ran.returncode == 2 and ran.stderr.startswith("error: --sql: "), sql
    assert len(log(project)) == 2
    assert not (project.home / "new.db").exists() and not (project.folder / "copy.db").exists()


def test_a_switch_turns_it_off(project: Project) -> None:
    project.agent([done("ok")])
    project.run(AUTOPILOT_NO_LOG="1")
    assert not (project.home / ".autopilot" / "log.db").exists()


def test_a_log_that_cannot_be_written_costs_one_line_and_no_run(project: Project) -> None:
    project.agent([done("ok")])
    (project.home / ".autopilot").mkdir()
    (project.home / ".autopilot" / "log.db").write_bytes(b"this is not a database, but long enough to be seen as one")
    ran = project.run()
    assert (ran.returncode, ran.stdout) == (0, "ok\n")
    assert ran.stderr.count("cannot be written") == 1
    broken = project.cli("log")
    assert broken.returncode == 2 and "Move it away" in broken.stderr
    assert project.cli("sessions", "list").returncode == 0


def test_a_time_that_is_none_says_what_is(project: Project) -> None:
    some_runs(project)
    ran = project.cli("log", "--since", "yesterday")
    assert ran.returncode == 2 and "2d, 36h" in ran.stderr


def test_ctrl_c_ends_a_question_without_an_end(project: Project) -> None:
    project.agent([done("ok")])
    project.run()
    for_ever = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c"
    child = project.tty("log", "--sql", for_ever)
    # What it has computed for is the only sign that it is at work.
    limit = time.monotonic() + 30
    while _seconds(child.pid) < 0.6:
        assert time.monotonic() < limit
    child.sendintr()
    assert finish(child) == 130


def _seconds(pid: int) -> float:
    """The processor time a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
