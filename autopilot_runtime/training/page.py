"""A training run as one HTML file: nothing is loaded from elsewhere, no script is needed, it opens from a folder."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from autopilot_runtime.training.explain import WORDS, explained
from autopilot_runtime.training.pagecandidate import candidate_html
from autopilot_runtime.training.pagestyle import CSS, SCRIPT
from autopilot_runtime.training.pagetable import Cell, Html, chip, folded, table, text, when
from autopilot_runtime.training.pagetree import tree_html
from autopilot_runtime.training.plot import STYLE, legend, mark_svg, progress_svg, summary
from autopilot_runtime.training.plotaxis import change, figure
from autopilot_runtime.training.plotcurve import curve_svg, points
from autopilot_runtime.training.story import SIGMAS, Attempt, Story, read_story

if TYPE_CHECKING:
    from autopilot_runtime.training.record import Record

_CURVES = 8  # metrics that are shown at once
_DIFFS = 300  # up to so many candidates, those that were not kept show what they changed, too
_JOURNAL = 3_000


def report_html(record: Record, experiment: str = "", *, metric: str = "") -> str:
    """The report on an experiment (on the newest, if none is named)."""
    return page(record, read_story(record, experiment, metric=metric))


def page(record: Record, story: Story) -> str:
    """The same from a story that was read already."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    # Should anything in a record ever pass as markup, the browser still runs and loads none of it.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    title = text(f"{story.experiment.slug}: {summary(story)}")
    body = "".join(
        (_head(story), _progress(story), _curves(story), _tree(story), _candidates(record, story), _journal(story))
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{title}</title><style>{CSS}{STYLE}</style></head><body>{body}{_foot(story)}"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _head(story: Story) -> str:
    row = story.experiment
    why = f"<p>{text(row.why, 1_000)}</p>" if row.why else ""
    parent = f'<p class="soft">goes on from {text(row.parent)}</p>' if row.parent else ""
    reason = f'<p class="soft">{text(row.reason, 500)}</p>' if row.reason else ""
    sections = (
        ("progress", "Progress"),
        ("metrics", "Metrics"),
        ("tree", "Tree"),
        ("candidates", "Candidates"),
        ("journal", "Journal"),
    )
    links = "".join(f'<a href="#{key}">{name}</a>' for key, name in sections)
    tiles = "".join(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for value, name in _tiles(story))
    return (
        f"<header><h1>{text(row.slug)} {chip(row.status, row.status)}</h1>{why}{reason}{parent}"
        f'<nav aria-label="Sections">{links}</nav><div class="tiles">{tiles}</div></header><main>'
    )


def _tiles(story: Story) -> Iterator[tuple[str, str]]:
    best = story.best
    end = best.value if best is not None else story.start
    name = text(story.metric, 60) or "nothing measured"
    yield f"{figure(story.start)} → {figure(end)}", f"{name}, {change(end, story.start)}"
    yield f"{len(story.kept)} of {len(story.attempts)}", "candidates kept"
    none = "none" if story.metric in story.noise else "not measured"
    noise = f"± {figure(SIGMAS * story.sigma)}" if story.sigma else none
    yield noise, f"noise ({SIGMAS:g} × {figure(story.sigma)})" if story.sigma else "noise"
    spent = story.attempts[-1].row.spent if story.attempts else {}
    for kind in ("usd", "tokens", "calls", "seconds"):
        if spent.get(kind):
            yield figure(spent[kind]), f"{kind} spent"


def _progress(story: Story) -> str:
    def link(n: int) -> str:
        return f"#c{n}"

    wide = progress_svg(story, link=link, style="")
    narrow = progress_svg(story, width=430, height=340, link=link, style="")
    marks = "".join(f"<span>{mark_svg(kind)}{text(meaning)}</span>" for kind, meaning in legend(story))
    return (
        f'<section id="progress"><h2>Progress</h2><p>{text(summary(story))}</p><figure>'
        f'<div class="wide-only">{wide}</div><div class="narrow">{narrow}</div>'
        f'<div class="legend">{marks}</div></figure>'
        f"{folded('The same as a table', _progress_table(story))}</section>"
    )


def _progress_table(story: Story) -> str:
    rows: list[Sequence[Cell]] = []
    if story.start is not None:
        rows.append(("start", "", figure(story.start), "", "", ""))
    for one in story.attempts:
        word = WORDS.get(one.row.verdict, one.row.verdict)
        verdict = f"{word} (within the noise)" if one.noisy else word
        number = Html(f'<a href="#c{one.n}">{one.n}</a>')
        moved = change(one.value, one.before)
        rows.append(
            (number, verdict, figure(one.value), moved, one.why[:300], "" if one.kept else one.row.reason[:300])
        )
    heads = ("candidate", "verdict", f"#{story.metric or 'value'}", "#against accepted", "~idea", "~because")
    return table(heads, rows, label="Progress as a table", stack=True)


def _curves(story: Story) -> str:
    shown = [(name, curve_svg(story, name, style="")) for name in story.names]
    shown = [(name, svg) for name, svg in shown if svg]
    if not shown:
        return '<section id="metrics"><h2>Metrics</h2><p class="soft">Nothing was measured.</p></section>'
    figures = [f"<figure>{svg}</figure>" for _, svg in shown]
    more = ""
    if len(figures) > _CURVES:
        rest = f'<div class="curves">{"".join(figures[_CURVES:])}</div>'
        more = folded(f"{len(figures) - _CURVES} more metrics", rest)
    marks = '<svg class="pp" width="18" height="18" aria-hidden="true"><path class="{}" d="M1 9H17"/></svg>{}'
    kinds = [marks.format("val", "held out, of what stood"), marks.format("train", "on training data")]
    if any(story.bounds_on(name) for name, _ in shown):
        kinds.append(marks.format("gate", "a gate; what it forbids is shaded"))
    key = "".join(f"<span>{kind}</span>" for kind in kinds)
    return (
        f'<section id="metrics"><h2>Metrics</h2><div class="curves">{"".join(figures[:_CURVES])}</div>'
        f'<div class="legend">{key}</div>{more}{folded("The same as a table", _metric_table(story))}</section>'
    )


def _metric_table(story: Story) -> str:
    names = story.names
    columns = [(name, dict(train), dict(val)) for name in names for train, val in (points(story, name),)]
    heads = ["candidate", *(f"#{name}{kind}" for name in names for kind in (" (train)", " (held out)"))]
    rows = [
        [str(one.n), *(figure(values.get(one.n)) for _, train, val in columns for values in (train, val))]
        for one in story.attempts
    ]
    return table(heads, rows, label="Metrics as a table")


def _tree(story: Story) -> str:
    return f'<section id="tree"><h2>Tree</h2>{tree_html(story)}</section>'


def _candidates(record: Record, story: Story) -> str:
    def shown(one: Attempt) -> str:
        diffs = one.kept or len(story.attempts) <= _DIFFS
        return candidate_html(one, explained(record, story, one.n, diffs=diffs))

    listed = "".join(shown(one) for one in reversed(story.attempts))
    keys = '<p class="soft keys">Keys: j and k go from one to the next, Enter unfolds.</p>' if listed else ""
    none = "" if listed else '<p class="soft">There are none yet.</p>'
    return f'<section id="candidates"><h2>Candidates, newest first</h2>{keys}{none}{listed}</section>'


def _journal(story: Story) -> str:
    entries = list(story.journal)
    left = max(0, len(entries) - _JOURNAL)
    numbers = {one.n for one in story.attempts}
    rows: list[Sequence[Cell]] = []
    for entry in entries[left:]:
        linked = entry.epoch in numbers
        at: Cell = Html(f'<a href="#c{entry.epoch}">{entry.epoch}</a>') if linked else ""
        decision = Html(chip(entry.decision, entry.decision)) if entry.decision else ""
        rows.append((when(entry.at), Html(chip(entry.source)), at, decision, entry.text[:2_000]))
    note = f'<p class="soft">The newest {_JOURNAL} of {len(entries)} entries.</p>' if left else ""
    heads = ("time (UTC)", "source", "candidate", "decision", "~reason")
    body = table(heads, rows, label="Journal", stack=True) if rows else '<p class="soft">Nobody wrote anything.</p>'
    return f'<section id="journal"><h2>Journal</h2>{note}{body}</section></main>'


def _foot(story: Story) -> str:
    began, ended = story.experiment.created, story.experiment.changed
    return f"<footer>Begun {when(began)}, last changed {when(ended)} (UTC). Made by autopilot-runtime.</footer>"
