"""What was seen of each folder at the last look: as long as the stamps are the same, nothing is read again."""

from __future__ import annotations

import os
import struct
import time
from typing import NamedTuple

from autopilot_runtime.store.objects import Store

_STAMP = struct.Struct("<IQqqQQ")
STAMP_SIZE = _STAMP.size
# Written within this time of the look, a file may change again without its times telling: git calls that racy.
_TICK_NS = 50_000_000
# Some file systems count only whole (or even every second) seconds.
_COARSE_NS = 2_500_000_000
# The stamp of what must be read again next time; no file has it.
UNSURE = bytes(STAMP_SIZE)


class Row(NamedTuple):
    """One folder: its names in the order they were met, their stamps and heads in the same order, and its tree.

    `folders` holds the names and heads of the folders in it. Bytes, not objects: comparing them is one call.
    """

    names: bytes
    stamps: bytes
    heads: bytes
    folders: bytes
    tree: bytes


pack = _STAMP.pack


def stamp(info: os.stat_result) -> bytes:
    """All that changes when a file does, as far as a look can tell."""
    return pack(info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev)


def settled(info: os.stat_result, *, now: int) -> bytes:
    """The stamp, if it proves anything at the time `now`; else `UNSURE`."""
    newest = max(info.st_mtime_ns, info.st_ctime_ns)
    coarse = info.st_mtime_ns % 1_000_000_000 == 0 and info.st_ctime_ns % 1_000_000_000 == 0
    return stamp(info) if now - newest > (_COARSE_NS if coarse else _TICK_NS) else UNSURE


clock = time.time_ns


class Stamps:
    """The rows of one root. Loaded once, again when objects were thrown away; what changed is written back.

    Without `remember` nothing is written: for a folder that will soon be gone.
    """

    def __init__(self, store: Store, root: bytes, *, remember: bool = True) -> None:
        self._store = store
        self._root = root
        self._remember = remember
        self.rows: dict[bytes, Row] = {}
        self.generation = -1

    def load(self) -> None:
        """Be what the file says."""
        generation = self._store.generation
        if generation == self.generation:
            return
        self.rows, self.generation = {}, generation
        if not self._remember:
            return
        question = "SELECT folder, names, stamps, heads, folders, tree FROM stats WHERE root = ?"
        found = self._store.rows(question, (self._root,))
        self.rows = {row[0]: Row(*row[1:]) for row in found}

    def save(self, rows: dict[bytes, Row]) -> None:
        """Write what differs; part of the caller's transaction. `adopt` when that is kept."""
        if not self._remember:
            return
        fresh = [(self._root, path, *row) for path, row in rows.items() if self.rows.get(path) is not row]
        gone = [(self._root, path) for path in self.rows.keys() - rows.keys()]
        if not fresh and not gone:
            return
        with self._store.transaction() as link:
            link.executemany("INSERT OR REPLACE INTO stats VALUES (?, ?, ?, ?, ?, ?, ?)", fresh)
            link.executemany("DELETE FROM stats WHERE root = ? AND folder = ?", gone)

    def adopt(self, rows: dict[bytes, Row]) -> None:
        """These are what was seen last."""
        self.rows = rows
