"""Tunes the indexes of a database: query plans are the gradient, other queries decide, writes have a limit."""

import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from workload import HELD_OUT, TRAIN, WRITES, filled, plan, steps

from autopilot_runtime.training import (
    AutoPilotModule,
    Callback,
    DataLoader,
    Datum,
    EvalDatum,
    Gradient,
    Loss,
    MaxGate,
    MonotonicGate,
    PathParameter,
    Policy,
    RuleOptimizer,
    Trainer,
)
from autopilot_runtime.training.gradient import parts_of


@dataclass(kw_only=True)
class Statement(Datum):
    sql: str
    counts: str = "steps"  # as which metric its work counts


@dataclass(frozen=True)
class Scan(Gradient):
    """A table that was read from end to end, and the columns an index could have found the rows by."""

    table: str
    columns: tuple[str, ...]
    steps: int
    attribution: str = "indexes"

    def render(self) -> str:
        return f"{self.steps} steps to scan {self.table} for {', '.join(self.columns)}"


class Scans(Loss):
    def forward(self, data: list[EvalDatum], targets: object = None) -> list[Scan]:
        found = []
        for one in data:
            for row in one.metadata["plan"]:
                if scanned := re.fullmatch(r"(?:SCAN|SEARCH) (?:TABLE )?(\w+)", row):
                    columns = re.findall(rf"\b{scanned[1]}\.(\w+) = ", one.metadata["sql"])
                    found.append(Scan(scanned[1], tuple(columns), one.metrics["steps"]))
        return found


class Shop(AutoPilotModule):
    def __init__(self, file: Path) -> None:
        self.indexes = PathParameter(file)
        self.loss = Scans()
        self._empty = filled()
        self._made: tuple[str, sqlite3.Connection] | None = None

    def database(self) -> sqlite3.Connection:
        """One with the indexes as they are now."""
        if self._made is None or self._made[0] != self.indexes.text:
            db = sqlite3.connect(":memory:")
            self._empty.backup(db)
            db.executescript(self.indexes.text)
            self._made = self.indexes.text, db
        return self._made[1]

    def forward(self, batch: list[Statement]) -> list[EvalDatum]:
        db = self.database()
        return [
            EvalDatum(
                id=one.id,
                metrics={one.counts: steps(db, one.sql)},
                metadata={"sql": one.sql, "plan": plan(db, one.sql)},
            )
            for one in batch
        ]

    def configure_optimizers(self) -> "Indexer":
        return Indexer(self.parameters())


class Indexer(RuleOptimizer):
    """Adds the index that would save the most scanning. What was refused waits until something else was kept."""

    trying = ""

    def propose(self, parameter: PathParameter, gradient: Gradient) -> PathParameter | None:
        wanted = Counter()
        for scan in parts_of(gradient):
            wanted.update({f"{scan.table}({column})": scan.steps for column in scan.columns})
        for self.trying, _ in wanted.most_common():
            if not self.is_blocked(self.trying) and self.trying not in parameter.text:
                self.why = self.trying
                name = "_".join(re.findall(r"\w+", self.trying))
                parameter.text += f"CREATE INDEX {name} ON {self.trying};\n"
                return parameter
        self.trying = self.why = ""
        return None

    def told(self, verdict: str, reason: str) -> None:
        if verdict == "accept":
            self.blocked.clear()  # with this one there, another may be right that was wrong before
        elif self.trying:
            self.block_strategy(self.trying, reason)


class Table(Callback):
    """Shows every candidate: the work on both kinds of queries, what writing costs, and what became of it."""

    def on_validation_end(self, trainer: Trainer, module: Shop, metrics: dict) -> None:
        train = sum(steps(module.database(), sql) for sql in TRAIN)
        held_out = metrics["steps"] * len(HELD_OUT)
        self.figures = f"train {train:7,}  held out {held_out:7,.0f}  writes {metrics['writes']:5,.0f}"

    def on_fit_start(self, trainer: Trainer, module: Shop) -> None:
        print("VM steps of ...")

    def on_sanity_check_end(self, trainer: Trainer, module: Shop) -> None:
        print(f"before            {self.figures}")

    def on_epoch_end(self, trainer: Trainer, module: Shop) -> None:
        row = trainer.history[-1]
        why = "" if row.verdict == "accept" else f": {row.reason}"
        print(f"epoch {row.epoch + 1} {row.verdict:8}  {self.figures}  {row.extra['why']}{why}")


with tempfile.TemporaryDirectory() as folder:
    file = Path(shutil.copy(Path(__file__).with_name("indexes.sql"), folder))
    module, table = Shop(file), Table()
    limit = 1.5 * steps(filled(), WRITES)
    gates = [
        MonotonicGate("steps", higher_is_better=False, strict=True, on_fail="rollback"),
        MaxGate("writes", limit),
    ]
    train = DataLoader([Statement(sql=sql) for sql in TRAIN], batch_size=len(TRAIN))
    held_out = DataLoader([*(Statement(sql=sql) for sql in HELD_OUT), Statement(sql=WRITES, counts="writes")], 5)
    result = Trainer(table, Policy(gates)).fit(module, train, held_out, max_epochs=7)
    before, after = result.history[0].metrics["steps"], result.metrics["steps"]
    before, after = before * len(HELD_OUT), after * len(HELD_OUT)
    print(f"held-out work: {before:,.0f} -> {after:,.0f} steps, x{before / after:.0f} less")
    print(file.read_text(), end="")
