"""The progress of an experiment as text, for a terminal: the same picture in letters."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from autopilot_runtime.tool.visible import visible
from autopilot_runtime.training.plot import summary
from autopilot_runtime.training.plotaxis import Axis, figure, value_axis, whole_ticks
from autopilot_runtime.training.story import SIGMAS, Attempt, Story

_COLOURS = {"kept": "34", "best": "1;32", "no": "2", "noisy": "33", "crash": "31", "back": "31", "line": "34"}
_COLOURS |= {"gate": "35", "band": "2;34", "ink": "2"}


@dataclass(frozen=True, slots=True)
class Letters:
    """What the picture is drawn with."""

    kept: str = "●"
    best: str = "◆"
    no: str = "·"
    noisy: str = "○"
    crash: str = "✕"
    back: str = "▾"
    line: str = "─"
    rise: str = "│"
    gate: str = "┄"
    band: str = "░"
    floor: str = "─"
    side: str = "┤"
    corner: str = "└"


ASCII = Letters("o", "#", ".", "?", "x", "v", "-", "|", "~", ":", "-", "|", "+")


def progress_text(
    story: Story, *, width: int = 80, height: int = 16, colour: bool = False, ascii_only: bool = False
) -> str:
    """The picture with its legend, no line longer than `width`."""
    axis = value_axis(story)
    if axis is None:
        return f"Nothing of {visible(story.experiment.slug, limit=60)} was measured yet.\n"
    letters = ASCII if ascii_only else Letters()
    grid = _Grid(story, axis, max(30, width), max(6, height), letters)
    return grid.text(colour=colour)


class _Grid:
    """Letters by row and column, each with what it is."""

    def __init__(self, story: Story, axis: Axis, width: int, height: int, letters: Letters) -> None:
        self.story, self.axis, self.letters = story, axis, letters
        self.width, self.height = width, height
        self.margin = max(len(figure(tick)) for tick in (axis.ticks(4) or [axis.low])) + 2
        self.columns = width - self.margin - 1
        self.first = min((one.n for one in story.attempts), default=0) - 1
        self.last = max((one.n for one in story.attempts), default=0)
        self.cells: dict[tuple[int, int], str] = {}

    def column(self, n: int) -> int:
        """Where a candidate stands."""
        return round((self.columns - 1) * (n - self.first) / max(1, self.last - self.first))

    def row(self, value: float) -> int:
        """Where a value stands; 0 is the top."""
        return round((self.height - 1) * (1 - self.axis.at(value)))

    def text(self, *, colour: bool) -> str:
        """All of it."""
        self.fill()
        story = self.story
        sense = "higher" if story.rises else "lower"
        scale = ", log scale" if self.axis.log else ""
        name = visible(story.metric, limit=40)
        lines = [f"{name} ({sense} is better{scale})"[: self.width]]
        marks = {self.row(tick): figure(tick) for tick in reversed(self.axis.ticks(max(2, self.height // 4)))}
        for row in range(self.height):
            label = marks.get(row, "")
            side = self.letters.side if label else "|" if self.letters is ASCII else "│"
            body = "".join(self.cell(row, at, colour=colour) for at in range(self.columns)).rstrip()
            lines.append(f"{label:>{self.margin - 2}} {side}{body}".rstrip())
        lines += [self.floor(colour=colour), self.numbers()]
        lines += textwrap.wrap(summary(story), self.width)
        lines += _wrapped(self.legend(), self.width)
        return "\n".join(lines) + "\n"

    def cell(self, row: int, column: int, *, colour: bool) -> str:
        kind = self.cells.get((row, column))
        if kind is None:
            return " "
        letter = getattr(self.letters, kind)
        return (
            f"\x1b[{_COLOURS.get('line' if kind == 'rise' else kind, '0')}m{letter}\x1b[0m" if colour else str(letter)
        )

    def fill(self) -> None:
        """Later marks lie on earlier ones."""
        steps = self.story.steps()
        ends = [self.column(n) for n, _ in steps[1:]] + [self.columns - 1]
        self.bands(steps, ends)
        self.gates()
        self.line(steps, ends)
        for one in sorted(self.story.attempts, key=lambda one: one.kept):
            self.mark(one)
        if steps and steps[0][0] == self.first:
            self.cells[self.row(steps[0][1]), 0] = "kept"

    def bands(self, steps: list[tuple[int, float]], ends: list[int]) -> None:
        margin = SIGMAS * self.story.sigma
        if not margin:
            return
        for (n, value), end in zip(steps, ends, strict=False):
            rows = range(self.row(value + margin), self.row(value - margin) + 1)
            self.cells.update({(row, at): "band" for row in rows for at in range(self.column(n), end + 1)})

    def gates(self) -> None:
        bounds = self.story.bounds_on(self.story.metric)
        lines = [line for bound in bounds for line in (bound.low, bound.high) if line is not None]
        for line in filter(self.axis.holds, lines):
            self.cells.update({(self.row(line), at): "gate" for at in range(self.columns)})

    def line(self, steps: list[tuple[int, float]], ends: list[int]) -> None:
        before: int | None = None
        for (n, value), end in zip(steps, ends, strict=False):
            row, column = self.row(value), self.column(n)
            self.cells.update({(row, at): "line" for at in range(column, end + 1)})
            if before is not None:
                low, high = sorted((before, row))
                self.cells.update({(at, column): "rise" for at in range(low + 1, high)})
            before = row

    def mark(self, one: Attempt) -> None:
        if one.value is None:
            return  # it lies on the floor
        kind = "best" if one is self.story.best else "kept" if one.kept else "noisy" if one.noisy else "no"
        self.cells[self.row(one.value), self.column(one.n)] = kind

    def floor(self, *, colour: bool) -> str:
        """The axis, with what could not be measured and what was rolled back on it."""
        found = [self.letters.floor] * self.columns
        for one in self.story.attempts:
            kind = "crash" if one.value is None else "back" if one.row.verdict == "rollback" else ""
            if kind:
                letter = getattr(self.letters, kind)
                found[self.column(one.n)] = f"\x1b[{_COLOURS[kind]}m{letter}\x1b[0m" if colour else letter
        return f"{'':>{self.margin - 1}}{self.letters.corner}{''.join(found)}"

    def numbers(self) -> str:
        """The numbers of candidates under the axis."""
        line = [" "] * (self.columns + self.margin)
        free = 0
        for n in whole_ticks(max(0, self.first), self.last, max(2, self.columns // 10)):
            text = str(n)
            at = min(self.margin + self.column(n), len(line) - len(text))
            if at >= free:
                line[at : at + len(text)] = text
                free = at + len(text) + 1
        return "".join(line).rstrip()

    def legend(self) -> list[str]:
        """What the letters mean, as far as they are there."""
        letters, story = self.letters, self.story
        found = [f"{letters.best} best"] if story.best is not None else []
        found += [f"{letters.kept} kept", f"{letters.no} not kept"]
        if any(one.noisy for one in story.attempts):
            found.append(f"{letters.noisy} better, but within the noise")
        if any(one.crashed for one in story.attempts):
            found.append(f"{letters.crash} not measured")
        if any(one.row.verdict == "rollback" for one in story.attempts):
            found.append(f"{letters.back} rolled back")
        if story.sigma > 0:
            found.append(
                f"{letters.band} noise {'+-' if letters is ASCII else '±'}{SIGMAS:g} x {figure(story.sigma)}"
            )
        for bound in story.bounds_on(story.metric):
            found.append(f"{letters.gate} {visible(f'{bound.gate} {bound.text}', limit=50)}")
        return found


def _wrapped(parts: list[str], width: int) -> list[str]:
    lines = [""]
    for part in parts:
        joined = f"{lines[-1]}   {part}" if lines[-1] else part
        if len(joined) > width and lines[-1]:
            lines.append(part[:width])
        else:
            lines[-1] = joined[:width]
    return lines
