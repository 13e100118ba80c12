"""One candidate on the report: what it was to do, what it measured, what each gate said, and what it changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autopilot_runtime.training.explain import WORDS, Explanation, Flip
from autopilot_runtime.training.pagetable import Cell, Html, chip, diff_html, folded, kind_of, table, text
from autopilot_runtime.training.plotaxis import change, figure
from autopilot_runtime.training.story import Attempt, short

_ITEMS = 20
_ERRORS = 10


def candidate_html(one: Attempt, found: Explanation) -> str:
    """The whole of it."""
    kind = "crash" if one.crashed else found.verdict
    chips = chip(WORDS.get(found.verdict, found.verdict), kind)
    if one.noisy:
        chips += chip("within the noise", "noise")
    value = "not measured" if one.value is None else figure(one.value)
    head = f'<h3><a href="#c{one.n}">Candidate {one.n}</a></h3>{chips}<span class="soft">{text(value)}</span>'
    body = "".join(_body(found))
    return f'<article id="c{one.n}" class="{kind_of(kind)}"><header>{head}</header>{body}</article>'


def _body(found: Explanation) -> Iterator[str]:
    yield _idea(found)
    yield f"<p><b>Because:</b> {text(found.reason, 2_000) or 'nobody said why'}</p>"
    made = "the first state" if found.base_candidate is None else _link(found.base_candidate)
    cost = ", ".join(f"{figure(value)} {text(name)}" for name, value in found.spent.items())
    line = f'commit <span class="mono">{text(short(found.commit))}</span>, made from {made}'
    yield f'<p class="soft">{line}{f"; cost {cost}" if cost else ""}</p>'
    if found.metrics:
        yield _metrics(found)
    yield "".join(f"<p>{text(note)}</p>" for note in found.notes)
    yield _gates(found)
    yield _items(found)
    yield _errors(found.errors)
    yield _diffs(found)


def _idea(found: Explanation) -> str:
    by = f' <span class="soft">({text(found.source)})</span>' if found.source else ""
    return f"<p><b>Idea:</b> {text(found.why, 2_000)}{by}</p>" if found.why else ""


def _diffs(found: Explanation) -> str:
    if not found.changed:
        return ""
    names = ", ".join(one.name for one in found.changed[:4]) + (" …" if len(found.changed) > 4 else "")
    diffs = "".join(diff_html(one.diff) for one in found.changed)
    return folded(f"What it changed: {names}", diffs, is_open=found.verdict == "accept")


def _link(n: int) -> str:
    return f'<a href="#c{n}">candidate {n}</a>'


def _metrics(found: Explanation) -> str:
    rows: list[Sequence[Cell]] = []
    for one in found.metrics:
        kind = {True: "up", False: "down", None: ""}[one.better]
        moved = Html(f'<span class="{kind}">{change(one.after, one.before)}</span>')
        noise = f"{one.sigmas:.1f} × noise" if one.sigmas is not None else ""
        rows.append((one.name, figure(one.before), figure(one.after), moved, noise))
    heads = ("metric", "#before", "#after", "#change", "against noise")
    return table(heads, rows, label=f"Metrics of candidate {found.candidate}")


def _gates(found: Explanation) -> str:
    lines = []
    for gate in found.gates:
        passed, warns = bool(gate.get("passed")), bool(gate.get("warning"))
        mark = chip("passed", "accept") if passed else chip("warned", "noise") if warns else chip("failed", "failed")
        bound = f' <span class="soft">[{text(str(gate["bound"]))}]</span>' if gate.get("bound") else ""
        said = text(str(gate.get("reason", "")), 500)
        lines.append(f"<li>{mark} {text(str(gate.get('gate', '')), 200)}: {said}{bound}</li>")
    return f'<ul class="gates">{"".join(lines)}</ul>' if lines else ""


def _items(found: Explanation) -> str:
    total = len(found.worse) + len(found.better) + found.same
    if not total:
        return ""
    title = f"Held-out items: {len(found.worse)} worse, {len(found.better)} better, {found.same} the same"
    rows = [*_flips(found.worse, "down", "worse"), *_flips(found.better, "up", "better")]
    if not rows:
        return f'<p class="soft">{title}</p>'
    label = f"Items of candidate {found.candidate}"
    return folded(title, table(("item", "#before", "#after", ""), rows, label=label))


def _flips(flips: Sequence[Flip], kind: str, word: str) -> Iterator[Sequence[Cell]]:
    for one in flips[:_ITEMS]:
        yield one.item[:200], figure(one.before), figure(one.after), Html(f'<span class="{kind}">{word}</span>')
    if len(flips) > _ITEMS:
        yield f"… and {len(flips) - _ITEMS} more", "", "", Html(f'<span class="{kind}">{word}</span>')


def _errors(errors: Sequence[str]) -> str:
    if not errors:
        return ""
    lines = "".join(f"<li>{text(error, 500)}</li>" for error in errors[:_ERRORS])
    more = f"<li>… and {len(errors) - _ERRORS} more</li>" if len(errors) > _ERRORS else ""
    return f'<ul class="plain mono down">{lines}{more}</ul>'
