"""Numbers that say how good a state is, added up over batches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from autopilot_runtime.training.arity import takes
from autopilot_runtime.training.datum import EvalDatum
from autopilot_runtime.training.fault import TrainingError


class Metric:
    """One measure. Override `update` and `compute`; state that is set in `reset` is fresh for every phase.

    `compute` gives a number, or a dict of them under names of their own.
    """

    higher_is_better: bool = True
    name: str = ""

    def __init__(self, name: str = "", *, higher_is_better: bool | None = None) -> None:
        if name:
            self.name = name
        if higher_is_better is not None:
            self.higher_is_better = higher_is_better
        self.reset()

    def update(self, data: Any, batch: Any = None) -> None:
        """Take one result in, with the batch it was made from."""
        raise NotImplementedError(f"{type(self).__name__} has no update(data, batch)")

    def compute(self) -> float | dict[str, float]:
        """The value over all that was taken in."""
        raise NotImplementedError(f"{type(self).__name__} has no compute()")

    def reset(self) -> None:
        """Begin anew."""

    def __call__(self, data: Any, batch: Any = None) -> None:
        self.update(data, batch)


class MeanMetric(Metric):
    """The mean of a number in the results: `EvalDatum.metrics[key]`, or what `of(data, batch)` gives."""

    def __init__(
        self, key: str = "", *, of: Any = None, name: str = "", higher_is_better: bool | None = None
    ) -> None:
        if not key and of is None:
            raise TrainingError("MeanMetric needs the key of a metric, or of=<function of (data, batch)>")
        self.key, self._of = key, of
        super().__init__(name or key, higher_is_better=higher_is_better)

    def reset(self) -> None:
        self._values: list[float] = []

    def update(self, data: Any, batch: Any = None) -> None:
        found = (
            self._of(data, batch) if self._of is not None else [one.metrics.get(self.key) for one in results_in(data)]
        )
        self._values += [
            float(one) for one in (found if isinstance(found, (list, tuple)) else [found]) if one is not None
        ]

    def compute(self) -> float:
        return math.fsum(self._values) / len(self._values) if self._values else math.nan


class SuccessRate(Metric):
    """The share of results that are true."""

    name: str = "success"

    def reset(self) -> None:
        self._right = self._all = 0

    def update(self, data: Any, batch: Any = None) -> None:
        for one in results_in(data):
            self._all += 1
            self._right += bool(one)

    def compute(self) -> float:
        return self._right / self._all if self._all else math.nan


class MetricCollection:
    """Several measures that are updated together."""

    higher_is_better: ClassVar[bool] = True

    def __init__(self, metrics: Mapping[str, Metric] | Iterable[Metric]) -> None:
        if isinstance(metrics, Mapping):
            self._metrics: dict[str, Metric] = dict(metrics)
        else:
            self._metrics = {one.name or type(one).__name__.lower(): one for one in metrics}

    def __iter__(self) -> Iterator[tuple[str, Metric]]:
        return iter(self._metrics.items())

    def __getitem__(self, name: str) -> Metric:
        return self._metrics[name]

    def __len__(self) -> int:
        return len(self._metrics)

    def update(self, data: Any, batch: Any = None) -> None:
        """Take one result in."""
        for metric in self._metrics.values():
            metric.update(*(data, batch)[: takes(metric.update)])

    __call__ = update

    def compute(self) -> dict[str, float]:
        """Name → value."""
        return {
            key: value for name, metric in self._metrics.items() for key, value in values_of(metric, name).items()
        }

    def reset(self) -> None:
        """Begin anew."""
        for metric in self._metrics.values():
            metric.reset()

    def directions(self) -> dict[str, bool]:
        """Name → whether higher is better."""
        return {name: metric.higher_is_better for name, metric in self._metrics.items()}


def values_of(metric: Metric | MetricCollection, name: str) -> dict[str, float]:
    """What a metric says, under its own name or the one it has as an attribute."""
    value = metric.compute()
    if isinstance(value, Mapping):
        return dict(value)
    own = metric.name if isinstance(metric, Metric) else ""
    return {own or name: value}


def results_in(data: Any) -> list[Any]:
    """The single results in what a step gave."""
    if isinstance(data, EvalDatum):
        return [data]
    items = getattr(data, "items", None)
    if isinstance(data, (list, tuple)):
        return list(data)
    return list(items) if isinstance(items, (list, tuple)) else [data]
