"""Says whether a measured state may stand. A gate that cannot tell says no."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal

from autopilot_runtime.training.fault import TrainingError, meant

Verdict = Literal["accept", "discard", "rollback", "stop"]
VERDICTS: tuple[Verdict, ...] = ("accept", "discard", "rollback", "stop")


@dataclass(frozen=True, slots=True)
class Judged:
    """What one gate said, with the numbers it went by."""

    gate: str
    passed: bool
    reason: str
    value: float | None = None
    bound: str = ""
    warning: bool = False

    def __bool__(self) -> bool:
        return self.passed


@dataclass(frozen=True, slots=True)
class Case:
    """What gates are asked about. `accepted` are the metrics of the last accepted state ({} before the first);
    `directions` says of a metric whether higher is better."""

    metrics: Mapping[str, Any]
    accepted: Mapping[str, Any] = field(default_factory=dict)
    epoch: int = 0
    directions: Mapping[str, bool] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    spent: Mapping[str, float] = field(default_factory=dict)


class Gate:
    """One condition. `on_fail` is the verdict when it does not hold; None leaves it to the policy. With `warn`, a
    failure is only told."""

    def __init__(
        self, metric: str = "", *, on_fail: Verdict | None = None, warn: bool = False, name: str = ""
    ) -> None:
        if on_fail is not None and on_fail not in VERDICTS:
            raise TrainingError(f"on_fail={on_fail!r} is no verdict.{meant(on_fail, VERDICTS)}")
        self.metric, self.on_fail, self.warn = metric, on_fail, warn
        self.name = name or f"{type(self).__name__}({metric})"

    def check(self, case: Case) -> Judged:
        """Whether it holds."""
        value = number_in(case.metrics, self.metric)
        if isinstance(value, str):
            return Judged(self.name, False, value, bound=self.bound)
        passed = self.holds(value, case)
        reason = f"{self.metric} {value:.6g} {'meets' if passed else 'does not meet'} {self.bound}"
        return Judged(self.name, passed, reason, value, self.bound)

    def holds(self, value: float, case: Case) -> bool:
        """Whether this value will do."""
        raise NotImplementedError(f"{type(self).__name__} has no holds(value, case)")

    @property
    def bound(self) -> str:
        """The condition in words."""
        return self.name


class MinGate(Gate):
    """The metric is at least `minimum`."""

    def __init__(self, metric: str, minimum: float, **options: Any) -> None:
        super().__init__(metric, **options)
        self.minimum = float(minimum)

    def holds(self, value: float, case: Case) -> bool:
        return value >= self.minimum

    @property
    def bound(self) -> str:
        return f">= {self.minimum:g}"


class MaxGate(Gate):
    """The metric is at most `maximum`."""

    def __init__(self, metric: str, maximum: float, **options: Any) -> None:
        super().__init__(metric, **options)
        self.maximum = float(maximum)

    def holds(self, value: float, case: Case) -> bool:
        return value <= self.maximum

    @property
    def bound(self) -> str:
        return f"<= {self.maximum:g}"


class RangeGate(Gate):
    """The metric lies between two bounds."""

    def __init__(self, metric: str, minimum: float, maximum: float, **options: Any) -> None:
        super().__init__(metric, **options)
        self.minimum, self.maximum = float(minimum), float(maximum)

    def holds(self, value: float, case: Case) -> bool:
        return self.minimum <= value <= self.maximum

    @property
    def bound(self) -> str:
        return f"in [{self.minimum:g}, {self.maximum:g}]"


class MonotonicGate(Gate):
    """The metric is not worse than that of the last accepted state, by more than `tolerance`."""

    def __init__(
        self,
        metric: str,
        *,
        higher_is_better: bool | None = None,
        tolerance: float = 0.0,
        strict: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(metric, **options)
        self.higher_is_better, self.tolerance, self.strict = higher_is_better, float(tolerance), strict

    def check(self, case: Case) -> Judged:
        value, before = number_in(case.metrics, self.metric), number_in(case.accepted, self.metric)
        if isinstance(value, str):
            return Judged(self.name, False, value)
        if isinstance(before, str):
            return Judged(self.name, True, f"{self.metric} {value:.6g}: nothing accepted to compare with", value)
        gain = (value - before) if self.rises(case) else (before - value)
        passed = gain > -self.tolerance if self.strict else gain >= -self.tolerance
        how = "better" if gain > 0 else "worse" if gain < 0 else "the same"
        reason = f"{self.metric} {before:.6g} -> {value:.6g} ({how})"
        return Judged(self.name, passed, reason, value, f"not worse than {before:.6g}")

    @property
    def bound(self) -> str:
        """The condition in words."""
        most = f" by more than {self.tolerance:g}" if self.tolerance else ""
        return (
            "better than what is accepted" if self.strict and not most else f"not worse than what is accepted{most}"
        )

    def rises(self, case: Case) -> bool:
        """Whether more of the metric is better."""
        if self.higher_is_better is not None:
            return self.higher_is_better
        return direction_of(self.metric, case.directions)


class CustomGate(Gate):
    """A function of the metrics: true, false, or (whether it holds, why). One that takes two gets the `Case`, too."""

    def __init__(self, check: Callable[..., Any], *, name: str = "", **options: Any) -> None:
        super().__init__("", name=name or getattr(check, "__name__", type(check).__name__), **options)
        self._check = check
        self._takes_case = _positional(check) >= 2

    def check(self, case: Case) -> Judged:
        answer = self._check(dict(case.metrics), case) if self._takes_case else self._check(dict(case.metrics))
        passed, reason = answer if isinstance(answer, tuple) else (answer, "")
        if passed not in (True, False):
            return Judged(self.name, False, f"{self.name} gave {answer!r}, which is neither true nor false")
        return Judged(self.name, bool(passed), str(reason) or f"{self.name} {'holds' if passed else 'does not hold'}")


class BudgetGate(Gate):
    """What was spent so far stays below a limit: `BudgetGate(usd=1.0, calls=500, seconds=60)`. Else: stop."""

    def __init__(
        self, *, on_fail: Verdict | None = "stop", warn: bool = False, name: str = "BudgetGate", **limits: float
    ) -> None:
        super().__init__("", on_fail=on_fail, warn=warn, name=name)
        self.limits = limits

    def check(self, case: Case) -> Judged:
        over = [
            f"{what} {case.spent.get(what, 0):g} of {limit:g}"
            for what, limit in self.limits.items()
            if case.spent.get(what, 0) >= limit
        ]
        return Judged(self.name, not over, f"spent: {', '.join(over)}" if over else "within the budget")


def number_in(metrics: Mapping[str, Any], name: str) -> float | str:
    """The metric as a finite number, or the sentence that says why there is none. `val_x` and `val/x` mean `x`."""
    for key in (name, name.removeprefix("val_"), name.removeprefix("val/")):
        if key in metrics:
            value = metrics[key]
            if isinstance(value, bool) or not isinstance(value, Real):  # numpy's numbers are Real, too
                return f"metric {name!r} is {type(value).__name__} {str(value)[:100]!r}, not a number"
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            return number if math.isfinite(number) else f"metric {name!r} is {number}, not a finite number"
    return f"metric {name!r} was not measured.{meant(name, metrics)}"


def direction_of(name: str, directions: Mapping[str, bool]) -> bool:
    """Whether more of it is better; a loss or an error is better when there is less, if nobody says otherwise."""
    for key in (name, name.removeprefix("val_"), name.removeprefix("val/")):
        if key in directions:
            return directions[key]
    return not any(word in name.lower() for word in ("loss", "error", "cost", "latency", "time", "steps"))


def _positional(function: Callable[..., Any]) -> int:
    import inspect

    try:
        kinds = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    return sum(
        one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.default is one.empty for one in kinds
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with a candidate, why, and what each gate said."""

    verdict: Verdict
    reason: str
    gates: Sequence[Judged] = ()
    error: BaseException | None = None

    @property
    def accepted(self) -> bool:
        """Whether it stands."""
        return self.verdict == "accept"
