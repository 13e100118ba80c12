"""Which of several measured best, and what is measured of the state that stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from autopilot_runtime.training.fault import MetricMissing, meant
from autopilot_runtime.training.gate import direction_of, number_in
from autopilot_runtime.training.record import Record


class Measured(Protocol):
    """Something with metrics."""

    @property
    def metrics(self) -> Mapping[str, float]: ...


T = TypeVar("T", bound=Measured)


def standing_metrics(record: Record, slug: str) -> dict[str, float]:
    """What was measured of the state that stands in an experiment."""
    stands = record.ref(slug, "last_accepted")
    rows = [row for row in record.epochs(slug) if row.commit == stands and row.metrics]
    return dict(rows[-1].metrics) if rows else {}


def best_of(some: Sequence[T], metric: str, higher_is_better: bool | None = None) -> T | None:
    """Of things with metrics, the one that measured best; the first of equals. One that is no finite number cannot
    be the best."""
    numbers = [(one, number_in(one.metrics, metric)) for one in some]
    measured = [(one, value) for one, value in numbers if isinstance(value, float)]
    known = {name for one in some for name in one.metrics}
    if not measured:
        if known and metric not in known:
            raise MetricMissing(f"Nobody has measured {metric!r}.{meant(metric, known)}")
        return None
    rises = higher_is_better if higher_is_better is not None else direction_of(metric, {})
    return max(measured, key=lambda pair: pair[1] if rises else -pair[1])[0]


def shown(metrics: Mapping[str, float], metric: str = "") -> str:
    """The metric in a line, or (without one) the first three."""
    names = [metric] if metric else list(metrics)[:3]
    return " ".join(f"{name} {metrics[name]:.4g}" for name in names if isinstance(metrics.get(name), (int, float)))
