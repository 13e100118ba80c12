"""kill -9 before every statement, and at any moment: reopened, the record holds whole transactions, all that was
acknowledged, and goes on to the same end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.training.experiment import Experiment
from autopilot_runtime.training.parameter import TextParameter
from autopilot_runtime.training.record import Record
from tests.training.records import EVENTS, change, one_epoch

ROOT = Path(__file__).parents[2]
EPOCHS = 3

TRAINS = """
    import json, os, signal, sys
    from autopilot_runtime.training.record import Record
    from tests.training.records import one_epoch

    def train(path, tell):
        with Record.open(path) as record:
            tell(record)
            if not record.has("exp"):
                record.create("exp")
            with record.hold("exp"):
                for epoch in range(record.state("exp", "next", 0), int(sys.argv[2])):
                    one_epoch(record, "exp", epoch, f"text {epoch}")
                    print(epoch, flush=True)
"""

EVERY_STATEMENT = """
    def killed_at(path, number):
        def tell(record):
            left = [number]
            def before(statement):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            record.store._link.set_trace_callback(before)
        child = os.fork()
        if child == 0:
            os.dup2(2, 1)
            train(path, tell)
            os._exit(0)
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])

    number = 0
    while killed_at(f"{sys.argv[1]}/{number + 1}.db", number + 1):
        number += 1
    print(json.dumps(number))
"""


def begin(code: str, *args: object) -> subprocess.Popen[str]:
    head = textwrap.dedent(TRAINS) + textwrap.dedent(code)
    command = [sys.executable, "-c", head, *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def epochs_in(record: Record) -> int:
    """How many epochs are there, each of them with all that belongs to it, and nothing of the next."""
    assert record.fsck() == []
    rows = record.epochs("exp")
    count = len(rows)
    assert [row.epoch for row in rows] == list(range(count))
    assert [moved.commit for moved in reversed(record.ref_history("exp", "last_accepted"))] == [
        r.commit for r in rows
    ]
    assert [event.type for event in record.events("exp")] == list(EVENTS) * count
    assert [entry.epoch for entry in record.context("exp")] == list(range(count))
    assert record.state("exp", "next", 0) == count
    for row in rows:
        assert len(record.evaluations(row.commit)) == 2
        prompt = TextParameter(name="prompt")
        record.bring(record.get_commit(row.commit, "exp"), [("prompt", prompt)])
        assert prompt.data == f"text {row.epoch}"
    assert len(record.commits("exp")) - count in (0, 1)  # the candidate at which it was killed
    return count


def goes_on(record: Record) -> None:
    """What was killed is done again, to the same end."""
    if not record.has("exp"):
        record.create("exp")
    with record.hold("exp"):
        for epoch in range(record.state("exp", "next", 0), EPOCHS):
            one_epoch(record, "exp", epoch, f"text {epoch}")
    assert epochs_in(record) == EPOCHS and len(record.commits()) == EPOCHS


def test_killed_before_any_statement_the_last_whole_transaction_is_there(tmp_path: Path) -> None:
    child = begin(EVERY_STATEMENT, tmp_path, EPOCHS)
    out, _ = child.communicate(timeout=300)
    statements = json.loads(out)
    assert child.returncode == 0 and statements > 60
    seen = set()
    for number in range(1, statements + 1):
        with Record.open(tmp_path / f"{number}.db") as record:
            seen.add(epochs_in(record))
            goes_on(record)
    assert seen == set(range(EPOCHS + 1))


@pytest.mark.parametrize("lines", [0, 1, 7, 20])
def test_killed_at_any_moment_nothing_acknowledged_is_lost(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "record.db"
    child = begin("train(sys.argv[1], lambda record: None)", path, 100_000)
    assert child.stdout is not None
    acknowledged = [child.stdout.readline() for _ in range(lines)]
    os.kill(child.pid, signal.SIGKILL)
    acknowledged += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    with Record.open(path) as record:
        done = epochs_in(record)
        whole = [line for line in acknowledged if line.endswith("\n")]
        assert len(whole) <= done <= len(whole) + 1


class Killing(TextParameter):
    """Ends its process in the middle of being restored."""

    def restore(self, state: bytes) -> None:
        super().restore(state)
        Path("half.txt").write_text(self.data)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_rollback_that_was_killed_is_finished_by_who_binds_next(tmp_path: Path) -> None:
    code = """
        from autopilot_runtime.training.experiment import Experiment
        from autopilot_runtime.training.parameter import TextParameter
        from tests.training.test_record_killed import Killing
        experiment = Experiment("exp", path=sys.argv[1])
        for epoch in range(3):
            one_epoch(experiment.record, "exp", epoch, f"text {epoch}")
        os.chdir(sys.argv[1])
        experiment.bind([("prompt", Killing("text 2", name="prompt"))]).rollback(1, why="it was better")
    """
    child = begin(code, tmp_path, 0)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert (tmp_path / "half.txt").read_text() == "text 1"
    with contextlib.closing(Experiment("exp", path=tmp_path)) as experiment:
        assert experiment.last_accepted_epoch == 2  # not said before it was done
        prompt = TextParameter("text 2", name="prompt")
        experiment.bind([("prompt", prompt)])
        assert (prompt.data, experiment.last_accepted_epoch) == ("text 1", 1)
        assert [(entry.decision, entry.text) for entry in experiment.context_log][-1] == ("rollback", "it was better")
        before = len(experiment.context_log)
        experiment.bind([("prompt", prompt)])
        assert len(experiment.context_log) == before and experiment.record.fsck() == []


def test_an_empty_file_is_a_lost_record_and_not_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    with Record.open(path) as record:
        record.create("exp")
    path.write_bytes(b"")
    with pytest.raises(StoreError, match="is empty, and ours never are"):
        Record.open(path)
    assert path.read_bytes() == b"" and change(path, "PRAGMA user_version") == -1
