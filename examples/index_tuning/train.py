"""Tunes the indexes of a database: query plans are the gradient, other queries decide, writes have a limit."""

import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from workload import HELD_OUT, TRAIN, WRITES, filled, plan, steps

from autopilot_runtime.training import (
    AutoPilotModule,
    DataLoader,
    Datum,
    EvalDatum,
    Gradient,
    Loss,
    MaxGate,
    Metric,
    MonotonicGate,
    PathParameter,
    Policy,
    RuleOptimizer,
    parts_of,
)


@dataclass(kw_only=True)
class Statement(Datum):
    """A piece of SQL, which is its id; and the metric that its work counts as."""

    counts: str = "steps"


class Total(Metric):
    """All the work of one kind."""

    higher_is_better = False

    def reset(self) -> None:
        self.found: list[float] = []

    def update(self, data: list[EvalDatum]) -> None:
        self.found += [one.metrics[self.name] for one in data if self.name in one.metrics]

    def compute(self) -> dict[str, float]:
        return {self.name: sum(self.found)} if self.found else {}


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
                    columns = re.findall(rf"\b{scanned[1]}\.(\w+) = ", one.id)
                    found.append(Scan(scanned[1], tuple(columns), one.metrics["steps"]))
        return found


class Shop(AutoPilotModule):
    def __init__(self, file: Path) -> None:
        self.indexes = PathParameter(file)
        self.loss = Scans()
        self.steps, self.writes = Total("steps"), Total("writes")
        self._made: tuple[str, sqlite3.Connection] | None = None

    def database(self) -> sqlite3.Connection:
        """One with the indexes as they are now."""
        if self._made is None or self._made[0] != self.indexes.text:
            self.teardown("")
            self._made = self.indexes.text, filled()
            self._made[1].executescript(self.indexes.text)
        return self._made[1]

    def teardown(self, stage: str) -> None:
        if self._made is not None:
            self._made[1].close()
            self._made = None

    def forward(self, batch: list[Statement]) -> list[EvalDatum]:
        db = self.database()
        return [
            EvalDatum(id=one.id, metrics={one.counts: steps(db, one.id)}, metadata={"plan": plan(db, one.id)})
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


def module() -> Shop:
    return Shop(Path(__file__).with_name("indexes.sql"))


with closing(filled()) as empty:
    writes_at_most = 1.5 * steps(empty, WRITES)
train = DataLoader([Statement(id=sql) for sql in TRAIN], batch_size=len(TRAIN))
val = DataLoader([*(Statement(id=sql) for sql in HELD_OUT), Statement(id=WRITES, counts="writes")], batch_size=5)
policy = Policy([
    MonotonicGate("steps", higher_is_better=False, strict=True, on_fail="rollback"),
    MaxGate("writes", writes_at_most),
])  # fmt: skip
max_epochs = 7
