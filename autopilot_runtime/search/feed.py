"""Brings an index up to date: reads and parses changed files in a process of its own, batch by batch.

Of its own, because a parser on hostile input may run for ever or crash, and because parsing would hold up the host.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from autopilot_runtime.search.kinds import MAX_BYTES, family_of, module_of, read_source
from autopilot_runtime.search.pieces import Piece, Source
from autopilot_runtime.search.reach import open_inside
from autopilot_runtime.search.schema import connect, is_damage
from autopilot_runtime.search.words import indexed

DAMAGED = 3  # exit code: the index file is broken
_BATCH_SECONDS = 0.5  # a kill costs at most the work of so long
_BATCH_GONE = 200
# Within one tick of the file system's clock a second change does not show; such a file is looked at again.
_TICK_NS = 50_000_000
_Key = tuple[str, str, bytes]


def main() -> None:
    """Read one order from stdin: the root, the index, which files changed and which are gone."""
    order: dict[str, Any] = json.load(sys.stdin)
    sys.path += order["packages"]
    gc.disable()  # parse trees hold no cycles, and looking for some takes a third of the time
    try:
        connection = connect(order["index"])
        try:
            feed(connection, order["root"], changed=order["changed"], gone=order["gone"])
        finally:
            connection.close()
    except sqlite3.Error as error:
        print(error, file=sys.stderr)
        sys.exit(DAMAGED if is_damage(error) else 1)
    os._exit(0)  # all is written, and tidying up the trees takes as long as a file


@dataclass(slots=True)
class _Part:
    """A piece made ready to be written. `words` are computed where the index does not have them."""

    piece: Piece
    digest: bytes
    words: tuple[str, str, str] | None = None

    @property
    def key(self) -> _Key:
        """What is the same for two pieces that are found by the same words."""
        return (self.piece.name, self.piece.kind, self.digest)


@dataclass(slots=True)
class _Read:
    """A file made ready to be written. Without `source` its content is what the index has, or nothing to index."""

    path: str
    stamp: tuple[int, int, int]
    digest: bytes
    source: Source | None = None
    parts: list[_Part] = field(default_factory=list)


def feed(connection: sqlite3.Connection, root: str, *, changed: Sequence[str], gone: Sequence[str]) -> None:
    """Take the files into the index. What was written before a kill is kept.

    Files are parsed outside of the transaction, so that several processes can do it at once.
    """
    todo = list(reversed(changed))
    left = list(gone)
    while todo or left:
        ready: list[_Read] = []
        missing = [left.pop() for _ in range(min(len(left), _BATCH_GONE))]
        until = time.monotonic() + _BATCH_SECONDS
        while todo and time.monotonic() < until:
            path = todo.pop()
            try:
                ready.append(_read(connection, root, path))
            except OSError:
                missing.append(path)
        connection.execute("BEGIN IMMEDIATE")
        try:
            for path in missing:
                _forget(connection, path)
            for one in ready:
                _write(connection, one)
        except BaseException:
            if connection.in_transaction:  # of a full disk SQLite itself goes back
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _known(connection: sqlite3.Connection, path: str) -> tuple[bytes, int] | None:
    row = connection.execute("SELECT digest, id FROM files WHERE path = ?", (path,)).fetchone()
    return (row[0], row[1]) if row else None


def _read(connection: sqlite3.Connection, root: str, path: str) -> _Read:
    with open_inside(root, path) as file:
        info = os.fstat(file.fileno())
        mtime = info.st_mtime_ns if time.time_ns() - info.st_mtime_ns > _TICK_NS else 0
        data = b"".join(iter(lambda: file.read(MAX_BYTES), b"")) if info.st_size <= MAX_BYTES else b"\0"
    ready = _Read(path, (info.st_size, mtime, info.st_ino), hashlib.blake2b(data, digest_size=16).digest())
    known = _known(connection, path)
    if known and known[0] == ready.digest:
        return ready
    ready.source = read_source(path, data)
    there = _stored(connection, known[1]) if known else {}
    for piece in ready.source.pieces if ready.source else ():
        part = _Part(piece, hashlib.blake2b(piece.text.encode("utf-8", "replace"), digest_size=16).digest())
        if part.key not in there:
            part.words = _words(path, piece)
        ready.parts.append(part)
    return ready


def _stored(connection: sqlite3.Connection, file: int) -> dict[_Key, list[int]]:
    """The pieces of a file that the index has."""
    found: dict[_Key, list[int]] = {}
    rows = connection.execute("SELECT id, name, kind, digest FROM pieces WHERE file = ?", (file,))
    for piece, *key in rows:
        found.setdefault((key[0], key[1], key[2]), []).append(piece)
    return found


def _words(path: str, piece: Piece) -> tuple[str, str, str]:
    # Of a module the path is its name already.
    name = "" if piece.kind == "module" else indexed(piece.name)
    return name, indexed(path.rpartition(".")[0].replace("/", " ")), indexed(piece.text)


def _write(connection: sqlite3.Connection, ready: _Read) -> None:
    known = _known(connection, ready.path)
    if known:
        connection.execute(
            "UPDATE files SET size = ?, mtime = ?, inode = ?, digest = ? WHERE id = ?",
            (*ready.stamp, ready.digest, known[1]),
        )
        if known[0] == ready.digest:
            return  # only touched, or another process was here first
        file = known[1]
    else:
        cursor = connection.execute(
            "INSERT INTO files (path, size, mtime, inode, digest, family, stem) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (ready.path, *ready.stamp, ready.digest, family_of(ready.path), module_of(ready.path).rpartition(".")[2]),
        )
        file = int(cursor.lastrowid or 0)
    left = _stored(connection, file)
    # The calls go first: they are found by the pieces that they are in.
    connection.execute("DELETE FROM calls WHERE piece IN (SELECT id FROM pieces WHERE file = ?)", (file,))
    connection.execute("DELETE FROM imports WHERE file = ?", (file,))
    ids = [_put(connection, file, ready.path, part, left.get(part.key)) for part in ready.parts]
    for piece in (piece for pieces in left.values() for piece in pieces):
        connection.execute("DELETE FROM words WHERE rowid = ?", (piece,))
        connection.execute("DELETE FROM pieces WHERE id = ?", (piece,))
    if ready.source is not None:
        _relate(connection, file, ready.source, ids)


def _put(connection: sqlite3.Connection, file: int, path: str, part: _Part, same: list[int] | None) -> int:
    """Store a piece, in place of one of the `same` if there is any: its words need not be written again then."""
    piece = part.piece
    place = (piece.start, piece.end, ",".join(piece.bases))
    if same:
        connection.execute("UPDATE pieces SET start = ?, end = ?, bases = ? WHERE id = ?", (*place, same[0]))
        return same.pop(0)
    cursor = connection.execute(
        "INSERT INTO pieces (start, end, bases, file, name, last, kind, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*place, file, piece.name, piece.name.rpartition(".")[2], piece.kind, part.digest),
    )
    made = int(cursor.lastrowid or 0)
    words = part.words or _words(path, piece)
    connection.execute("INSERT INTO words (rowid, name, path, body) VALUES (?, ?, ?, ?)", (made, *words))
    return made


def _relate(connection: sqlite3.Connection, file: int, source: Source, ids: Sequence[int]) -> None:
    connection.executemany(
        "INSERT INTO calls (piece, name, receiver, hint, line) VALUES (?, ?, ?, ?, ?)",
        ((ids[call.piece], call.name, call.receiver, call.hint, call.line) for call in source.calls),
    )
    connection.executemany(
        "INSERT OR IGNORE INTO imports (file, local, target, last) VALUES (?, ?, ?, ?)",
        ((file, local, target, target.rpartition(".")[2]) for local, target in source.imports.items()),
    )


def _forget(connection: sqlite3.Connection, path: str) -> None:
    row = connection.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
    if row is None:
        return
    inside = "IN (SELECT id FROM pieces WHERE file = ?)"
    connection.execute(f"DELETE FROM words WHERE rowid {inside}", row)
    connection.execute(f"DELETE FROM calls WHERE piece {inside}", row)
    for table in ("pieces", "imports"):
        connection.execute(f"DELETE FROM {table} WHERE file = ?", row)
    connection.execute("DELETE FROM files WHERE id = ?", row)
