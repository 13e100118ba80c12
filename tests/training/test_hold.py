"""One trainer at a time: the second is told who the first is, and a killed one is followed."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autopilot_runtime.training.fault import ExperimentBusy
from autopilot_runtime.training.record import Record
from tests.training.records import change

ROOT = Path(__file__).parents[2]
HOLDS = """
import sys
from autopilot_runtime.training.record import Record
with Record.open(sys.argv[1]) as record, record.hold("exp"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "record.db"
    with Record.open(file) as record:
        record.create("exp")
    return file


def holding(path: Path) -> subprocess.Popen[str]:
    """Another process that trains."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    return child


def test_a_second_trainer_is_told_who_the_first_is(path: Path) -> None:
    child = holding(path)
    try:
        with Record.open(path) as record:
            wanted = f"'exp' in .*record.db is being trained by process {child.pid} on {platform.node()}"
            with pytest.raises(ExperimentBusy, match=wanted), record.hold("exp"):
                pytest.fail("both hold it")
            with record.hold("another"):
                assert str(record.holder("exp")) == f"process {child.pid} on {platform.node()}"
    finally:
        child.communicate("\n", timeout=60)
    with Record.open(path) as record, record.hold("exp") as before:
        assert before is None and child.returncode == 0


def test_a_killed_trainer_is_followed_by_the_next(path: Path) -> None:
    child = holding(path)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    with Record.open(path) as record:
        assert record.holder("exp") is not None and not record.holder("exp").alive  # type: ignore[union-attr]
        with record.hold("exp") as before:
            assert before is not None and before.pid == child.pid
            assert record.holder("exp").pid == os.getpid()  # type: ignore[union-attr]
        assert record.holder("exp") is None


def test_a_later_process_with_the_same_number_is_not_taken_for_the_first(path: Path) -> None:
    with Record.open(path) as record, record.hold("exp"):
        change(path, "UPDATE train_holds SET born = '1', token = 'other'")
        with Record.open(path) as second, second.hold("exp") as before:
            assert before is not None and before.born == "1"


def test_two_records_in_one_process_are_two_trainers(path: Path) -> None:
    with Record.open(path) as one, Record.open(path) as two, one.hold("exp"):
        with pytest.raises(ExperimentBusy, match=f"process {os.getpid()}"), two.hold("exp"):
            pytest.fail("both hold it")
        with one.hold("exp"):
            pass
        assert one.holder("exp") is not None
    with Record.open(path) as one:
        assert one.holder("exp") is None


def test_a_trainer_on_a_machine_that_is_gone_is_freed_by_hand(path: Path) -> None:
    with Record.open(path) as record:
        with record.hold("exp"):
            change(path, "UPDATE train_holds SET host = 'far-away', token = 'other'")
        with pytest.raises(ExperimentBusy, match=r"on far-away.*free\('exp'\)"), record.hold("exp"):
            pytest.fail("nobody can tell that it is gone")
        record.free("exp")
        with record.hold("exp"):
            assert record.holder("exp").host == platform.node()  # type: ignore[union-attr]
