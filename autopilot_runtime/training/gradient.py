"""Feedback that says what to change, where. It adds up over batches, and reads as text for whoever acts on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any


class Gradient:
    """Any feedback. `attribution` names the parameter it belongs to (or `parameter:file:line`); "" is for all."""

    attribution: str = ""

    def accumulate(self, other: Gradient) -> Gradient:
        """This and another, as one."""
        return Gradients((*parts_of(self), *parts_of(other)))

    def render(self) -> str:
        """As text for an agent or a person."""
        return f"{type(self).__name__}()"


@dataclass(frozen=True)
class NumericGradient(Gradient):
    """A number: the direction, and how far."""

    value: float = 0.0
    attribution: str = ""

    def accumulate(self, other: Gradient) -> Gradient:
        if isinstance(other, NumericGradient) and other.attribution == self.attribution:
            return replace(self, value=self.value + other.value)
        return super().accumulate(other)

    def render(self) -> str:
        return f"{self.value:+g}"


@dataclass(frozen=True)
class TextGradient(Gradient):
    """What was wrong and what would be right. `items` are the ids of the items that showed it."""

    text: str = ""
    attribution: str = ""
    severity: str = ""
    items: Sequence[str] = ()

    def render(self) -> str:
        head = ", ".join(str(part) for part in (self.severity, self.attribution) if part)
        tail = f" (seen in: {', '.join(map(str, self.items))})" if self.items else ""
        return (f"[{head}] " if head else "") + self.text + tail


@dataclass(frozen=True)
class Gradients(Gradient):
    """Several, in the order they came."""

    parts: tuple[Gradient, ...] = ()

    @property
    def value(self) -> float:
        """The sum of the numbers among them."""
        numbers = [part.value for part in self.parts if isinstance(part, NumericGradient)]
        if not numbers:
            raise AttributeError("these gradients hold no number; read render() or parts")
        return sum(numbers)

    @property
    def text(self) -> str:
        """The same as `render`."""
        return self.render()

    def render(self) -> str:
        return "\n".join(part.render() for part in self.parts)


def parts_of(gradient: Gradient) -> tuple[Gradient, ...]:
    """The single feedbacks in one."""
    return gradient.parts if isinstance(gradient, Gradients) else (gradient,)


def as_gradient(value: Any) -> Gradient | None:
    """Feedback in the form it came: a gradient, a number, a text, several of these, or nothing."""
    if value is None or isinstance(value, Gradient):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return NumericGradient(float(value))
    if isinstance(value, str):
        return TextGradient(value) if value.strip() else None
    if isinstance(value, Iterable):
        return gathered(found for found in map(as_gradient, value) if found is not None)
    raise TypeError(f"{type(value).__name__} is no feedback: give a Gradient, a number or a text")


def gathered(found: Iterable[Gradient]) -> Gradient | None:
    """All of them as one; None for none."""
    total: Gradient | None = None
    for gradient in found:
        total = gradient if total is None else total.accumulate(gradient)
    return total
