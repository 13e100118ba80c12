"""`autopilot demo`: a whole run in a fresh folder, with nothing but the recording and the real tools."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_project import ROOT, Project, finish

from autopilot_runtime import ReplayError
from autopilot_runtime.cli.demo import fresh, gist
from autopilot_runtime.model.replay import ReplayProvider

DEMO = ROOT / "sessions" / "demo"
BUG = "    return year % 4 == 0\n"


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
    assert sorted(file.name for file in made.iterdir()) == ["leap.py", "test_leap.py"]
    assert BUG not in (made / "leap.py").read_text()
    assert (made / "test_leap.py").read_bytes() == (DEMO / "project" / "test_leap.py").read_bytes()
    checked = subprocess.run(
        [sys.executable, "-m", "unittest"], cwd=made, capture_output=True, timeout=30, check=False
    )
    assert checked.returncode == 0
    assert [str(path.relative_to(project.home)) for path in project.home.glob("*/*")] == [".autopilot/store"]


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
