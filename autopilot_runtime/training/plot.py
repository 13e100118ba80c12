"""The progress of an experiment as one picture (SVG): what was kept, what was not, and what noise would explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from autopilot_runtime.tool.visible import visible
from autopilot_runtime.training.plotaxis import Axis, Room, figure, value_axis, whole_ticks
from autopilot_runtime.training.story import SIGMAS, Attempt, Story

Link = Callable[[int], str]
STYLE = """
.pp{font:11px ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif}
.pp .paper{fill:#fff}.pp .ink{fill:#424a53}.pp .grid{stroke:#e4e8ec;stroke-width:1}
.pp .axis{stroke:#8c959f;stroke-width:1}.pp .band{fill:#0969da;opacity:.13}
.pp .line{fill:none;stroke:#0969da;stroke-width:2}.pp .kept{fill:#0969da;stroke:#fff;stroke-width:1.2}
.pp .best{fill:#1a7f37;stroke:#fff;stroke-width:1.2}.pp .no{fill:#8c959f}.pp .stray{fill:#8c959f}
.pp .ring{fill:none;stroke:#bf8700;stroke-width:1.6}.pp .crash{stroke:#cf222e;stroke-width:1.8}.pp .back{fill:#cf222e}
.pp .gate{fill:none;stroke:#8250df;stroke-width:1.2;stroke-dasharray:5 4}.pp .fails{fill:#8250df;opacity:.07}
.pp .gatetext{fill:#8250df}.pp .label{fill:#1f2328}
.pp .label,.pp .gatetext{paint-order:stroke;stroke:#fff;stroke-width:3}
.pp .lead{stroke:#8c959f;stroke-width:.7}.pp .train{fill:none;stroke:#bc4c00;stroke-width:1.5}
.pp .val{fill:none;stroke:#0969da;stroke-width:1.5}.pp .valdot{fill:#0969da}.pp .hit{fill:transparent}
.pp a{outline:none}.pp a:focus .hit,.pp a:hover .hit{stroke:#0969da;stroke-width:2;fill:none}
@media (prefers-color-scheme:dark){.pp .paper{fill:#0d1117}.pp .ink{fill:#9aa4af}.pp .grid{stroke:#21262d}
.pp .axis{stroke:#6e7681}.pp .band{fill:#58a6ff;opacity:.17}.pp .line{stroke:#58a6ff}
.pp .kept{fill:#58a6ff;stroke:#0d1117}.pp .best{fill:#3fb950;stroke:#0d1117}.pp .no{fill:#6e7681}
.pp .stray{fill:#8b949e}.pp .ring{stroke:#d29922}.pp .crash{stroke:#f85149}.pp .back{fill:#f85149}
.pp .gate{stroke:#a371f7}.pp .fails{fill:#a371f7;opacity:.1}.pp .gatetext{fill:#b78af9}.pp .label{fill:#e6edf3}
.pp .label,.pp .gatetext{stroke:#0d1117}.pp .lead{stroke:#6e7681}.pp .train{stroke:#f0883e}.pp .val{stroke:#58a6ff}
.pp .valdot{fill:#58a6ff}.pp a:focus .hit,.pp a:hover .hit{stroke:#58a6ff}}
"""
_LETTER, _HIGH = 6.0, 13.0  # the room a letter of a label takes
_LABELS = 80  # more have no room anyway
_PLAIN_MARKS = 1_500  # from so many candidates on, rejected ones have no text of their own


def progress_svg(
    story: Story, *, width: int = 960, height: int = 420, link: Link | None = None, style: str = STYLE
) -> str:
    """The picture. `link` gives the address of a candidate, so that a mark leads to it."""
    axis = value_axis(story)
    if axis is None:
        return _empty(story, width, style)
    return _Picture(story, axis, width, height, link).drawn(style)


def legend(story: Story) -> list[tuple[str, str]]:
    """(mark, meaning) of all that the picture of this story shows."""
    kinds = [("best", "best so far"), ("kept", "kept"), ("no", "not kept")]
    found = [(kind, text) for kind, text in kinds if kind != "best" or story.best is not None]
    if any(one.noisy for one in story.attempts):
        found.append(("ring", "better, but within the noise"))
    if any(one.crashed for one in story.attempts):
        found.append(("crash", "could not be measured"))
    if any(one.row.verdict == "rollback" for one in story.attempts):
        found.append(("back", "rolled back"))
    if story.sigma > 0:
        found.append(("band", f"noise: ±{SIGMAS:g} × {figure(story.sigma)}"))
    if story.bounds_on(story.metric):
        found.append(("gate", "gate"))
    return found


def mark_svg(kind: str) -> str:
    """One mark of the legend, alone."""
    shapes = {
        "ring": '<circle class="no" cx="9" cy="9" r="3.5"/><circle class="ring" cx="9" cy="9" r="7"/>',
        "crash": '<path class="crash" d="M5 5 13 13M13 5 5 13"/>',
        "back": '<path class="back" d="M4 6H14L9 13z"/>',
        "band": '<rect class="band" x="1" y="4" width="16" height="10"/><path class="line" d="M1 9H17"/>',
        "gate": '<path class="gate" d="M0 9H18"/>',
        "no": '<circle class="no" cx="9" cy="9" r="3.5"/>',
    }
    shape = shapes.get(kind, f'<circle class="{kind}" cx="9" cy="9" r="5"/>')
    return f'<svg class="pp" width="18" height="18" aria-hidden="true">{shape}</svg>'


@dataclass
class _Picture:
    story: Story
    axis: Axis
    width: int
    height: int
    link: Link | None
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first = min((one.n for one in self.story.attempts), default=0) - 1
        self.last = max((one.n for one in self.story.attempts), default=0)
        widest = max((len(figure(tick)) for tick in self.axis.ticks()), default=3)
        self.left, self.right = 16 + 6.5 * widest, 18.0
        self.top, self.bottom = 30.0, 46.0
        self.room = Room(self.width - 4.0, self.height - self.bottom)

    def x(self, n: float) -> float:
        """Where a candidate stands."""
        inner = self.width - self.left - self.right - 24
        return self.left + 12 + inner * (n - self.first) / max(1, self.last - self.first)

    def y(self, value: float) -> float:
        """Where a value stands."""
        return self.top + (self.height - self.top - self.bottom) * (1 - self.axis.at(value))

    @property
    def floor(self) -> float:
        """Where the horizontal axis is."""
        return self.height - self.bottom

    def drawn(self, style: str) -> str:
        """All of it."""
        self.grid()
        self.gates()
        self.line()
        for one in self.story.attempts:
            self.mark(one)
        self.start()
        self.labels()
        story = self.story
        title = f"Progress of {visible(story.experiment.slug)} by {visible(story.metric)}"
        return (
            f'<svg class="pp" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'role="group" aria-label="{plain(title)}">{styled(style)}<title>{plain(title)}</title>'
            f'<desc>{plain(summary(story))}</desc><rect class="paper" width="{self.width}" height="{self.height}"/>'
            f"{''.join(self.parts)}</svg>"
        )

    def grid(self) -> None:
        """Axes, their marks, and what they measure."""
        right = self.width - self.right
        for tick in self.axis.ticks(max(3, self.height // 60)):
            y = self.y(tick)
            self.parts.append(f'<path class="grid" d="M{self.left:.1f} {y:.1f}H{right:.1f}"/>')
            self.parts.append(words("ink", self.left - 6, y + 4, figure(tick), anchor="end"))
        self.parts.append(f'<path class="axis" d="M{self.left:.1f} {self.floor:.1f}H{right:.1f}"/>')
        for n in whole_ticks(max(0, self.first), self.last, max(3, self.width // 80)):
            self.parts.append(words("ink", self.x(n), self.floor + 16, str(n), anchor="middle"))
        if self.story.start is not None:
            self.parts.append(words("ink", self.x(self.first), self.floor + 16, "start", anchor="middle"))
        sense = "higher is better" if self.story.rises else "lower is better"
        scale = ", log scale" if self.axis.log else ""
        name = clipped(self.story.metric, 40)
        self.parts.append(words("ink", self.left, 14, f"{name} ({sense}{scale})"))
        self.parts.append(words("ink", right, self.height - 8, "candidate", anchor="end"))

    def gates(self) -> None:
        """The lines that gates draw."""
        right = self.width - self.right
        for bound in self.story.bounds_on(self.story.metric):
            for value in (bound.low, bound.high):
                if value is None or not self.axis.holds(value):
                    continue
                y = self.y(value)
                text = clipped(f"{bound.gate} {bound.text}", 44)
                wide = len(text) * _LETTER
                self.parts.append(f'<path class="gate" d="M{self.left:.1f} {y:.1f}H{right:.1f}"/>')
                self.parts.append(words("gatetext", right - 4, y - 4, text, anchor="end"))
                self.room.take(right - wide - 4, y - 16, wide, 14)

    def line(self) -> None:
        """What was accepted, from candidate to candidate, in its band of noise."""
        steps = self.story.steps()
        if not steps:
            return
        ends = [n for n, _ in steps[1:]] + [self.last]
        margin = SIGMAS * self.story.sigma
        if margin:
            for (n, value), end in zip(steps, ends, strict=True):
                top, low = self.y(value + margin), self.y(value - margin)
                box = (self.x(n), top, max(0.0, self.x(end) - self.x(n)), low - top)
                self.parts.append(
                    '<rect class="band" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'.format(*box)
                )
        path = [f"M{self.x(steps[0][0]):.1f} {self.y(steps[0][1]):.1f}"]
        for (_, before), (n, value) in pairwise(steps):
            path.append(f"H{self.x(n):.1f}V{self.y(value):.1f}")
            ends_at = sorted((self.y(before), self.y(value)))
            self.room.take(self.x(n) - 1.5, ends_at[0], 3, ends_at[1] - ends_at[0])
        self.parts.append(f'<path class="line" d="{"".join(path)}H{self.x(self.last):.1f}"/>')
        for (n, value), end in zip(steps, ends, strict=True):
            self.room.take(self.x(n), self.y(value) - 1.5, self.x(end) - self.x(n), 3)

    def start(self) -> None:
        """Where it began."""
        if self.story.start is None:
            return
        x, y = self.x(self.first), self.y(self.story.start)
        title = f"<title>start: {figure(self.story.start)}</title>"
        self.parts.append(f'<circle class="kept" cx="{x:.1f}" cy="{y:.1f}" r="4">{title}</circle>')
        self.room.take(x - 6, y - 6, 12, 12)

    def mark(self, one: Attempt) -> None:
        """One candidate."""
        x = self.x(one.n)
        y = self.floor if one.value is None else self.y(one.value)
        shape = self.shape(one, x, y)
        if one.noisy:
            shape += f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="7"/>'
        if one.row.verdict == "rollback":
            shape += f'<path class="back" d="M{x - 5:.1f} {self.floor + 1:.1f}h10l-5 6z"/>'
        if one.kept or len(self.story.attempts) < _PLAIN_MARKS:
            shape += f'<circle class="hit" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
            shape = f"<g><title>{plain(told(one))}</title>{shape}</g>"
            if self.link is not None:
                # Tab goes from kept to kept: a hundred rejected ones would be a hundred stops.
                stop = "" if one.kept else ' tabindex="-1"'
                shape = f'<a href="{escape(self.link(one.n))}"{stop}>{shape}</a>'
        self.parts.append(shape)
        self.room.take(x - 5, y - 5, 10, 10)

    def shape(self, one: Attempt, x: float, y: float) -> str:
        """What became of it, as a shape."""
        if one.value is None:
            return f'<path class="crash" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8"/>'
        if one.kept:
            kind = "best" if one is self.story.best else "kept"
            return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
        if not self.axis.holds(one.value):
            way = -7 if one.value > self.axis.high else 7
            return f'<path class="stray" d="M{x - 4.5:.1f} {y - way / 2:.1f}h9l-4.5 {way}z"/>'
        return f'<circle class="no" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'

    def labels(self) -> None:
        """What the kept ones did, as far as there is room: the best first, then the largest gains."""
        best = self.story.best
        ranked = sorted(self.story.kept, key=lambda one: (one is not best, -_gain(one)))
        for one in ranked[:_LABELS]:
            if one.value is None or not one.why:
                continue
            text = clipped(one.why, 34 if self.width > 600 else 24)
            x, y, wide = self.x(one.n), self.y(one.value), len(text) * _LETTER
            at = [(x + dx, y + dy) for dy in (-17, 6, -30, 19, -43) for dx in (7, -wide - 7, -wide / 2)]
            found = self.room.place([(left, top) for left, top in at if left > self.left], wide, _HIGH)
            if found is None:
                continue
            left, top = found
            if abs(top + 6 - y) > 20:
                to = min(max(x, left), left + wide)
                edge = top + _HIGH if top < y else top
                self.parts.append(f'<path class="lead" d="M{x:.1f} {y:.1f}L{to:.1f} {edge:.1f}"/>')
            self.parts.append(words("label", left, top + 10, text))


def told(one: Attempt) -> str:
    """One candidate in a sentence."""
    value = "not measured" if one.value is None else figure(one.value)
    verdict = _VERDICTS.get(one.row.verdict, one.row.verdict)
    parts = [f"{one.n}: {verdict}, {value}", one.why, "" if one.kept else one.row.reason]
    return "\n".join(clipped(part, 200) for part in parts if part)


_VERDICTS = {"accept": "kept", "discard": "not kept", "rollback": "rolled back", "stop": "not kept, stopped"}


def summary(story: Story) -> str:
    """The whole picture in two sentences."""
    count, kept = len(story.attempts), len(story.kept)
    best = story.best
    first = f"{count} candidate{'' if count == 1 else 's'}, {kept} kept."
    if story.start is None and best is None:
        return first
    end = best.value if best is not None else story.start
    where = f" (candidate {best.n})" if best is not None else ""
    return f"{first} {clipped(story.metric, 60)} {figure(story.start)} -> {figure(end)}{where}."


def _gain(one: Attempt) -> float:
    return abs(one.value - one.before) if one.value is not None and one.before is not None else 0.0


def clipped(text: str, limit: int) -> str:
    """A text on one line, no longer than that."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def plain(text: str) -> str:
    """A text that is nothing but text in HTML and SVG."""
    return escape(text.encode("utf-8", "replace").decode())


def words(kind: str, x: float, y: float, text: str, *, anchor: str = "start") -> str:
    """A text in a picture."""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{where}>{plain(text)}</text>'


def styled(style: str) -> str:
    """The style inside a picture that stands alone."""
    return f"<style>{style}</style>" if style else ""


def _empty(story: Story, width: int, style: str) -> str:
    text = f"Nothing of {clipped(story.experiment.slug, 60)} was measured yet."
    return (
        f'<svg class="pp" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 80">{styled(style)}'
        f"{words('ink', 16, 44, text)}</svg>"
    )
