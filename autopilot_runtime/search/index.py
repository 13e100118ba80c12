"""An index of a workspace, kept outside of it and brought up to date before each use; found by words, offline.

A keyword index that understands identifiers, not a model of meaning: honest, instant, and without any key.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.search import child
from autopilot_runtime.search.feed import DAMAGED
from autopilot_runtime.search.kinds import MAX_BYTES, is_indexed
from autopilot_runtime.search.schema import connect, is_damage, remove
from autopilot_runtime.search.walk import Walk
from autopilot_runtime.search.words import asked

# A word in more pieces than this does not choose pieces, it only orders those that rarer words have chosen.
_COMMON = 2_000
# A first indexing is mostly parsing, which processes can share; writing they do one after the other.
MAX_FILES = 100_000
_MAX_WORKERS = 4
_FILES_PER_WORKER = 200
_SEARCH = """
SELECT f.path, p.name, p.kind, p.start, p.end, -w.score, p.id, p.digest
FROM (SELECT rowid, bm25(words, 4.0, 2.0, 1.0) AS score FROM words WHERE words MATCH ? ORDER BY score LIMIT ?) w
JOIN pieces p ON p.id = w.rowid JOIN files f ON f.id = p.file ORDER BY w.score, f.path, p.start
"""
Progress = Callable[[int, int], None]
Stamp = tuple[int, int, int]  # size, time of change, inode


@dataclass(frozen=True, slots=True)
class Hit:
    """A piece of a file that answers a query. `id` and `digest` are for those who keep more about it."""

    path: str
    name: str
    kind: str
    start: int
    end: int
    score: float
    id: int = 0
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What bringing the index up to date took. `complete` is False when the time was not enough."""

    files: int
    changed: int
    gone: int
    complete: bool = True


def _silent(done: int, total: int) -> None:
    """The default of `progress`."""


