"""What training costs over the work itself: its record, beside the bare SQLite and the bare file it stands on.

python benchmarks/bench_training.py [--quick]
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.training import (
    AutoPilotModule,
    Datum,
    EpochRow,
    EvalDatum,
    EvalKey,
    Evaluation,
    Experiment,
    Loss,
    Record,
    RuleOptimizer,
    TextGradient,
    TextParameter,
    Trainer,
)
from autopilot_runtime.training.recordrows import ContextEntry

QUICK = "--quick" in sys.argv
EPOCHS = 200 if QUICK else 2_000
EVALUATIONS = 2_000 if QUICK else 20_000
BATCH = 16
BARE = "INSERT OR IGNORE INTO bare (a, b, c, d, e, body) VALUES (?, ?, ?, ?, ?, ?)"
KINDS = [EventType.EPOCH_START, EventType.PROPOSED, EventType.EVAL_END, EventType.GATE_PASSED, EventType.EPOCH_END]


def timed(work: Callable[[], object]) -> float:
    """Seconds it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def epoch(record: Record, number: int, prompt: TextParameter) -> None:
    """What the end of an epoch writes, in one transaction."""
    prompt.data = f"Answer in one line. Attempt {number}.\n" * 40
    with record.transaction():
        made = record.commit([("prompt", prompt)], experiment="bench", epoch=number, why="a try")
        scores = {f"item-{item}": 0.5 for item in range(20)}
        row = EpochRow("bench", number, made.id, "", "accept", "better", {"accuracy": 0.5}, extra={"scores": scores})
        record.put_epoch(row)
        record.point("bench", "last_accepted", made.id, why="better")
        record.add_context("bench", ContextEntry("policy", "accuracy 0.5 -> 0.6 (better)", "accept", number, made.id))
        record.set_state("bench", "fit", {"epoch": number, "optimizers": [{}], "accepted": made.id})
        told = [Event(n, 1.0, kind, "run", "bench", made.id, data={"epoch": number}) for n, kind in enumerate(KINDS)]
        record.put_events("bench", told)


def epochs(folder: Path) -> None:
    """Every tenth epoch beside a bare write and sync of as many bytes, on the same disk at the same time."""
    taken: list[float] = []
    bare: list[float] = []
    prompt = TextParameter(name="prompt")
    with Record.open(folder / "epochs.db") as record, (folder / "bare").open("ab", buffering=0) as file:
        record.create("bench")
        for number in range(EPOCHS):
            taken.append(timed(lambda at=number: epoch(record, at, prompt)))
            if number % 10 == 0:
                bare.append(timed(lambda: (file.write(b"x" * 4_000), os.fsync(file.fileno()))))
        damaged = len(record.fsck())
    tenth = EPOCHS // 10
    first, last = statistics.median(taken[:tenth]), statistics.median(taken[-tenth:])
    floor = statistics.median(bare)
    print(
        f"record   an epoch, synced (commit, verdict, ref, reason, state, {len(KINDS)} events): "
        f"{statistics.median(taken) * 1e3:.2f} ms, p95 {sorted(taken)[int(EPOCHS * 0.95)] * 1e3:.2f} ms; "
        f"{statistics.median(taken) / floor:.1f}x of write+fsync ({floor * 1e3:.2f} ms); "
        f"the last tenth of {EPOCHS:,} {last / first:.2f}x of the first; {damaged} damaged"
    )


def evaluation(number: int) -> Evaluation:
    """One with a line of feedback."""
    key = EvalKey("c" * 64, hashlib.sha256(b"%d" % number).hexdigest(), "v1", "val", 0)
    return Evaluation(key, True, {"answer": number}, {"accuracy": 1.0}, "the answer is right, and short", at=1.0)


