"""What a fit may spend. It is set aside before it is spent, so nothing begins that cannot be paid for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from autopilot_runtime.training.fault import BudgetSpent, TrainingError, meant

KINDS = ("calls", "proposals", "tokens", "usd", "seconds")


class Budget:
    """Limits on evaluations (`calls`), optimizer steps (`proposals`), `tokens`, `usd` and `seconds`."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, **limits: float | None) -> None:
        for name, limit in limits.items():
            if name not in KINDS:
                raise TrainingError(f"a budget has no {name!r}.{meant(name, KINDS)}")
            if limit is not None and not (limit >= 0 and math.isfinite(limit)):
                raise TrainingError(f"a budget of {limit!r} {name} is none: give a number, 0 or more")
        self.limits: dict[str, float] = {name: float(one) for name, one in limits.items() if one is not None}
        self.spent: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        self._clock = clock
        self._since = clock()

    @classmethod
    def of(cls, limits: Mapping[str, float | None]) -> Budget:
        """One with these limits."""
        return cls(**limits)  # type: ignore[arg-type]

    @classmethod
    def given(cls, budget: Budget | Mapping[str, float] | None) -> Budget:
        """A budget as a user may give it."""
        return budget if isinstance(budget, Budget) else cls.of(budget or {})

    def start(self) -> None:
        """Time counts from now on."""
        self._since = self._clock()

    def _tick(self) -> None:
        now = self._clock()
        self.spent["seconds"] += now - self._since
        self._since = now

    def left(self, kind: str) -> float:
        """What may still be spent; infinite without a limit."""
        if kind == "seconds":
            self._tick()
        return max(0.0, self.limits.get(kind, math.inf) - self.spent[kind])

    def require(self, **wanted: float) -> None:
        """Raise `BudgetSpent` when this much is not left of each; nothing is spent."""
        self._tick()
        for kind, amount in wanted.items():
            limit = self.limits.get(kind, math.inf)
            if self.spent[kind] + amount > limit:
                spent = self.spent[kind]
                raise BudgetSpent(
                    f"of the budget of {limit:g} {kind}, {spent:g} are spent: {amount:g} more do not fit"
                )
        for kind in ("usd", "tokens", "seconds"):
            if kind in self.limits and self.spent[kind] >= self.limits[kind]:
                raise BudgetSpent(f"the budget of {self.limits[kind]:g} {kind} is spent")

    def reserve(self, **wanted: float) -> None:
        """Set this much aside, or raise `BudgetSpent` and set nothing aside."""
        self.require(**wanted)
        self.add(**wanted)

    def add(self, **spent: float) -> None:
        """Count what was spent."""
        for kind, amount in spent.items():
            self.spent[kind] += amount

    def warnings(self, share: float = 0.8) -> list[tuple[str, float, float]]:
        """(kind, spent, limit) of what is nearly spent."""
        self._tick()
        return [
            (kind, self.spent[kind], limit)
            for kind, limit in self.limits.items()
            if self.spent[kind] >= share * limit
        ]

    def forecast(self, *, calls_per_proposal: float) -> str:
        """In words, how many proposals fit."""
        fits = [self.left("proposals")]
        if calls_per_proposal:
            fits.append(self.left("calls") / calls_per_proposal)
        done = self.spent["proposals"]
        fits += [
            self.left(kind) / (self.spent[kind] / done)
            for kind in ("tokens", "usd", "seconds")
            if done and self.spent[kind]
        ]
        least = min(fits)
        return "any number of proposals fit" if math.isinf(least) else f"about {int(least)} proposals fit"

    def state_dict(self) -> dict[str, Any]:
        """What is spent."""
        self._tick()
        return {"spent": dict(self.spent)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.spent = {**dict.fromkeys(KINDS, 0.0), **state["spent"]}
        self.start()
