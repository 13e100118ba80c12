"""What a training command prints: a person's text or a program's JSON, never both."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from autopilot_runtime.cli import safe


def say(value: Any, text: str | Iterable[str], *, as_json: bool) -> None:
    """Print one of the two."""
    if as_json:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
        return
    for line in [text] if isinstance(text, str) else text:
        print(safe.prose(line))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Columns under each other."""
    cells = [list(head), *([_cell(one) for one in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def figures(metrics: Mapping[str, Any]) -> str:
    """`accuracy 0.75  loss 0.1`."""
    return "  ".join(f"{name} {_cell(value)}" for name, value in metrics.items())


def when(at: float) -> str:
    """A time."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else " ".join(str(value).split())
