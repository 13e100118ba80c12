"""What a phase has shown: its metrics, a score for each item, and what went wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from autopilot_runtime.training.arity import takes
from autopilot_runtime.training.datum import EvalDatum, item_digest
from autopilot_runtime.training.gate import direction_of
from autopilot_runtime.training.metric import Metric, MetricCollection, results_in, values_of


class Measure:
    """Adds up one phase. Metrics are those of the module; what they do not say comes from the results themselves."""

    def __init__(
        self, metrics: Mapping[str, Metric | MetricCollection], monitor: str = "", *, rises: bool | None = None
    ) -> None:
        self._metrics = {name: (metric, takes(metric.update)) for name, metric in metrics.items()}
        self._monitor = monitor
        self._logged: dict[str, list[float]] = {}
        self._found: dict[str, list[float]] = {}
        self._rises = direction_of(monitor, directions(metrics)) if rises is None else rises
        self.scores: dict[str, float] = {}
        self.errors: list[str] = []
        self.count = 0
        self._closed: dict[str, float] | None = None
        for metric in metrics.values():
            metric.reset()

    def add(self, output: Any, batch: Any, logged: Iterable[tuple[str, float]] = ()) -> None:
        """Take in what a step gave for a batch, and the numbers it logged."""
        self.count += 1
        for name, value in logged:
            self.log(name, value)
        for metric, count in self._metrics.values():
            metric.update(*(output, batch)[:count])
        for at, one in enumerate(results_in(output)):
            if isinstance(one, EvalDatum):
                self._result(one, batch, at)

    def _result(self, one: EvalDatum, batch: Any, at: int) -> None:
        self._found.setdefault("success", []).append(float(one.success))
        for name, value in one.metrics.items():
            if isinstance(value, (int, float)):
                self._found.setdefault(name, []).append(float(value))
        score = one.metrics.get(self._monitor, float(one.success))
        if isinstance(score, (int, float)) and math.isfinite(score):
            items = getattr(batch, "items", None)
            item = items[at] if isinstance(items, (list, tuple)) and at < len(items) else one
            self.scores[getattr(item, "id", "") or item_digest(item)] = float(score if self._rises else -score)

    def fail(self, batch: Any, error: BaseException) -> None:
        """An evaluation gave nothing. That is no score of 0."""
        self.errors.append(f"{getattr(batch, 'id', '') or 'a batch'}: {type(error).__name__}: {error}")

    def log(self, name: str, value: float) -> None:
        """A number from inside a step; several are averaged."""
        self._logged.setdefault(name, []).append(float(value))

    def close(self) -> None:
        """The phase is over: the module's metrics say what they have now, for the next phase begins them anew."""
        self._closed = self._of_metrics()

    def result(self) -> dict[str, float]:
        """Name → value."""
        values = {name: _mean(found) for name, found in self._found.items()}
        values.update({name: _mean(found) for name, found in self._logged.items()})
        values.update(self._of_metrics() if self._closed is None else self._closed)
        return values

    def _of_metrics(self) -> dict[str, float]:
        if not self.count:
            return {}
        found = [values_of(metric, name) for name, (metric, _) in self._metrics.items()]
        return {name: value for one in found for name, value in one.items()}


def directions(metrics: Mapping[str, Metric | MetricCollection]) -> dict[str, bool]:
    """Name → whether higher is better, for every metric that says so."""
    found: dict[str, bool] = {}
    for name, metric in metrics.items():
        if isinstance(metric, MetricCollection):
            found.update(metric.directions())
        else:
            found[metric.name or name] = metric.higher_is_better
    return found


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
