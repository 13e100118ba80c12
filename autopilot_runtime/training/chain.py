"""A log that is only added to: each entry is linked to the one before, so a change, a gap or a lost end shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal, NamedTuple

from autopilot_runtime.store.objects import Store

_START = bytes(32)
_AT_ONCE = 1000


class Entry(NamedTuple):
    """One line: its number (from 1, without gaps), what it is, and what it says."""

    number: int
    type: str
    body: str


class Chain:
    """One such log for each experiment, in a table of its own."""

    def __init__(self, store: Store, table: Literal["train_events", "train_context"]) -> None:
        self._store = store
        self._table = table

    def append(self, experiment: str, entries: Iterable[tuple[str, str]]) -> int:
        """Add `(type, body)` entries; gives the number of the last one."""
        with self._store.transaction() as link:
            head = link.execute(
                "SELECT number, link FROM train_heads WHERE chain = ? AND experiment = ?", (self._table, experiment)
            ).fetchone()
            number, last = head or (0, _START)
            rows = []
            for kind, body in entries:
                number, last = number + 1, _link(last, kind.encode(), body.encode())
                rows.append((experiment, number, kind, body, last))
            if rows:
                link.executemany(f"INSERT INTO {self._table} VALUES (?, ?, ?, ?, ?)", rows)
                link.execute(
                    "INSERT OR REPLACE INTO train_heads VALUES (?, ?, ?, ?)", (self._table, experiment, number, last)
                )
        return int(number)

    def read(self, experiment: str, *, since: int = 0, types: Iterable[str] | None = None) -> list[Entry]:
        """The entries after number `since`, in order."""
        wanted = None if types is None else list(types)
        marks = "" if wanted is None else f" AND type IN ({','.join('?' * len(wanted))})"
        question = f"SELECT number, type, body FROM {self._table} WHERE experiment = ? AND number > ?{marks}"
        found = self._store.rows(f"{question} ORDER BY number", (experiment, since, *(wanted or ())))
        return [Entry(*row) for row in found]

    def experiments(self) -> list[str]:
        """Which experiments have such a log."""
        question = f"SELECT experiment FROM train_heads WHERE chain = ? UNION SELECT experiment FROM {self._table}"
        return [row[0] for row in self._store.rows(question, (self._table,))]

    def broken(self, experiment: str) -> list[str]:
        """Where the log is not what was written, in words. Only the first changed entry is named: all links after
        it hang on it."""
        head = self._store.rows(
            "SELECT number, link FROM train_heads WHERE chain = ? AND experiment = ?", (self._table, experiment)
        )
        number, last = 0, _START
        # As bytes: what was changed may be no text any more.
        fields = "number, CAST(type AS BLOB), CAST(body AS BLOB), link"
        question = f"SELECT {fields} FROM {self._table} WHERE experiment = ? AND number > ?"
        while rows := self._store.rows(f"{question} ORDER BY number LIMIT {_AT_ONCE}", (experiment, number)):
            for at, kind, body, link in rows:
                if at != number + 1:
                    gap = f"{number + 1}" if at == number + 2 else f"{number + 1} to {at - 1}"
                    return [f"{self._table}: entry {gap} is missing"]
                number, last = at, _link(last, kind, body)
                if link != last:
                    return [f"{self._table}: entry {at} ({kind.decode(errors='replace')}) is not what was written"]
        if not head:
            return [f"{self._table}: its end is not known"] if number else []
        if head[0][0] > number:
            return [f"{self._table}: entries {number + 1} to {head[0][0]} at the end are missing"]
        return [] if tuple(head[0]) == (number, last) else [f"{self._table}: entries were added from outside"]


def _link(before: bytes, kind: bytes, body: bytes) -> bytes:
    return hashlib.sha256(b"%b%b\n%b" % (before, kind, body)).digest()
