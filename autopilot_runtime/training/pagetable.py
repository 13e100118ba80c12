"""Texts and tables of the report. Whatever a model, a file or a person wrote is text there, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from autopilot_runtime.tool.visible import visible
from autopilot_runtime.training.plot import plain


@dataclass(frozen=True, slots=True)
class Html:
    """Something that is HTML already, made by us."""

    text: str


Cell = str | Html


def text(value: str, limit: int | None = None) -> str:
    """A text as it is, on one line; what is hidden in it is spelt out."""
    return plain(visible(value, limit=limit))


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, label: str, stack: bool = False) -> str:
    """A table that scrolls by itself on a narrow page, or with `stack` is no table there. `#name` heads a column of
    numbers, `~name` one of prose."""
    kinds = [{"#": "n", "~": "wide"}.get(head[:1], "") for head in heads]
    top = "".join(
        f"<th{_kind(kind if kind == 'n' else '')}>{text(head.lstrip('#~'))}</th>"
        for head, kind in zip(heads, kinds, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{_kind(kind)}>{_cell(cell)}</td>" for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in rows
    )
    kind = "scroll stack" if stack else "scroll"
    return (
        f'<div class="{kind}" role="region" tabindex="0" aria-label="{text(label)}"><table>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def folded(title: str, body: str, *, is_open: bool = False) -> str:
    """Something that opens when asked."""
    return f"<details{' open' if is_open else ''}><summary>{text(title)}</summary>{body}</details>"


def chip(word: str, kind: str = "") -> str:
    """A word in a frame."""
    return f'<span class="chip {kind_of(kind)}">{text(word)}</span>'


def kind_of(word: str) -> str:
    """A word as the name of a style; what is no plain word has none."""
    return word if word.isascii() and word.isalpha() else ""


def when(at: float) -> str:
    """A time, the same on every machine."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S") if at else "–"
    except (ValueError, OverflowError, OSError):
        return str(at)


def diff_html(diff: str, limit: int = 400) -> str:
    """A diff with its lines marked."""
    lines = diff.splitlines()
    shown = "".join(
        f"<span{_kind(_line_kind(line, at))}>{_line(line)}</span>" for at, line in enumerate(lines[:limit])
    )
    if len(lines) > limit:
        shown += f'<span class="at">… {len(lines) - limit} more lines</span>'
    return f'<pre class="diff" tabindex="0">{shown}</pre>'


def _line(line: str) -> str:
    return plain(visible(line, lines=True)) or " "


def _line_kind(line: str, at: int) -> str:
    if line.startswith("@@") or line.startswith(("\\", "(", "...")):
        return "at"
    if at < 3 and line.startswith(("--- ", "+++ ")):
        return "file"
    return {"+": "add", "-": "del"}.get(line[:1], "")


def _cell(cell: Cell) -> str:
    return cell.text if isinstance(cell, Html) else text(cell)


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
