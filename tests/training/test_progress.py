from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.training import MaxGate, MinGate, MonotonicGate, Trainer
from autopilot_runtime.training.progress import ProgressBar, epoch_line, is_live
from autopilot_runtime.training.record import EpochRow
from tests.training.systems import Vocabulary, loader

ROOT = Path(__file__).resolve().parents[2]
UP = [MonotonicGate("accuracy", strict=True), MinGate("accuracy", 0.2), MaxGate("accuracy", 0.7, warn=True)]
FIT = """
import sys
from autopilot_runtime.training import MonotonicGate, Trainer
from autopilot_runtime.training.progress import ProgressBar
from tests.training.systems import Vocabulary, loader

class Talking(Vocabulary):
    def training_step(self, batch, batch_idx):
        print("a line of the program", flush=True)
        if "--stop" in sys.argv:
            raise KeyboardInterrupt
        return self(batch)

trainer = Trainer(ProgressBar(), policy=MonotonicGate("accuracy", strict=True))
trainer.fit(Talking(), loader(), loader(), max_epochs=2)
"""


class Clock:
    """Every look is half a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


def fitted(stream: Any, script: list[str], **options: Any) -> list[str]:
    bar = ProgressBar(stream=stream, clock=Clock(), **options)
    Trainer(bar, policy=UP).fit(Vocabulary(script=script), loader(), loader(), max_epochs=len(script) // 2)
    text: str = stream.getvalue()
    return text.splitlines()


def test_where_nobody_looks_on_every_candidate_is_one_line_with_the_gates_it_failed() -> None:
    lines = fitted(io.StringIO(), ["ab", "ab cd", "xx", "yy", "cd", "ab cd ef"])
    assert lines == [
        "start: success 0, accuracy 0",
        "candidate 0 (1/3): kept  val accuracy 0.5 (+0.5)  train 0  gates 3/3  0.5 s  entry 2 of the script",
        "candidate 1 (2/3): not kept  val accuracy 0 (-0.5)  train 0.5  gates 1/3  0.5 s  entry 4 of the script",
        "    failed MonotonicGate(accuracy): accuracy 0.5 -> 0 (worse)",
        "    failed MinGate(accuracy): accuracy 0 does not meet >= 0.2",
        "candidate 2 (3/3): kept  val accuracy 0.75 (+0.25)  train 0.5  gates 2/3  0.5 s  entry 6 of the script",
        "    warned MaxGate(accuracy): accuracy 0.75 does not meet <= 0.7",
        "completed",
    ]


def test_a_second_fit_with_the_same_bar_is_told_once() -> None:
    stream = io.StringIO()
    trainer = Trainer(ProgressBar(stream=stream), policy=UP)
    for _ in range(2):
        trainer.fit(Vocabulary(script=["ab"]), loader(batch_size=4), loader(), max_epochs=1)
    assert [line.split()[0] for line in stream.getvalue().splitlines()] == ["start:", "candidate", "completed"] * 2


def test_bars_for_training_and_validation_stand_apart_each_with_its_own_total() -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Screen()
    fitted(stream, ["ab", "ab cd"], live=True)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", stream.getvalue())
    assert "candidate 0 (1/1): kept" in text
    assert re.search(r"train +\S+ +\d/2", text)
    assert re.search(r"val +\S+ +\d/2", text)
    assert re.search(r"candidates +\S+ +\d/1", text)
    assert text.count("completed") == 1


def test_a_reader_that_is_gone_does_not_stop_the_fit() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    fitted(Gone(), ["ab", "ab cd"])


def test_what_was_written_cannot_steer_the_terminal() -> None:
    evil = "\x1b[2J\u202e\nnew line"
    row = EpochRow("x", 0, "c", "p", "discard", evil, {"accuracy": 0.5}, extra={"why": evil})
    line = epoch_line(row, {}, "accuracy")
    assert "\x1b" not in line
    assert "\n" not in line
    assert "\u202e" not in line


@pytest.mark.parametrize("env", [{"CI": "true"}, {"TERM": "dumb"}])
def test_no_bars_where_they_are_not_welcome(env: dict[str, str]) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert is_live(Screen(), {})
    assert not is_live(Screen(), env)
    assert not is_live(io.StringIO(), {})
    closed = io.StringIO()
    closed.close()
    assert not is_live(closed, {})


def in_a_terminal(*arguments: str) -> tuple[str, str, int]:
    """(stdout through a pipe, what the terminal of stderr got, the exit code) of a program that fits."""
    ours, theirs = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR")}
    env |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "100"}
    child = subprocess.Popen(
        [sys.executable, "-c", FIT, *arguments],
        stdout=subprocess.PIPE,
        stderr=theirs,
        stdin=theirs,
        env=env,
        cwd=ROOT,
    )
    os.close(theirs)
    screen = bytearray()
    while True:
        if not select.select([ours], [], [], 60)[0]:
            child.kill()
            raise AssertionError("the program hangs")
        try:
            data = os.read(ours, 65536)
        except OSError:  # how a terminal says that its other end is closed
            break
        if not data:
            break
        screen += data
    os.close(ours)
    out, _ = child.communicate(timeout=60)
    return out.decode(), screen.decode("utf-8", "replace"), child.returncode


def test_stdout_that_is_piped_gets_the_programs_lines_and_nothing_else() -> None:
    out, screen, code = in_a_terminal()
    assert code == 0
    assert out == "a line of the program\n" * 10  # it is measured by its training step, too
    assert "\x1b[?25l" in screen
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")
    assert "candidate 1 (2/2): kept" in re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", screen)


def test_a_fit_that_is_interrupted_gives_the_cursor_back() -> None:
    out, screen, code = in_a_terminal("--stop")
    assert code != 0
    assert out == "a line of the program\n"
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")
    assert "interrupted" in screen
