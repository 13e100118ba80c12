"""From values to places: how far an axis reaches, where it is marked, and which labels have room."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autopilot_runtime.training.story import SIGMAS, Story

_LOG_FROM = 20.0  # accepted values this many times apart are drawn by their logarithm
_HUGE = 1e100  # what is larger is drawn as that large
_STRAY = 0.75  # a rejected value further outside than this share of the accepted range is drawn at the edge


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values, laid on 0 to 1."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value lies; beyond the ends it lies at the end."""
        if self.log:
            return self.at_log(value)
        share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))

    def at_log(self, value: float) -> float:
        """The same by the logarithm."""
        if value <= self.low:
            return 0.0
        share = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return min(1.0, max(0.0, share))

    def holds(self, value: float) -> bool:
        """Whether a value lies between the ends."""
        return self.low <= value <= self.high

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside, about this many."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for digits in ((1, 2, 5), (1, 3), (1,)):
                found = [digit * 10.0**power for power in powers for digit in digits]
                found = [one for one in found if self.holds(one)]
                if len(found) <= about + 2:
                    return found
            return found[:: max(1, len(found) // about)]
        step = round_step((self.high - self.low) / max(1, about))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(at * step, 12) for at in range(first, last + 1)]


def round_step(wanted: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(wanted))
    return next((digit * power for digit in (1, 2, 2.5, 5) if digit * power >= wanted * 0.999), 10 * power)


def value_axis(story: Story) -> Axis | None:
    """The axis of a story's metric; None when nothing was measured. Accepted values decide, strays are cut off."""
    others = [_drawable(one.value) for one in story.attempts if one.value is not None and not one.kept]
    sure = [_drawable(value) for _, value in story.steps()] or others
    if not sure:
        return None
    margin = SIGMAS * story.sigma
    low, high = min(sure) - margin, max(sure) + margin
    reach = _STRAY * ((high - low) or abs(high) or 1.0)
    near = [one for one in [*others, *_lines(story)] if low - reach <= one <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    if min(sure) > 0 and max(sure) / min(sure) >= _LOG_FROM:
        least = max(min([*sure, *(one for one in near if one > 0)]), 1 / _HUGE)
        return Axis(least / 1.3, max(high, *sure) * 1.15, log=True)
    return spread([low, high])


def _lines(story: Story) -> list[float]:
    bounds = story.bounds_on(story.metric)
    return [line for bound in bounds for line in (bound.low, bound.high) if line is not None]


def spread(values: Iterable[float]) -> Axis:
    """An axis with some room around these values."""
    listed = [_drawable(value) for value in values]
    low, high = min(listed), max(listed)
    size = max(abs(low), abs(high))
    # Values that hardly differ are one value: marks between them would have no names.
    room = 0.08 * (high - low) if high - low > 1e-9 * size else 0.1 * size
    room = room if room > 1 / _HUGE else 1.0
    return Axis(low - room, high + room)


def _drawable(value: float) -> float:
    return min(_HUGE, max(-_HUGE, value))


def whole_ticks(first: int, last: int, about: int) -> list[int]:
    """Round whole numbers from `first` to `last`."""
    step = max(1, math.ceil(round_step(max(1, last - first) / max(1, about))))
    return [at for at in range(first, last + 1) if at % step == 0]


def figure(value: float | None) -> str:
    """A number as people read it: `0.512`, `319,510`, `1.2e-07`, `–`."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-4:
        return f"{value:.3g}"
    if size >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def change(value: float | None, before: float | None) -> str:
    """By how much a number is another one: `+0.032`."""
    if value is None or before is None or not math.isfinite(value - before):
        return "–"
    text = figure(value - before)
    return text if text.startswith("-") else f"+{text}"


_Box = tuple[float, float, float, float]
_STRIP = 40.0


class Room:
    """Rectangles that are taken: where a label may still go."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._strips: dict[int, list[_Box]] = {}  # by upright strips of the picture: few have to be looked at

    def take(self, x: float, y: float, width: float, height: float) -> None:
        """Let nothing lie here any more."""
        box = (x, y, x + width, y + height)
        for strip in _strips(box):
            self._strips.setdefault(strip, []).append(box)

    def place(self, places: Sequence[tuple[float, float]], width: float, height: float) -> tuple[float, float] | None:
        """The first of these places (top left corners) where a label has room, and takes it; None for none."""
        for x, y in places:
            box = (x, y, x + width, y + height)
            inside = x >= 0 and y >= 0 and box[2] <= self.width and box[3] <= self.height
            if inside and not any(_meet(box, other) for at in _strips(box) for other in self._strips.get(at, ())):
                self.take(x, y, width, height)
                return x, y
        return None


def _strips(box: _Box) -> range:
    return range(int(box[0] // _STRIP), int(box[2] // _STRIP) + 1)


def _meet(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