class Index:
    """The index of one root. `notes` collects what a person should know: another place, a rebuilt file."""

    def __init__(self, root: str | Path, *, folder: Path | None = None) -> None:
        self.root = os.path.realpath(root)
        self.notes: list[str] = []
        home = folder if folder is not None else self._usual_folder()
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:24]
        self.path = self._writable(home) / f"{name}.db"

    @staticmethod
    def _usual_folder() -> Path | None:
        try:
            return Path.home() / ".autopilot" / "index"
        except RuntimeError:
            return None  # there is no home at all

    def _writable(self, folder: Path | None) -> Path:
        if folder is not None:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    return folder
            except OSError as error:
                reason = error.strerror or str(error)
        else:
            reason = "there is no home folder"
        fallback = _own_temp_folder()
        self.notes.append(f"The index is in {fallback} for now: {folder or '~'} cannot be written ({reason})")
        return fallback

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """A connection to it. A damaged file is thrown away, so that the next try builds it again."""
        connection = None
        try:
            connection = connect(self.path)
            yield connection
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            if is_damage(error):
                remove(self.path)
                raise Damaged(str(error)) from error
            raise ToolError(f"The search index {self.path} cannot be used: {error}. Try again.") from error
        finally:
            if connection is not None:
                connection.close()

    def refresh(
        self, *, seconds: float = 60.0, stop: Callable[[], bool] = bool, progress: Progress = _silent
    ) -> Refreshed:
        """Take in what changed since the last time. `progress(done, total)` is called while it takes long."""
        clock = child.Clock(seconds, stop)
        try:
            return self._refresh(clock, progress)
        except Damaged as damage:
            self.notes.append(f"The search index was damaged ({damage.reason}) and has been built again")
            return self._refresh(clock, progress)

    def _refresh(self, clock: child.Clock, progress: Progress) -> Refreshed:
        with self.open() as connection:
            rows = connection.execute("SELECT path, size, mtime, inode FROM files").fetchall()
        known: dict[str, Stamp] = {path: (size, mtime, inode) for path, size, mtime, inode in rows}
        with child.Child(child.worker("feed"), cwd=self.root) as worker:
            seen, changed, all_seen = self._look(known, clock, worker)
            gone = [path for path in known if path not in seen] if all_seen else []
            if not changed and not gone:
                return Refreshed(len(seen), 0, 0, complete=all_seen)
            before = len(known) - len(gone)
            whole = self._feed(changed, gone, clock, worker, lambda: self._tell(progress, before, len(seen)))
        return Refreshed(len(seen), len(changed), len(gone), complete=whole and all_seen)

    def _look(
        self, known: Mapping[str, Stamp], clock: child.Clock, worker: child.Child
    ) -> tuple[set[str], list[str], bool]:
        """The files to be indexed, which of them changed, and whether these are all: a root may be a whole disk."""
        seen: set[str] = set()
        changed: list[str] = []
        for number, (path, entry) in enumerate(Walk(self.root)):
            if is_indexed(path) and path.isprintable() and (info := _stat(entry)) and info.st_size <= MAX_BYTES:
                seen.add(path)
                if known.get(path) != (info.st_size, info.st_mtime_ns, info.st_ino):
                    worker.start()  # it gets ready while the rest is looked at
                    changed.append(path)
            if len(seen) >= MAX_FILES:
                self.notes.append(f"Only the first {MAX_FILES:,} files are indexed")
                return seen, changed, False
            if number % 1_000 == 999 and clock.left <= 0:
                return seen, changed, False
        return seen, changed, True

    def _feed(
        self, changed: list[str], gone: list[str], clock: child.Clock, worker: child.Child, tick: Callable[[], None]
    ) -> bool:
        """Parse and store what changed, in one process, or in a few when it is much; whether all was done."""
        count = max(1, min(_MAX_WORKERS, (os.cpu_count() or 1), len(changed) // _FILES_PER_WORKER))
        orders = [
            json.dumps(
                {
                    "root": self.root,
                    "index": str(self.path),
                    "changed": changed[number::count],
                    "gone": [] if number else gone,
                    "packages": [entry for entry in sys.path if os.path.isabs(entry)],  # noqa: PTH117 - for grammars
                }
            ).encode()
            for number in range(count)
        ]

        def work(order: bytes) -> child.Done:
            return child.run(child.worker("feed"), cwd=self.root, clock=clock, sent=order)

        with ThreadPoolExecutor(count) as pool:
            others = [pool.submit(work, order) for order in orders[1:]]
            finished = [worker.finish(clock, sent=orders[0], tick=tick), *(other.result() for other in others)]
        for done in finished:
            reason = done.errors.decode("utf-8", "replace").strip()[-300:]
            if done.code == DAMAGED:
                remove(self.path)
                raise Damaged(reason)
            if done.code not in (0, None):
                raise ToolError(self._failed(reason or f"exit code {done.code}"))
        return all(done.code == 0 for done in finished)

    def _failed(self, reason: str) -> str:
        advice = (
            f"Free some space for {self.path.parent}" if "full" in reason else "Call again: it goes on from there"
        )
        return f"Indexing {self.root} failed: {reason}. {advice}."

    def _tell(self, progress: Progress, before: int, total: int) -> None:
        with self.open() as connection:
            count = int(connection.execute("SELECT count(*) FROM files").fetchone()[0])
        progress(count, total)

    def search(self, query: str, *, limit: int = 5) -> list[Hit]:
        """The pieces that answer the words of the query best."""
        words = asked(query)
        if not words:
            raise ToolError(f"{query!r:.100} holds no word to search for. Say in a few words what the code does.")
        with self.open() as connection:
            rows: list[Any] = []
            for match in _expressions(connection, words):
                rows = connection.execute(_SEARCH, (match, limit)).fetchall()
                if len(rows) == limit:
                    break
        return [Hit(*row) for row in rows]


def _expressions(connection: sqlite3.Connection, words: list[str]) -> Iterator[str]:
    """The words as queries, to be tried until one gives enough: rare words choose, common ones only add to the score.

    Scoring each piece that has a common word would take longer the larger the index is.
    """
    count = "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)"
    found = {word: connection.execute(count, (f'"{word}"', _COMMON)).fetchone()[0] for word in words}
    rare = [f'"{word}"' for word, hits in found.items() if 0 < hits < _COMMON]
    common = [f'"{word}"' for word, hits in found.items() if hits >= _COMMON]
    if rare and common:
        yield f"({' OR '.join(rare)}) AND ({' OR '.join(rare + common)})"
    elif rare:
        yield " OR ".join(rare)
    elif common:
        yield " AND ".join(common)
    if common:
        yield " OR ".join(rare + common)


class Damaged(ToolError):
    """The index file was broken and is gone now."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The search index was damaged ({reason}) and has been removed; call again to build it anew."
        )
        self.reason = reason


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None  # it went away while we looked


def _own_temp_folder() -> Path:
    """A folder for temporary indexes that nobody else can have prepared for us."""
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir(), f"autopilot-index-{user}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        info = folder.lstat()
        ours = not hasattr(os, "getuid") or (info.st_uid == os.getuid() and not info.st_mode & 0o077)
        if ours and stat.S_ISDIR(info.st_mode):
            return folder
    except OSError as error:
        raise ToolError(f"There is no place for the search index: {error}") from error
    return Path(tempfile.mkdtemp(prefix="autopilot-index-"))
