"""`autopilot demo`: a whole run in a fresh folder, with nothing but the recording and the real tools."""

from __future__ import annotations

import io
import json
import re
import runpy
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from cli_project import ROOT, Project, finish

from autopilot_runtime import ReplayError
from autopilot_runtime.cli.demo import fresh, gist
from autopilot_runtime.cli.demotrain import PROJECT, train_indexes
from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.tty import Facts
from autopilot_runtime.model.replay import ReplayProvider

DEMO = ROOT / "sessions" / "demo"
BUG = "    return year % 4 == 0\n"
PLAIN = Facts(out_tty=False, err_tty=False, person=False, live=False, out_colour=False, err_colour=False)
ROW = r"^(?:epoch \d+ )?(\w+) +train +([\d,]+)  val +([\d,]+)(?:  (\S+))?"


def test_the_demo_fixes_a_real_bug_in_a_fresh_folder_and_tells_it_in_one_stream(project: Project) -> None:
    mine = project.folder / "shown"
    mine.mkdir()
    (mine / "leap.py").write_text("mine\n")
    done = project.cli("demo", "shown")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    order = [
        "    │ FAILED (failures=1)",
        "write_file asks: Edit leap.py",
        "-    return year % 4 == 0",
        "Allow? [y]es  [n]o  [a]lways: y   ← the demo answers y",
        "    │ OK",
    ]
    assert [line for line in lines if line in order] == order
    assert re.search(r"^✓ 3 steps · .* · recorded \$0\.\d+ \(estimated\), spent \$0\.00$", done.stdout, re.MULTILINE)
    assert lines[-1] == "Your turn:    cd your-project && autopilot init"
    assert "\x1b" not in done.stdout
    made = project.folder / "shown-2"
    assert f"{made} (shown is not empty)" in done.stdout
    assert (mine / "leap.py").read_text() == "mine\n"
    assert sorted(file.name for file in made.iterdir()) == ["indexes", "leap.py", "report.html", "test_leap.py"]
    assert "The report:   shown-2/report.html" in lines
    assert BUG not in (made / "leap.py").read_text()
    assert (made / "test_leap.py").read_bytes() == (DEMO / "project" / "test_leap.py").read_bytes()
    checked = subprocess.run(
        [sys.executable, "-m", "unittest"], cwd=made, capture_output=True, timeout=30, check=False
    )
    assert checked.returncode == 0
    assert [str(path.relative_to(project.home)) for path in project.home.glob("*/*")] == [".autopilot/store"]


def test_the_training_refuses_what_only_training_likes_and_saves_nine_tenths_of_the_work(tmp_path: Path) -> None:
    """The figures are those of this machine's SQLite; the story is the same with every one."""
    told = io.StringIO()
    file, report = train_indexes(Screen(PLAIN, err=told), tmp_path)
    first, *rows = [
        (word, *(int(one.replace(",", "")) for one in counts), change)
        for word, *counts, change in re.findall(ROW, told.getvalue(), re.MULTILINE)
    ]
    kept = [first, *(row for row in rows if row[0] == "KEEP")]
    assert [val for _, _, val, _ in kept] == sorted((val for _, _, val, _ in kept), reverse=True)
    assert first[2] >= 10 * kept[-1][2]
    tempting = [row for row in rows if row[0] == "ROLLBACK" and row[1] < first[1] and row[2] > 2 * first[2]]
    assert tempting and tempting[0][3] in {row[3] for row in kept}, "it is right once its partner is there"
    assert f"val steps {first[2]:,} -> {kept[-1][2]:,} = x{first[2] / kept[-1][2]:.0f} fewer, " in told.getvalue()
    worse = f"{tempting[0][2] / first[2]:.1f}x"
    assert f"Training alone would have kept {tempting[0][3]} at once" in told.getvalue()
    assert f"made the other queries {worse} dearer.\n" in told.getvalue()
    indexes = file.with_name("indexes.sql").read_text().splitlines()
    assert [line.split(" ON ")[1] for line in indexes] == [f"{row[3]};" for row in kept[1:]]
    page = report.read_text(encoding="utf-8")
    assert "<svg" in page and all(row[3] in page for row in rows)
    assert sorted(one.name for one in file.parent.iterdir()) == [".autopilot", *sorted(PROJECT)]


