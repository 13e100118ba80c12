"""Questions to the run log, over a connection that can only read."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.session.logrows import stamp
from autopilot_runtime.session.logschema import check_version, default_path, open_log

_UNITS = {"min": "minutes", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_STEPS = 100_000  # of SQLite's machine: some milliseconds
_MAY_READ = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})


@dataclass(frozen=True, slots=True)
class Wish:
    """Which runs are wanted."""

    query: str = ""
    status: str | None = None
    agent: str | None = None
    session: str | None = None
    since: str | None = None
    here: bool = False
    limit: int = 20


@contextlib.contextmanager
def reading(path: Path | None = None) -> Iterator[sqlite3.Connection]:
    """The log, to read from. Runs that were killed are marked first, where that can be written."""
    path = path or default_path()
    if not path.is_file():
        raise SetupError(f"There is no run log yet ({path}): the first `autopilot run` makes it.")
    try:
        with contextlib.suppress(sqlite3.Error, OSError):
            open_log(path).close()
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            check_version(db, path)
            db.execute("PRAGMA query_only = ON")
            yield db
    except sqlite3.DatabaseError as error:
        if isinstance(error, (sqlite3.ProgrammingError, sqlite3.OperationalError)):
            raise
        raise SetupError(
            f"{path} cannot be read: {error}. Move it away, and the next run begins a new log."
        ) from error


def runs(db: sqlite3.Connection, wish: Wish, *, now: datetime | None = None) -> list[dict[str, Any]]:
    """The runs, newest first."""
    where, given = _conditions(wish, now or datetime.now(UTC))
    text = f"SELECT * FROM runs{where} ORDER BY started DESC, run_id DESC LIMIT ?"
    return _dicts(db.execute(text, [*given, wish.limit]))


def totals(db: sqlite3.Connection, wish: Wish, *, now: datetime | None = None) -> dict[str, Any]:
    """How many runs there are, and what they used together. The cost is that of the runs whose price is known."""
    where, given = _conditions(wish, now or datetime.now(UTC))
    text = (
        "SELECT count(*) AS runs, coalesce(sum(cost_usd), 0) AS cost_usd, "
        "count(*) - count(cost_usd) AS cost_unknown, "
        f"coalesce(sum(tokens_in), 0) AS tokens_in, coalesce(sum(tokens_out), 0) AS tokens_out FROM runs{where}"
    )
    return _dicts(db.execute(text, given))[0]


def run_of(db: sqlite3.Connection, typed: str) -> dict[str, Any] | None:
    """The run with this id, or the one whose id begins so; None when it is no id at all."""
    if not re.fullmatch(r"run_[0-9a-f]*", typed):
        return None
    found = _dicts(db.execute("SELECT * FROM runs WHERE run_id >= ? AND run_id < ?", (typed, typed + "g")))
    if len(found) != 1:
        raise SetupError(f"{len(found) or 'No'} runs begin with {typed!r}; `autopilot log` shows their ids.")
    return found[0]


def events_of(db: sqlite3.Connection, run_id: str) -> list[dict[str, Any]]:
    """The events of a run, in order."""
    return _dicts(db.execute("SELECT * FROM events WHERE run_id = ? ORDER BY seq", (run_id,)))


def select(db: sqlite3.Connection, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """What one SELECT gives. Nothing else can be done: reading is all the connection may."""
    db.execute("SELECT 1 FROM words LIMIT 1")  # what FTS5 does to open its table is more than reading
    db.set_authorizer(_only_reading)
    # Python hears of Ctrl+C only between two of its own steps, and SQLite may compute for ever in one.
    db.set_progress_handler(lambda: 0, _STEPS)
    try:
        cursor = db.execute(sql)
        return [column[0] for column in cursor.description or ()], cursor.fetchall()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from error
        refused = "not authorized" in str(error) or "prohibited" in str(error) or "one statement" in str(error)
        hint = " One SELECT is all that --sql takes." if refused else " The tables are runs, events and words."
        raise SetupError(f"--sql: {str(error).rstrip('.')}.{hint}") from error


def _only_reading(action: int, first: str | None, second: str | None, *_: Any) -> int:
    # FTS5 asks for it itself, to see whether the file has changed.
    harmless = action == sqlite3.SQLITE_PRAGMA and first == "data_version" and second is None
    return sqlite3.SQLITE_OK if action in _MAY_READ or harmless else sqlite3.SQLITE_DENY


def _conditions(wish: Wish, now: datetime) -> tuple[str, list[Any]]:
    parts: list[str] = []
    given: list[Any] = []
    for word in _words(wish.query):
        parts.append("run_id IN (SELECT run_id FROM words WHERE words MATCH ?)")
        given.append(word)
    for column, value in (("status", wish.status), ("session_id", wish.session)):
        if value is not None:
            parts.append(f"{column} = ?")
            given.append(value)
    if wish.agent is not None:
        parts.append("lower(agent) = lower(?)")
        given.append(wish.agent)
    if wish.since is not None:
        parts.append("started >= ?")
        given.append(since(wish.since, now))
    if wish.here:
        here = str(Path.cwd())
        parts.append("(work_dir = ? OR substr(work_dir, 1, ?) = ?)")
        given += [here, len(here) + 1, here.rstrip("/") + "/"]
    return f" WHERE {' AND '.join(parts)}" if parts else "", given


def _words(query: str) -> list[str]:
    """Every word, or phrase in quotes, has to be somewhere in the run; the last letters may be left out with `*`."""
    found = re.findall(r'"([^"]*)"|(\S+)', query)
    words = [phrase or word.strip('"') for phrase, word in found]
    return [f'"{word.rstrip("*")}"{"*" if word.endswith("*") else ""}' for word in words if word.strip('*"')]


def since(text: str, now: datetime) -> str:
    """`2d`, `36h`, `20min`, `1w` ago, or a date, as the log writes times."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(min|m|h|d|w)", text.strip())
    if found:
        with contextlib.suppress(OverflowError):
            return stamp((now - timedelta(**{_UNITS[found[2]]: float(found[1])})).timestamp())
    else:
        with contextlib.suppress(ValueError):
            return stamp(datetime.fromisoformat(text.strip()).timestamp())
    raise SetupError(
        f"--since takes an age such as 2d, 36h or 20min, or a date such as 2026-11-01; got {text[:40]!r}."
    )


def _dicts(cursor: sqlite3.Cursor) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
