"""Content by its digest, in one SQLite file: what comes out is what went in, or an error that names it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import ObjectDamaged
from autopilot_runtime.store.schema import connect, set_durable, translated

_WORTH_PACKING = 200  # bytes; below this, a row costs more than packing saves
_SAMPLE = 32 << 10
_HARMLESS = 64 << 10  # packed, it becomes 64 MB at most
_MOST = 1_040  # how much more a content can be than what it is packed to
_ASKED_AT_ONCE = 500
_MANY = 400  # contents; fewer are not worth a second thread


def digest_of(data: bytes) -> bytes:
    """The name of a content."""
    return hashlib.sha256(data).digest()


class Store:
    """One open store. Threads share it; processes may have the same file open at once.

    `durable` promises that what was written survives a power cut; without it, only the end of the process.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, durable: bool = True, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = Path(path)
        self.clock = clock
        self._lock = threading.RLock()
        self._depth = 0
        self.durable = self._is_durable = durable
        self._link = connect(self.path, durable=durable)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._link.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ one at a time, all or nothing

    @contextmanager
    def transaction(self, *, durable: bool | None = None) -> Iterator[sqlite3.Connection]:
        """All that is written inside is kept, or nothing of it. One inside another is a part of that."""
        with self._lock, self._told():
            if self._depth == 0:
                self._promise(self.durable if durable is None else durable)
                self._link.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._link
            except BaseException:
                self._depth -= 1
                if self._depth == 0 and self._link.in_transaction:
                    self._link.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._commit()

    def write(self, statement: str, values: Sequence[object], *, durable: bool | None = None) -> None:
        """One statement, kept at once or with the transaction it is made in. Costs a third of one of its own."""
        with self._lock, self._told():
            if self._depth == 0:
                self._promise(self.durable if durable is None else durable)
            self._link.execute(statement, values)

    def _promise(self, durable: bool) -> None:
        if durable != self._is_durable:
            set_durable(self._link, durable)
            self._is_durable = durable

    def _commit(self) -> None:
        try:
            self._link.execute("COMMIT")
        except BaseException:
            if self._link.in_transaction:
                self._link.execute("ROLLBACK")
            raise

    def rows(self, question: str, values: Sequence[object] = ()) -> list[Any]:
        """What the tables say."""
        with self._lock, self._told():
            return self._link.execute(question, values).fetchall()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    @property
    def generation(self) -> int:
        """Counts how often objects have been thrown away: while it stays, what was there is there."""
        return int(self.rows("SELECT value FROM meta WHERE name = 'generation'")[0][0])

    # ------------------------------------------------------------ contents

    def put(self, data: bytes) -> bytes:
        """Keep a content; gives its digest."""
        digest = digest_of(data)
        self.put_all({digest: data})
        return digest

    def put_all(self, contents: dict[bytes, bytes]) -> int:
        """Keep contents under their digests, in one transaction; gives how many were new."""
        fresh = contents.keys() - self.known(contents)
        packed = _packed_all([(digest, contents[digest]) for digest in fresh])
        with self.transaction() as link:
            link.executemany("INSERT OR IGNORE INTO objects (digest, size, packed, data) VALUES (?, ?, ?, ?)", packed)
        return len(packed)

    def known(self, digests: Iterable[bytes]) -> set[bytes]:
        """Which of these are kept."""
        asked, found = list(digests), set[bytes]()
        for at in range(0, len(asked), _ASKED_AT_ONCE):
            some = asked[at : at + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self.rows(f"SELECT digest FROM objects WHERE digest IN ({marks})", some)
            found.update(row[0] for row in rows)
        return found

    def has(self, digest: bytes) -> bool:
        """Whether this content is kept."""
        return bool(self.rows("SELECT 1 FROM objects WHERE digest = ?", (digest,)))

    def get(self, digest: bytes) -> bytes:
        """The content of that digest, checked; `ObjectDamaged` when it is gone or is not what was put in."""
        with self._lock, self._told():
            row = self._link.execute(
                "SELECT size, packed, CAST(data AS BLOB) FROM objects WHERE digest = ?", (digest,)
            ).fetchone()
        return self._checked(digest, row)

    def get_all(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """The contents of some digests, checked like one."""
        found: dict[bytes, tuple[int, int, bytes]] = {}
        with self._lock, self._told():
            for at in range(0, len(digests), _ASKED_AT_ONCE):
                some = digests[at : at + _ASKED_AT_ONCE]
                marks = ",".join("?" * len(some))
                question = f"SELECT digest, size, packed, CAST(data AS BLOB) FROM objects WHERE digest IN ({marks})"
                found.update((row[0], row[1:]) for row in self._link.execute(question, some))
        return {digest: self._checked(digest, found.get(digest)) for digest in digests}

    def _checked(self, digest: bytes, row: tuple[int, int, bytes] | None) -> bytes:
        if row is None:
            raise ObjectDamaged(f"The content store {self.path} has no object {digest.hex()}; it cannot be restored.")
        data = unpacked(*row)
        if data is None or digest_of(data) != digest:
            raise ObjectDamaged(
                f"Object {digest.hex()} in the content store {self.path} is damaged; nothing is restored from it."
            )
        return data


_Row = tuple[bytes, int, int, bytes]


def _packed_all(contents: list[tuple[bytes, bytes]]) -> list[_Row]:
    """The rows of these contents. Packing is most of the work, and many of them are packed on all cores."""
    if len(contents) < _MANY:
        return _rows(contents)
    parts = [contents[at : at + _MANY // 2] for at in range(0, len(contents), _MANY // 2)]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return [row for rows in pool.map(_rows, parts) for row in rows]


def _rows(contents: list[tuple[bytes, bytes]]) -> list[_Row]:
    return [(digest, len(data), *_packed(data)) for digest, data in contents]


def _packed(data: bytes) -> tuple[int, bytes]:
    """The form in which a content is stored: packed when that saves an eighth."""
    if len(data) < _WORTH_PACKING:
        return 0, data
    if len(data) > 2 * _SAMPLE and len(zlib.compress(data[:_SAMPLE], 1)) > _SAMPLE * 7 // 8:
        return 0, data
    small = zlib.compress(data, 1)
    return (1, small) if len(small) <= len(data) * 7 // 8 else (0, data)


def unpacked(size: int, packed: int, data: bytes) -> bytes | None:
    """The content of a stored form; None when it cannot be one. Never makes more than it should be."""
    if not isinstance(data, bytes) or not isinstance(size, int):
        return None
    if not packed:
        return data
    if not 0 <= size <= _MOST * len(data):
        return None
    try:
        if len(data) < _HARMLESS:
            whole = zlib.decompress(data, bufsize=size + 1)
            return whole if len(whole) == size else None
        machine = zlib.decompressobj()
        whole = machine.decompress(data, size + 1)
    except zlib.error:
        return None
    return whole if machine.eof and len(whole) == size else None
