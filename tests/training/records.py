"""What the tests of the record share: a clock of their own, an epoch as a trainer writes it, and a way to damage."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from pathlib import Path

from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.training.parameter import TextParameter
from autopilot_runtime.training.record import Commit, EpochRow, EvalKey, Evaluation, Record
from autopilot_runtime.training.recordrows import ContextEntry

EVENTS = (EventType.EPOCH_START, EventType.PROPOSED, EventType.ACCEPTED, EventType.EPOCH_END)


def ticking(start: float = 1000.0) -> Callable[[], float]:
    """A clock that goes on by a second each time it is asked."""
    return itertools.count(start).__next__


def evaluation(
    commit: str, item: str = "a", *, split: str = "val", replicate: int = 0, score: float = 1.0
) -> Evaluation:
    """One that was made."""
    return Evaluation(EvalKey(commit, item, "v1", split, replicate), True, {"said": item}, {"score": score}, "good")


def one_epoch(record: Record, experiment: str, epoch: int, text: str, parent: str = "") -> Commit:
    """An epoch as it is kept: two evaluations, then all else in one transaction."""
    parameter = TextParameter(text, name="prompt")
    made = record.commit([("prompt", parameter)], experiment=experiment, epoch=epoch, why=f"try {epoch}")
    for item in ("a", "b"):
        record.put_evaluation(evaluation(made.id, item))
    with record.transaction():
        record.put_epoch(EpochRow(experiment, epoch, made.id, parent, "accept", "better", {"score": epoch / 10}))
        happened = [
            Event(number, 1.0, kind, span=made.id, data={"epoch": epoch}) for number, kind in enumerate(EVENTS)
        ]
        record.put_events(experiment, happened)
        record.point(experiment, "last_accepted", made.id, why=f"epoch {epoch}")
        record.add_context(experiment, ContextEntry("policy", f"epoch {epoch} is better", "accept", epoch, made.id))
        record.set_state(experiment, "next", epoch + 1)
    return made


def change(path: Path, statement: str, *values: object) -> int:
    """Change the file behind everybody's back; gives how many rows that was."""
    link = sqlite3.connect(path)
    try:
        with link:
            return link.execute(statement, values).rowcount
    finally:
        link.close()
