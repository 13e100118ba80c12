"""One metric over all candidates as a small picture: on the training data, and held out, with what gates forbid."""

from __future__ import annotations

import math

from autopilot_runtime.training.plot import STYLE, clipped, plain, styled, words
from autopilot_runtime.training.plotaxis import Axis, figure, spread, whole_ticks
from autopilot_runtime.training.story import Story

_TOP, _BOTTOM, _RIGHT = 26.0, 24.0, 10.0
Points = list[tuple[int, float]]


def curve_svg(story: Story, name: str, *, width: int = 460, height: int = 190, style: str = STYLE) -> str:
    """The picture; empty when the metric was never measured."""
    train, val = points(story, name)
    if not train and not val:
        return ""
    values = [value for _, value in (*train, *val)]
    low, high = min(values), max(values)
    lines = [line for bound in story.bounds_on(name) for line in (bound.low, bound.high) if line is not None]
    # A gate that is far away from all that was measured does not press the curves flat.
    reach = (high - low) or abs(high) or 1.0
    axis = spread([*values, *(line for line in lines if low - reach <= line <= high + reach)])
    curve = _Curve(story, name, axis, width, height)
    parts = [*curve.grid(), *curve.gates(), *curve.line("train", train), *curve.dots(val), *curve.accepted()]
    return (
        f'<svg class="pp" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{plain(clipped(name, 80))} over all candidates">{styled(style)}'
        f'<rect class="paper" width="{width}" height="{height}"/>{"".join(parts)}</svg>'
    )


def points(story: Story, name: str) -> tuple[Points, Points]:
    """(candidate, value) on the training data, and held out. What is no finite number is left out."""
    train = [(one.n, one.row.train[name]) for one in story.attempts if name in one.row.train]
    val = [(one.n, one.row.metrics[name]) for one in story.attempts if name in one.row.metrics]
    return [one for one in train if _finite(one[1])], [one for one in val if _finite(one[1])]


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


class _Curve:
    def __init__(self, story: Story, name: str, axis: Axis, width: int, height: int) -> None:
        self.story, self.name, self.axis, self.width, self.height = story, name, axis, width, height
        self.first = min((one.n for one in story.attempts), default=0)
        self.last = max((one.n for one in story.attempts), default=0)
        self.left = 14 + 6.5 * max((len(figure(tick)) for tick in axis.ticks(3)), default=3)

    def x(self, n: float) -> float:
        inner = self.width - self.left - _RIGHT - 12
        return self.left + 6 + inner * (n - self.first) / max(1, self.last - self.first)

    def y(self, value: float) -> float:
        return _TOP + (self.height - _TOP - _BOTTOM) * (1 - self.axis.at(value))

    def grid(self) -> list[str]:
        right, floor = self.width - _RIGHT, self.height - _BOTTOM
        sense = "higher" if self.story.rises_for(self.name) else "lower"
        parts = [words("ink", self.left, 14, f"{clipped(self.name, 40)} ({sense} is better)")]
        for tick in self.axis.ticks(3):
            parts.append(f'<path class="grid" d="M{self.left:.1f} {self.y(tick):.1f}H{right:.1f}"/>')
            parts.append(words("ink", self.left - 5, self.y(tick) + 4, figure(tick), anchor="end"))
        parts.append(f'<path class="axis" d="M{self.left:.1f} {floor:.1f}H{right:.1f}"/>')
        ticks = whole_ticks(self.first, self.last, max(2, self.width // 90))
        return parts + [words("ink", self.x(n), floor + 15, str(n), anchor="middle") for n in ticks]

    def gates(self) -> list[str]:
        """Where a gate draws its line, and all that it forbids."""
        parts = []
        top, floor, wide = _TOP, self.height - _BOTTOM, self.width - _RIGHT - self.left
        for bound in self.story.bounds_on(self.name):
            for line, forbidden in ((bound.low, "below"), (bound.high, "above")):
                if line is None or not self.axis.holds(line):
                    continue
                y = self.y(line)
                start, high = (y, floor - y) if forbidden == "below" else (top, y - top)
                box = f'x="{self.left:.1f}" y="{start:.1f}" width="{wide:.1f}" height="{max(0.0, high):.1f}"'
                parts.append(
                    f'<rect class="fails" {box}/><path class="gate" d="M{self.left:.1f} {y:.1f}h{wide:.1f}"/>'
                )
                parts.append(words("gatetext", self.width - _RIGHT - 3, y - 3, bound.text, anchor="end"))
        return parts

    def line(self, kind: str, found: Points) -> list[str]:
        if not found:
            return []
        path = "L".join(f"{self.x(n):.1f} {self.y(value):.1f}" for n, value in found)
        return [f'<path class="{kind}" d="M{path}"/>']

    def dots(self, found: Points) -> list[str]:
        kept = {one.n for one in self.story.kept}
        return [
            f'<circle class="{"valdot" if n in kept else "no"}" cx="{self.x(n):.1f}" cy="{self.y(value):.1f}" '
            f'r="{3.2 if n in kept else 2.4}"/>'
            for n, value in found
        ]

    def accepted(self) -> list[str]:
        """The value of the state that stood, from candidate to candidate."""
        steps = [(one.n, one.row.metrics[self.name]) for one in self.story.kept if self.name in one.row.metrics]
        steps = [one for one in steps if _finite(one[1])]
        if not steps:
            return []
        path = f"M{self.x(steps[0][0]):.1f} {self.y(steps[0][1]):.1f}"
        path += "".join(f"H{self.x(n):.1f}V{self.y(value):.1f}" for n, value in steps[1:])
        return [f'<path class="val" d="{path}H{self.x(self.last):.1f}"/>']
