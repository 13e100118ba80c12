"""The most that a piece of work may use, and the lesser of two such bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Steps, dollars, tokens and seconds; None where nothing limits them."""

    steps: int | None = None
    cost_usd: float | None = None
    tokens: int | None = None
    seconds: float | None = None

    def within(self, other: Bounds) -> Bounds:
        """What holds where both do."""
        return Bounds(
            least(self.steps, other.steps),
            least(self.cost_usd, other.cost_usd),
            least(self.tokens, other.tokens),
            least(self.seconds, other.seconds),
        )


def least(one: T | None, other: T | None) -> T | None:
    """The lesser of two limits, of which either may be none."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
