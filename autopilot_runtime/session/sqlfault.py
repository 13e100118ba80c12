"""What a database's error means for a session: try again, or give up and say why."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class Again(Exception):
    """Somebody was faster by a moment: the same work, done anew, finds out."""


# SQLSTATE: serialization failure, deadlock, lock not available, shutdowns and starting up, too many connections,
# idle too long; the class 08 is the connection.
_STATES = {"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "57P05", "53300", "25P03"}
# MySQL: lock wait, deadlock, no server (socket, TCP), gone, lost, too many connections, shutting down, killed.
_CODES = {1205, 1213, 2002, 2003, 2006, 2013, 2055, 1040, 1053, 1927, 4031}
# A PostgreSQL server that answers and refuses says FATAL; these refusals pass.
_PASSING = (
    "starting up",
    "shutting down",
    "too many",
    "recovery",
    "terminating",
    "connection slots",
    "not yet accept",
)
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def passes(error: BaseException) -> bool:
    """Whether the same work may succeed a little later."""
    if isinstance(error, Again | PoolTimeout | ConnectionError | TimeoutError):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or _coded(error.orig):
            return True
        # No code at all is how a driver reports a connection that could not be made or has just gone.
        return isinstance(error, OperationalError | InterfaceError) and _unreached(error.orig)
    return _coded(error)


def _coded(error: Any) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY
    state = str(getattr(error, "sqlstate", None) or "")
    if state:
        return state in _STATES or state.startswith("08")
    code = next(iter(getattr(error, "args", ())), None)
    return isinstance(code, int) and code in _CODES


def _unreached(error: Any) -> bool:
    if isinstance(error, sqlite3.Error) or getattr(error, "sqlstate", None):
        return False
    words = str(error)
    first = next(iter(getattr(error, "args", ())), None)
    if isinstance(first, int):  # MySQL: 0 is pymysql's word for a connection that is closed already
        return first == 0
    return "FATAL" not in words or any(word in words for word in _PASSING)


def reason(error: BaseException) -> str:
    """The driver's own words, on one line, without the statement."""
    found: Any = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    args: tuple[Any, ...] = getattr(found, "args", ())
    words = str(args[1]) if len(args) > 1 and isinstance(args[0], int) else str(found)
    return " ".join(words.split())[:500] or type(found).__name__