def evaluations(folder: Path) -> None:
    """One at a time, and a batch at a time; each beside the same row put bare into SQLite."""
    link = sqlite3.connect(folder / "bare.db", isolation_level=None)
    link.execute("PRAGMA journal_mode = WAL")
    link.execute("PRAGMA synchronous = NORMAL")
    link.execute("CREATE TABLE bare (a, b, c, d, e, body, UNIQUE (a, b, c, d, e))")
    single: list[float] = []
    many: list[float] = []
    bare: list[float] = []
    found: list[float] = []
    with Record.open(folder / "evaluations.db") as record:
        for at in range(0, EVALUATIONS, 2 * BATCH):
            made = [evaluation(number) for number in range(at, at + 2 * BATCH)]
            single += [timed(lambda one=one: record.put_evaluation(one)) for one in made[:BATCH]]
            many.append(timed(lambda some=made[BATCH:]: record.put_evaluations(some)) / BATCH)
            found += [timed(lambda one=one: record.evaluation(one.key)) for one in made[:BATCH]]
            rows = [(*one.key, json.dumps([one.output, one.metrics, one.feedback])) for one in made[:BATCH]]
            bare += [timed(lambda row=row: link.execute(BARE, row)) for row in rows]
    link.close()
    floor, alone, tenth = statistics.median(bare), statistics.median(single), len(single) // 10
    grown = statistics.median(single[-tenth:]) / statistics.median(single[:tenth])
    print(
        f"record   an evaluation: {alone * 1e6:.0f} us ({alone / floor:.1f}x of "
        f"the bare row, {floor * 1e6:.0f} us; the last tenth of {EVALUATIONS:,} {grown:.2f}x of the first); "
        f"in batches of {BATCH}: {statistics.median(many) * 1e6:.0f} us each; "
        f"asked for: {statistics.median(found) * 1e6:.0f} us"
    )


class Judged(Loss):
    """Always has the same to say."""

    def forward(self, data: Any, targets: Any = None) -> Any:
        return TextGradient("longer", items=(data.id,))


class Idle(AutoPilotModule):
    """Has nothing to do: what is left is the loop's own time."""

    def __init__(self) -> None:
        self.text, self.loss = TextParameter("a"), Judged()

    def forward(self, item: Any) -> Any:
        return EvalDatum(id=item.id)

    def configure_optimizers(self) -> Any:
        return RuleOptimizer(self.parameters(), lambda text, found: text.data + "a")


def fit(folder: Path, *, epochs: int, batches: int) -> tuple[float, float]:
    """Seconds, and seconds of processor time, of a fit with one step an epoch, on a durable record."""
    items = [Datum(id=f"item-{number}") for number in range(batches)]
    with tempfile.TemporaryDirectory(dir=folder) as place, Experiment("bench", path=place) as experiment:
        trainer = Trainer(experiment=experiment, accumulate_grad_batches=batches)
        begun, cpu = time.perf_counter(), time.process_time()
        trainer.fit(Idle(), items, items[:1], max_epochs=epochs)
        return time.perf_counter() - begun, time.process_time() - cpu


def fits(folder: Path) -> None:
    """What the loop itself costs, for an epoch and for a batch: long fits less short ones."""
    more, many = (40, 400) if QUICK else (200, 4_000)
    fit(folder, epochs=2, batches=2)
    by_epoch, by_batch = [], []
    for _ in range(3):
        few, long = fit(folder, epochs=10, batches=1), fit(folder, epochs=10 + more, batches=1)
        by_epoch.append([(b - a) / more * 1e3 for a, b in zip(few, long, strict=True)])
        few, long = fit(folder, epochs=1, batches=10), fit(folder, epochs=1, batches=10 + many)
        by_batch.append([(b - a) / many * 1e6 for a, b in zip(few, long, strict=True)])
    epoch, batch = min(by_epoch), min(by_batch)
    print(
        f"fit      an epoch with nothing to do: {epoch[0]:.2f} ms ({epoch[1]:.2f} ms of them processor); "
        f"a batch with nothing to do: {batch[0]:.0f} us ({batch[1]:.0f} us processor)"
    )


def main() -> None:
    """Every part."""
    print("bars: an epoch <= 2 ms with the durable record on, a batch <= 60 us")
    with tempfile.TemporaryDirectory() as place:
        epochs(Path(place))
        evaluations(Path(place))
        fits(Path(place))


if __name__ == "__main__":
    main()
