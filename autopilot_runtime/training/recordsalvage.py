"""Copies what can still be read of a damaged record into a new file, and says what cannot."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.objects import digest_of, unpacked
from autopilot_runtime.training.record import Record
from autopilot_runtime.training.recordcheck import Finding

_NUMBERED = (
    "objects",
    "refs",
    "train_experiments",
    "train_commits",
    "train_refs",
    "train_evaluations",
    "train_epochs",
    "train_state",
)
_KEYED = {  # tables without row numbers, and their order
    "pins": "owner, digest",
    "train_events": "experiment, number",
    "train_context": "experiment, number",
    "train_heads": "chain, experiment",
}
_AT_ONCE = 200
_EMPTY = 20  # stretches


@dataclass(frozen=True, slots=True)
class Salvaged:
    """How many rows of each table were copied, and what is missing or damaged in the copy."""

    rows: dict[str, int]
    findings: list[Finding]


def salvage(path: str | os.PathLike[str], to: str | os.PathLike[str]) -> Salvaged:
    """Begin a new record at `to` with all that can be read of the one at `path`, which is not changed."""
    source, target = Path(path), Path(to)
    if not source.is_file():
        raise StoreError(f"There is no record {source}.")
    if target.exists():
        raise StoreError(f"{target} is there already; give a path that is free.")
    old = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)
    old.text_factory = bytes  # what was a text may be none any more
    try:
        with Record.open(target) as record:
            rows = {table: _copy(old, record, table) for table in (*_NUMBERED, *_KEYED)}
            found = record.fsck()
    finally:
        old.close()
    return Salvaged(rows, found)


def _copy(old: sqlite3.Connection, record: Record, table: str) -> int:
    columns = [row[1] for row in record.store.rows(f"PRAGMA table_info({table})")]
    texts = {row[1] for row in record.store.rows(f"PRAGMA table_info({table})") if row[2] == "TEXT"}
    marks = ", ".join("?" * len(columns))
    copied = 0
    with record.transaction() as link:
        for row in _numbered(old, table, columns) if table in _NUMBERED else _keyed(old, table, columns):
            if table == "objects" and not _whole(dict(zip(columns, row, strict=True))):
                continue
            values = [_text(value) if name in texts else value for name, value in zip(columns, row, strict=True)]
            done = link.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)
            copied += done.rowcount
    return copied


def _numbered(old: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """The rows that can be read. Where the end cannot be asked, it is after a long stretch of nothing."""
    question = f"SELECT {', '.join(columns)} FROM {table} WHERE rowid >= ? AND rowid < ? ORDER BY rowid"
    begin, empty, last = 1, 0, 0
    with contextlib.suppress(sqlite3.Error):
        last = old.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0] or 0
    while begin <= last or empty < _EMPTY:
        rows = list(_span(old, question, begin, begin + _AT_ONCE))
        yield from rows
        begin, empty = begin + _AT_ONCE, 0 if rows else empty + 1


def _span(old: sqlite3.Connection, question: str, begin: int, end: int) -> Iterator[tuple[Any, ...]]:
    """The rows of a span: where some cannot be read, each half is tried, down to the single row."""
    spans = [(begin, end)]
    while spans:
        begin, end = spans.pop()
        try:
            yield from old.execute(question, (begin, end)).fetchall()
        except sqlite3.Error:
            middle = (begin + end) // 2
            if middle > begin:
                spans += [(middle, end), (begin, middle)]


def _keyed(old: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """The rows before the first damage, and those after the last."""
    order = _KEYED[table]
    for direction in ("", " DESC"):
        keys = ", ".join(f"{key}{direction}" for key in order.split(", "))
        try:
            yield from old.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {keys}")
        except sqlite3.Error:
            continue
        return


def _whole(row: dict[str, Any]) -> bool:
    try:
        data = unpacked(row["size"], row["packed"], row["data"])
        return data is not None and digest_of(data) == row["digest"]
    except (TypeError, ValueError, OverflowError):
        return False


def _text(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
