"""The tables of an index file. A cache: any other version of it is thrown away and built again."""

from __future__ import annotations

import os
import sqlite3
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path  # a worker gets by without it, and starts sooner

_WAIT_MS = 10_000
_TABLES = """
CREATE TABLE files (
  id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER, mtime INTEGER, inode INTEGER, digest BLOB,
  family TEXT NOT NULL, stem TEXT NOT NULL);
CREATE INDEX files_stem ON files (stem);
CREATE TABLE pieces (
  id INTEGER PRIMARY KEY, file INTEGER NOT NULL, name TEXT NOT NULL, last TEXT NOT NULL, kind TEXT NOT NULL,
  start INTEGER, end INTEGER, bases TEXT NOT NULL, digest BLOB);
CREATE INDEX pieces_file ON pieces (file);
CREATE INDEX pieces_last ON pieces (last, file);
CREATE TABLE calls (
  piece INTEGER NOT NULL, name TEXT NOT NULL, receiver TEXT NOT NULL, hint TEXT NOT NULL, line INTEGER);
CREATE INDEX calls_piece ON calls (piece);
CREATE INDEX calls_name ON calls (name);
CREATE TABLE imports (
  file INTEGER NOT NULL, local TEXT NOT NULL, target TEXT NOT NULL, last TEXT NOT NULL,
  PRIMARY KEY (file, local)) WITHOUT ROWID;
CREATE INDEX imports_last ON imports (last);
CREATE TABLE vectors (
  model TEXT NOT NULL, digest BLOB NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (model, digest)) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (name, path, body, tokenize = 'porter unicode61');
"""
VERSION = zlib.crc32(_TABLES.encode()) & 0x7FFFFFFF  # other tables, another version
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def connect(path: Path | str) -> sqlite3.Connection:
    """An open index, with tables. Several processes may have it open; a writer waits for the other."""
    # It holds the text of the workspace; SQLite gives what it keeps beside it the same rights.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    connection = sqlite3.connect(path, timeout=_WAIT_MS / 1000, isolation_level=None)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS}")
        if _version(connection) != VERSION:
            _create(connection)
        connection.execute("PRAGMA synchronous = OFF")  # a cache: after a power cut it is built again
        return connection
    except BaseException:
        connection.close()
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("BEGIN IMMEDIATE")
    if _version(connection) == VERSION:  # another process was faster
        connection.execute("ROLLBACK")
        return
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name = 'words' DESC")
    for (name,) in tables.fetchall():
        if not name.startswith(("words_", "sqlite_")):  # those go with their owner
            connection.execute(f'DROP TABLE "{name}"')
    for statement in _TABLES.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, so that only building it again helps."""
    code = getattr(error, "sqlite_errorcode", None)
    return (code is not None and code & 0xFF in _DAMAGE) or "malformed" in str(error) or "no such table" in str(error)


def remove(path: Path) -> None:
    """Delete an index and what SQLite keeps beside it."""
    for ending in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
