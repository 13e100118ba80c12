"""The one SQLite file behind a store: how it is opened, what it holds, and what its errors are called."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from autopilot_runtime.core.errors import StoreError

_VERSION = 1
_SECONDS = 30.0  # to wait for another process; nobody writes for longer than a batch takes
_TABLES = """
CREATE TABLE IF NOT EXISTS objects (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, packed INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS refs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, digest BLOB NOT NULL, kind TEXT NOT NULL,
    note TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS refs_by_name ON refs (name, id);
CREATE TABLE IF NOT EXISTS pins (
    owner TEXT NOT NULL, digest BLOB NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (owner, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stats (
    root BLOB NOT NULL, folder BLOB NOT NULL, names BLOB NOT NULL, stamps BLOB NOT NULL, heads BLOB NOT NULL,
    folders BLOB NOT NULL, tree BLOB NOT NULL, PRIMARY KEY (root, folder)
);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO meta VALUES ('generation', 0);
"""


def connect(path: Path, *, durable: bool) -> sqlite3.Connection:
    """Open the file, making it (for its owner alone) where it is not there. Any thread may use the connection."""
    try:
        _make(path)
        link = sqlite3.connect(path, timeout=_SECONDS, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise translated(error, path) from error
    try:
        _set_up(link, path, durable=durable)
    except BaseException:
        link.close()
        raise
    return link


def _make(path: Path) -> None:
    if not path.parent.is_dir():
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))


def _set_up(link: sqlite3.Connection, path: Path, *, durable: bool) -> None:
    try:
        version = link.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise StoreError(f"{path} was written by a newer release (store version {version}); update this one.")
        set_durable(link, durable)
        link.execute("PRAGMA cache_size = -16000")
        if version < _VERSION:
            link.execute("PRAGMA auto_vacuum = INCREMENTAL")
            link.execute("PRAGMA journal_mode = WAL")
            link.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";\n"):
                link.execute(statement)
            link.execute(f"PRAGMA user_version = {_VERSION}")
            link.execute("COMMIT")
    except (sqlite3.Error, UnicodeDecodeError) as error:  # SQLite quotes what is damaged, even if that is no text
        raise translated(error, path) from error


def set_durable(link: sqlite3.Connection, durable: bool) -> None:
    """FULL: what was acknowledged survives a power cut. With NORMAL, only the end of the process."""
    link.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")


def translated(error: Exception, path: Path) -> StoreError:
    """The same error with the place, the reason, and what is safe."""
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith("SQLITE_FULL"):
        reason = "the disk is full"
    elif code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or isinstance(error, UnicodeDecodeError):
        return StoreError(f"The content store {path} is damaged ({error}). Move it away; a new one is begun.")
    elif code.startswith("SQLITE_BUSY"):
        reason = f"another process has been writing to it for more than {_SECONDS:g} s"
    else:
        reason = getattr(error, "strerror", None) or str(error)
    return StoreError(f"The content store {path} cannot be used: {reason}. What it held before is intact.")
