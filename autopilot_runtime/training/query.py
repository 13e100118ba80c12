"""Asks a record which experiments or epochs there are: filters that are joined with `&`, `|` and `~`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from autopilot_runtime.training.fault import MetricMissing, TrainingError, meant
from autopilot_runtime.training.gate import number_in
from autopilot_runtime.training.ranking import best_of, standing_metrics
from autopilot_runtime.training.record import EpochRow, ExperimentRow, Record


@dataclass(frozen=True, slots=True)
class Found:
    """An experiment with what was measured of the state that stands in it."""

    row: ExperimentRow
    metrics: dict[str, float] = field(default_factory=dict)
    epochs: int = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.row, name)


Row = Found | EpochRow


class Filter:
    """Takes some rows out of many. `a & b`: of what `a` takes, what `b` takes."""

    def __init__(self, take: Callable[[list[Row]], list[Row]], text: str) -> None:
        self._take = take
        self.text = text

    def __call__(self, rows: Iterable[Row]) -> list[Row]:
        return self._take(list(rows))

    def __and__(self, other: Filter) -> Filter:
        return Filter(lambda rows: other(self(rows)), f"({self.text} & {other.text})")

    def __or__(self, other: Filter) -> Filter:
        def either(rows: list[Row]) -> list[Row]:
            taken = {id(row) for row in [*self(rows), *other(rows)]}
            return [row for row in rows if id(row) in taken]

        return Filter(either, f"({self.text} | {other.text})")

    def __invert__(self) -> Filter:
        def others(rows: list[Row]) -> list[Row]:
            taken = {id(row) for row in self(rows)}
            return [row for row in rows if id(row) not in taken]

        return Filter(others, f"~{self.text}")

    def __repr__(self) -> str:
        return self.text


def where(test: Callable[[Any], bool], text: str = "") -> Filter:
    """Those rows for which a function of the row holds."""
    name = text or getattr(test, "__name__", "where")
    return Filter(lambda rows: [row for row in rows if test(row)], name)


def status_is(status: str) -> Filter:
    """Experiments that stand so."""
    return where(lambda row: _of_experiment(row, "status") == status, f"{status}()")


def completed() -> Filter:
    """Experiments that ended well."""
    return status_is("completed")


def failed() -> Filter:
    """Experiments that an error ended."""
    return status_is("failed")


def running() -> Filter:
    """Experiments that somebody trains, or was killed while training."""
    return status_is("running")


def tagged(*tags: str) -> Filter:
    """Experiments that carry all these tags."""
    return where(lambda row: set(tags) <= set(_of_experiment(row, "tags")), f"tagged({', '.join(map(repr, tags))})")


def named(pattern: str) -> Filter:
    """Experiments whose name fits a pattern with `*` and `?`."""
    return where(lambda row: fnmatchcase(getattr(row, "slug", "") or row.experiment, pattern), f"named({pattern!r})")


def child_of(slug: str) -> Filter:
    """Experiments that were begun from this one."""
    return where(lambda row: _of_experiment(row, "parent") == slug, f"child_of({slug!r})")


def verdict(*wanted: str) -> Filter:
    """Epochs that ended so: `verdict('accept')`."""

    def test(row: Any) -> bool:
        if not isinstance(row, EpochRow):
            raise TrainingError("verdict(...) asks epochs; ask Query(record).epochs().where(...).")
        return row.verdict in wanted

    return where(test, f"verdict({', '.join(map(repr, wanted))})")


def metric_gt(metric: str, bound: float) -> Filter:
    """Those that measured more than this."""
    return _measured(metric, lambda value: value > bound, f"metric_gt({metric!r}, {bound:g})")


def metric_lt(metric: str, bound: float) -> Filter:
    """Those that measured less than this."""
    return _measured(metric, lambda value: value < bound, f"metric_lt({metric!r}, {bound:g})")


def best(metric: str, *, higher_is_better: bool | None = None) -> Filter:
    """The one that measured best of those before it: `completed() & best('accuracy')`."""

    def take(rows: list[Row]) -> list[Row]:
        found = best_of(rows, metric, higher_is_better)
        return [found] if found is not None else []

    return Filter(take, f"best({metric!r})")


def _measured(metric: str, holds: Callable[[float], bool], text: str) -> Filter:
    """Those whose metric is a finite number that will do. One that nobody has measured is misspelt: an error."""

    def take(rows: list[Row]) -> list[Row]:
        numbers = [(row, number_in(row.metrics, metric)) for row in rows]
        known = {name for row in rows for name in row.metrics}
        if known and metric not in known and not any(isinstance(value, float) for _, value in numbers):
            raise MetricMissing(f"Nobody has measured {metric!r}.{meant(metric, known)}")
        return [row for row, value in numbers if isinstance(value, float) and holds(value)]

    return Filter(take, text)


def _of_experiment(row: Row, what: str) -> Any:
    if isinstance(row, EpochRow):
        raise TrainingError(f"An epoch has no {what}; ask the experiments: Query(record).where(...).")
    return getattr(row.row, what)


class Query:
    """`Query(record).where(completed() & metric_gt('accuracy', 0.9)).order_by('-accuracy').limit(5).all()`.

    It asks the experiments; with `.epochs()`, their epochs. Each step gives a new query.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._of: tuple[str, ...] | None = None
        self._filters: tuple[Filter, ...] = ()
        self._order: tuple[str, ...] = ()
        self._limit: int | None = None

    def epochs(self, *experiments: str) -> Query:
        """Ask the epochs (of these experiments) instead."""
        for slug in experiments:
            self._record.experiment(slug)
        return self._with(_of=experiments)

    def where(self, *filters: Filter) -> Query:
        """Only what all of these take."""
        return self._with(_filters=(*self._filters, *filters))

    def order_by(self, *names: str) -> Query:
        """By metrics or fields; `-name`: the largest first. What has none comes last."""
        return self._with(_order=names)

    def limit(self, count: int) -> Query:
        """Only the first ones."""
        return self._with(_limit=count)

    def all(self) -> list[Any]:
        """What was found."""
        rows: list[Row] = self._experiments() if self._of is None else self._epochs(self._of)
        for one in self._filters:
            rows = one(rows)
        for name in reversed(self._order):
            rows = _sorted(rows, name)
        return rows if self._limit is None else rows[: self._limit]

    def first(self) -> Any:
        """The first that was found, or None."""
        return next(iter(self.limit(1).all()), None)

    def count(self) -> int:
        """How many were found."""
        return len(self.all())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.all())

    def _with(self, **changes: Any) -> Query:
        made = Query(self._record)
        made.__dict__.update({**self.__dict__, **changes})
        return made

    def _experiments(self) -> list[Row]:
        return [
            Found(row, standing_metrics(self._record, row.slug), len(self._record.epochs(row.slug)))
            for row in self._record.experiments()
        ]

    def _epochs(self, slugs: Sequence[str]) -> list[Row]:
        wanted = slugs or [row.slug for row in self._record.experiments()]
        return [row for slug in wanted for row in self._record.epochs(slug)]


def _sorted(rows: list[Row], name: str) -> list[Row]:
    key = name.removeprefix("-")
    with_value = [(row, _value(row, key)) for row in rows]
    have = [(row, value) for row, value in with_value if value is not None]
    if rows and not have:
        known = {metric for row in rows for metric in row.metrics} | {"slug", "status", "created", "epochs"}
        raise MetricMissing(f"Nothing that was found has {key!r} to order by.{meant(key, known)}")
    have.sort(key=lambda pair: pair[1], reverse=name.startswith("-"))
    return [row for row, _ in have] + [row for row, value in with_value if value is None]


def _value(row: Row, key: str) -> Any:
    number = number_in(row.metrics, key)
    if isinstance(number, float):
        return number
    try:
        found = getattr(row, key)
    except AttributeError:
        return None
    return found if isinstance(found, (str, int, float)) else None
