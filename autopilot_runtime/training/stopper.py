"""Says when to stop: nothing gets better any more, enough is spent, or it is good enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from autopilot_runtime.training.fault import MetricMissing, TrainingError
from autopilot_runtime.training.gate import direction_of, number_in


class Passed(Protocol):
    """What a stopper reads of an epoch that is over; `record.EpochRow` has it."""

    @property
    def epoch(self) -> int: ...
    @property
    def verdict(self) -> str: ...
    @property
    def metrics(self) -> Mapping[str, float]: ...


@runtime_checkable
class Stopper(Protocol):
    """Asked after every epoch. Gives the reason to stop, or None to go on."""

    def should_stop(self, history: Sequence[Passed], *, spent: Mapping[str, float]) -> str | None: ...


class PlateauStopper:
    """Stops when the metric of accepted states has not risen by more than `min_delta` for `patience` epochs.

    A discarded candidate is no progress, however lucky its measurement was.
    """

    def __init__(
        self, metric: str, patience: int = 5, min_delta: float = 0.0, *, higher_is_better: bool | None = None
    ) -> None:
        if patience < 1:
            raise TrainingError(f"PlateauStopper(patience={patience}) would stop at once: patience is at least 1")
        if min_delta < 0:
            raise TrainingError(f"PlateauStopper(min_delta={min_delta}) would take a loss for progress: at least 0")
        self.metric, self.patience, self.min_delta = metric, patience, float(min_delta)
        self.rises = direction_of(metric, {}) if higher_is_better is None else higher_is_better

    def should_stop(self, history: Sequence[Passed], *, spent: Mapping[str, float]) -> str | None:
        """The reason, once it stands still."""
        _measured(self.metric, history)
        sign = 1.0 if self.rises else -1.0
        best, at, waited = -math.inf, None, 0
        for row in history:
            value = number_in(row.metrics, self.metric)
            known = row.verdict == "accept" and not isinstance(value, str)
            if known and sign * float(value) > best + self.min_delta:
                best, at, waited = sign * float(value), row.epoch, 0
            else:
                waited += 1
        if waited < self.patience:
            return None
        so_far = "nothing was accepted" if at is None else f"best {sign * best:.6g} in epoch {at}"
        more = f" by more than {self.min_delta:g}" if self.min_delta else ""
        return f"{self.metric} has not got better{more} for {waited} epochs ({so_far})"


class TargetStopper:
    """Stops when an accepted state reaches the target."""

    def __init__(self, metric: str, target: float, *, higher_is_better: bool | None = None) -> None:
        self.metric, self.target = metric, float(target)
        self.rises = direction_of(metric, {}) if higher_is_better is None else higher_is_better

    def should_stop(self, history: Sequence[Passed], *, spent: Mapping[str, float]) -> str | None:
        """The reason, once it is reached."""
        _measured(self.metric, history)
        for row in history:
            value = number_in(row.metrics, self.metric)
            if row.verdict != "accept" or isinstance(value, str):
                continue
            if (value >= self.target) if self.rises else (value <= self.target):
                bound = f"{'>=' if self.rises else '<='} {self.target:g}"
                return f"{self.metric} {value:.6g} in epoch {row.epoch} reaches the target {bound}"
        return None


class BudgetStopper:
    """Stops when one of the limits is reached: `BudgetStopper(calls=500, usd=2.0, seconds=3600)`."""

    def __init__(self, **limits: float) -> None:
        if not limits:
            raise TrainingError("BudgetStopper() has no limit: BudgetStopper(calls=500), for example")
        for what, limit in limits.items():
            if not math.isfinite(limit) or limit < 0:
                raise TrainingError(f"BudgetStopper({what}={limit}) is no limit: a finite number, at least 0")
        self.limits = limits

    def should_stop(self, history: Sequence[Passed], *, spent: Mapping[str, float]) -> str | None:
        """The reason, once one is reached. What is not counted has not been spent."""
        over = [
            f"{what} {spent.get(what, 0):g} of {limit:g}"
            for what, limit in self.limits.items()
            if spent.get(what, 0) >= limit
        ]
        return f"the budget is spent: {', '.join(over)}" if over else None


def _measured(metric: str, history: Sequence[Passed]) -> None:
    """Raise when epochs have metrics, and never this one: a misspelt name would wait for ever."""
    said = [number_in(row.metrics, metric) for row in history if row.metrics]
    if said and all(isinstance(one, str) and "was not measured" in one for one in said):
        raise MetricMissing(str(said[-1]))