def test_what_the_demo_trained_is_explained_changed_and_trained_again(project: Project) -> None:
    file, _ = train_indexes(Screen(PLAIN, err=io.StringIO()), project.folder)
    explained = project.cli("explain", "0", "--workspace", "indexes")
    assert (explained.returncode, explained.stdout[:26]) == (0, "Candidate 0 of train: not ")
    tuned = file.with_name("indexes.sql").read_text()
    file.with_name("indexes.sql").write_text("")
    again = project.cli("train", "indexes/train.py", "--fresh", PYTHONDONTWRITEBYTECODE="1")
    assert again.returncode == 0, again.stderr
    assert file.with_name("indexes.sql").read_text() == tuned


def test_ctrl_c_while_sqlite_works_is_no_failed_query() -> None:
    class Stop(KeyboardInterrupt):
        """As from the terminal, but ours."""

    def stop(*_: object) -> None:
        raise Stop

    workload = runpy.run_path(str(ROOT / "examples" / "index_tuning" / "workload.py"))
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with closing(sqlite3.connect(":memory:")) as db, pytest.raises(KeyboardInterrupt):
            workload["steps"](db, endless)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_demos_that_begin_at_once_in_one_empty_folder_have_one_each(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    start = threading.Barrier(8)

    def begin(_: int) -> Path:
        start.wait()
        return fresh(tmp_path / "demo")

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(begin, range(8)))
    assert len(set(made)) == 8
    assert all(BUG in (folder / "leap.py").read_text() for folder in made)


def test_the_shipped_project_still_has_its_bug() -> None:
    assert BUG in (DEMO / "project" / "leap.py").read_text()


def test_on_a_terminal_the_changed_words_are_marked_and_ctrl_c_stops_it(project: Project) -> None:
    child = project.tty("demo", FORCE_COLOR="1")
    child.expect_exact("\x1b[32;7m and (year % 100 != 0 or year % 400 == 0)\x1b[0m")
    child.expect_exact("← the demo answers y")
    child.kill(signal.SIGINT)
    child.expect_exact("Stopped.")
    assert finish(child) == 130


def test_a_folder_that_cannot_be_written_is_one_line(project: Project) -> None:
    (project.folder / "file").write_text("")
    done = project.cli("demo", "file/below")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: The demo cannot write file/below: Not a directory. Give another folder."
    ]


def test_an_empty_folder_is_taken_and_a_dead_link_is_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert fresh(tmp_path / "empty") == tmp_path / "empty"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert fresh(tmp_path / "link") == tmp_path / "link-2"


def test_what_a_call_is_recognised_by_is_the_same_for_every_python() -> None:
    traceback = 'Traceback (most recent call last):\n  File "/x/test_leap.py", line 14\n    ~~~^^^\n'
    head = "[EXECUTION RESULT] #123abc\n$ python -m unittest\n[main] completed, return_code 1, 0.2 s, cwd /x\n"
    text = f"{head}{traceback}"
    text += "\nRan 3 tests in 0.000s\n\nFAILED (failures=1)\n\n[STATUS] #123abc\nAgentic step 2 / 6"
    assert gist(text) == "$ python -m unittest\n[main] completed, return_code 1\nFAILED (failures=1)"
    assert gist(text.replace(traceback, "")) == gist(text)


async def test_the_recording_refuses_to_praise_a_test_that_still_fails() -> None:
    from autopilot_runtime.core.message import Message

    player = ReplayProvider(DEMO / "demo.jsonl", volatile=gist)
    still = "$ python -m unittest\n[main] completed, return_code 1, 0.2 s\nFAILED (failures=1)"
    talk = [Message("user", "task"), Message("assistant", "…"), Message("user", "…"), Message("assistant", "…")]
    with pytest.raises(ReplayError, match="differs from what was recorded"):
        _ = [delta async for delta in player.stream([*talk, Message("user", still)], system="")]


def test_the_cassette_says_what_the_written_replies_say() -> None:
    records = [json.loads(line) for line in (DEMO / "demo.jsonl").read_text().splitlines()]
    told = ["".join(chunk[0] for chunk in record["chunks"]) for record in records]
    written = (DEMO / "replies.txt").read_text().split("--- reply ---\n")
    assert told == written
    assert {record["model"] for record in records} == {"written"}
