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
from pathlib import Path
from typing import Any

from autopilot_runtime.search.kinds import MAX_BYTES, read_source
from autopilot_runtime.search.pieces import Source
from autopilot_runtime.search.reach import open_inside
from autopilot_runtime.search.schema import connect, is_damage
from autopilot_runtime.search.words import indexed

DAMAGED = 3  # exit code: the index file is broken
_BATCH_SECONDS = 0.5  # other processes may write between two batches
# Within one tick of the file system's clock a second change does not show; such a file is looked at again.
_TICK_NS = 50_000_000


def main() -> None:
    """Read one order from stdin: the root, the index, which files changed and which are gone."""
    order: dict[str, Any] = json.load(sys.stdin)
    sys.path += order["packages"]
    gc.disable()  # parse trees hold no cycles, and looking for some takes a third of the time
    try:
        connection = connect(Path(order["index"]))
        try:
            feed(connection, order["root"], changed=order["changed"], gone=order["gone"])
        finally:
            connection.close()
    except sqlite3.Error as error:
        print(error, file=sys.stderr)
        sys.exit(DAMAGED if is_damage(error) else 1)


def feed(connection: sqlite3.Connection, root: str, *, changed: Sequence[str], gone: Sequence[str]) -> None:
    """Take the files into the index. Each batch is one transaction: what was done before a kill is kept."""
    todo = list(reversed(changed))
    left = list(gone)
    while todo or left:
        connection.execute("BEGIN IMMEDIATE")
        try:
            until = time.monotonic() + _BATCH_SECONDS
            while left and time.monotonic() < until:
                _forget(connection, left.pop())
            while todo and time.monotonic() < until:
                _take(connection, root, todo.pop())
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _take(connection: sqlite3.Connection, root: str, path: str) -> None:
    try:
        with open_inside(root, path) as file:
            info = os.fstat(file.fileno())
            mtime = info.st_mtime_ns if time.time_ns() - info.st_mtime_ns > _TICK_NS else 0
            stamp = (info.st_size, mtime, info.st_ino)
            row = connection.execute(
                "SELECT size, mtime, inode, digest, id FROM files WHERE path = ?", (path,)
            ).fetchone()
            if row and row[:3] == stamp:
                return  # another process was here first
            data = b"".join(iter(lambda: file.read(MAX_BYTES), b"")) if info.st_size <= MAX_BYTES else b"\0"
    except OSError:
        _forget(connection, path)
        return
    digest = hashlib.blake2b(data, digest_size=16).digest()
    if row and row[3] == digest:
        connection.execute("UPDATE files SET size = ?, mtime = ?, inode = ? WHERE id = ?", (*stamp, row[4]))
        return
    _forget(connection, path)
    cursor = connection.execute(
        "INSERT INTO files (path, size, mtime, inode, digest) VALUES (?, ?, ?, ?, ?)", (path, *stamp, digest)
    )
    source = read_source(path, data)
    if source is not None:
        _insert(connection, int(cursor.lastrowid or 0), path, source)


def _insert(connection: sqlite3.Connection, file: int, path: str, source: Source) -> None:
    where = indexed(path.rpartition(".")[0].replace("/", " "))
    ids: list[int] = []
    for piece in source.pieces:
        digest = hashlib.blake2b(piece.text.encode("utf-8", "replace"), digest_size=16).digest()
        last = piece.name.rpartition(".")[2]
        row = (file, piece.name, last, piece.kind, piece.start, piece.end, ",".join(piece.bases), digest)
        cursor = connection.execute(
            "INSERT INTO pieces (file, name, last, kind, start, end, bases, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        ids.append(int(cursor.lastrowid or 0))
        # Of a module the path is its name already.
        name = "" if piece.kind == "module" else indexed(piece.name)
        words = (ids[-1], name, where, indexed(piece.text))
        connection.execute("INSERT INTO words (rowid, name, path, body) VALUES (?, ?, ?, ?)", words)
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
