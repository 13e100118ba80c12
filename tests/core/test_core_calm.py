"""The collector is calmed while many runtimes are open, and only then; each story in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEGIN = """
import gc, logging
from autopilot_runtime.core.calm import MANY, arrive, leave
gc.set_threshold(700, 10, 10)
"""


def told(story: str, **environ: str) -> list[str]:
    found = subprocess.run(
        [sys.executable, "-c", BEGIN + story],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_many_open_runtimes_make_full_rounds_rare_and_the_last_ones_bring_them_back() -> None:
    few, many, fewer, again = told("""
numbers = [arrive() for _ in range(MANY - 1)]
print(gc.get_threshold())
numbers.append(arrive())
print(gc.get_threshold()[2] > 100, gc.isenabled())
for number in numbers[MANY // 2 - 1:]:
    leave(number)
    leave(number)
print(gc.get_threshold())
numbers = [arrive() for _ in range(MANY)]
print(gc.get_threshold()[2] > 100)
""")
    assert few == fewer == "(700, 10, 10)"
    assert (many, again) == ("True True", "True")


def test_full_rounds_do_not_come_while_runtimes_are_at_work() -> None:
    calm, restless = told("""
full = []
gc.callbacks.append(lambda phase, info: full.append(1) if info == {**info, "generation": 2} else None)
numbers = [arrive() for _ in range(MANY)]
kept = [[] for _ in range(300_000)]
print(len(full))
for number in numbers:
    leave(number)
kept += [[] for _ in range(300_000)]
print(len(full))
""")
    assert calm == "0"
    assert int(restless) > 0


def test_whoever_has_set_thresholds_keeps_them() -> None:
    assert told("""
gc.set_threshold(50_000, 20, 20)
numbers = [arrive() for _ in range(MANY)]
print(gc.get_threshold())
for number in numbers:
    leave(number)
print(gc.get_threshold())
gc.set_threshold(700, 10, 10)
numbers = [arrive() for _ in range(MANY)]
gc.set_threshold(9_000, 9, 9)
for number in numbers:
    leave(number)
print(gc.get_threshold())
""") == ["(50000, 20, 20)", "(50000, 20, 20)", "(9000, 9, 9)"]


def test_a_collector_that_is_off_or_has_no_full_rounds_is_left_alone() -> None:
    assert told("""
gc.disable()
numbers = [arrive() for _ in range(MANY)]
print(gc.isenabled(), gc.get_threshold())
""") == ["False (700, 10, 10)"]
    assert told("""
gc.set_threshold(2000, 10, 0)
numbers = [arrive() for _ in range(MANY)]
print(gc.get_threshold())
""") == ["(2000, 10, 0)"]


def test_one_variable_switches_it_off() -> None:
    story = "numbers = [arrive() for _ in range(MANY)]; print(gc.get_threshold())"
    assert told(story, AUTOPILOT_CALM_GC="0") == ["(700, 10, 10)"]


def test_what_was_set_is_said_once_in_the_log() -> None:
    lines = told("""
import sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(name)s %(message)s")
numbers = [arrive() for _ in range(MANY + 5)]
for number in numbers:
    leave(number)
""")
    assert len(lines) == 2
    assert lines[0].startswith("autopilot_runtime.calm 32 runtimes are open: gc.set_threshold(700,")
    assert lines[1].endswith("gc.set_threshold(700, 10, 10) again")
