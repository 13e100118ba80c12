"""The file of the run log: plain tables that any SQLite tool can read, its version, and who is still alive."""

from __future__ import annotations

import os
import platform
import sqlite3
from pathlib import Path

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.process import started

VERSION = 1
_BUSY_SECONDS = 5.0
_TABLES = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    agent_file TEXT NOT NULL,
    work_dir TEXT NOT NULL,
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    status TEXT NOT NULL,
    summary TEXT,
    error TEXT,
    steps INTEGER NOT NULL DEFAULT 0,
    tokens_in INTEGER NOT NULL DEFAULT 0,
    tokens_out INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL DEFAULT 0,
    started TEXT NOT NULL,
    ended TEXT,
    seconds REAL,
    files_changed TEXT NOT NULL DEFAULT '[]',
    process TEXT NOT NULL
);
CREATE INDEX runs_by_start ON runs (started);
CREATE INDEX runs_by_session ON runs (session_id, started);
CREATE TABLE events (
    run_id TEXT NOT NULL REFERENCES runs (run_id),
    seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    type TEXT NOT NULL,
    tool TEXT,
    label TEXT,
    text TEXT,
    data TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (run_id UNINDEXED, kind UNINDEXED, text, tokenize = 'porter unicode61');
"""


def default_path() -> Path:
    """`~/.autopilot/log.db`."""
    try:
        return Path.home() / ".autopilot" / "log.db"
    except RuntimeError as error:
        raise SetupError("There is no home folder (HOME is not set), so there is no run log.") from error


def open_log(path: Path) -> sqlite3.Connection:
    """The log to write to, made where it is missing, for its owner alone. Runs of dead processes are settled."""
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Made before SQLite would make it: its other files take their rights from this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        _make(db, path)
        settle(db)
    except BaseException:
        db.close()
        raise
    return db


def _make(db: sqlite3.Connection, path: Path) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        version = check_version(db, path)
        if version == 0:
            for statement in filter(str.strip, _TABLES.split(";\n")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def check_version(db: sqlite3.Connection, path: Path) -> int:
    """The version of the file (0: empty); one of a newer release is refused and left alone."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise SetupError(
            f"{path}: the run log was written by a newer release (version {version}; this one knows {VERSION}). "
            "Nothing was changed. Upgrade autopilot-runtime, or move the file away."
        )
    return version


def settle(db: sqlite3.Connection) -> None:
    """Mark runs whose process is gone as interrupted; they ended with the last thing that is known of them."""
    for run_id, process in db.execute("SELECT run_id, process FROM runs WHERE status = 'running'").fetchall():
        if not is_alive(process):
            db.execute(
                "UPDATE runs SET status = 'interrupted', error = 'the process ended in the middle of the run', "
                "ended = coalesce((SELECT max(ts) FROM events WHERE events.run_id = runs.run_id), started), "
                "seconds = round((julianday(coalesce((SELECT max(ts) FROM events WHERE events.run_id = runs.run_id),"
                " started)) - julianday(started)) * 86400, 3) WHERE run_id = ? AND status = 'running'",
                (run_id,),
            )


def this_process() -> str:
    """Names this process so that another with the same number, later or elsewhere, is not taken for it."""
    pid = os.getpid()
    return f"{platform.node()}:{pid}:{started(pid) or ''}"


def is_alive(process: str) -> bool:
    """Whether the process still runs. One on another machine counts as alive: nobody here can tell."""
    host, _, number = process.rpartition(":")[0].rpartition(":")
    if host != platform.node() or not number.isdigit():
        return True
    born, now = process.rpartition(":")[2], started(int(number))
    return now is not None and born in ("", now)
