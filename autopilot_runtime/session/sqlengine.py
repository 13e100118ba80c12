"""From a database URL to an engine of ours: drivers, settings, one engine per database and process."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import QueuePool

from autopilot_runtime.core.errors import MissingExtra, SessionError, SetupError

# What people write, and drivers that only an async engine can use -> the driver of ours.
_DRIVER = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+asyncpg": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mysql+aiomysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "mariadb+aiomysql": "mariadb+pymysql",
    "sqlite+aiosqlite": "sqlite",
}
_PACKAGE = {"psycopg": ("psycopg", "postgres"), "pymysql": ("PyMySQL", "mysql")}
_SECONDS = 5  # to wait for a server that does not answer a connection, and for a lock in it

# Marks the connections whose settings are nobody's but ours.
OURS = "autopilot_ours"

_guard = threading.Lock()
_shared: weakref.WeakValueDictionary[tuple[int, str], Connected] = weakref.WeakValueDictionary()
# Connections inherited by a fork belong to the parent: never used here, and never closed, which would be heard there.
_inherited: list[object] = []


class Connected:
    """An engine of ours. When the last session has let go of it, its connections are closed."""

    def __init__(self, url: URL) -> None:
        self.engine = _engine(url)
        self.pid = os.getpid()
        weakref.finalize(self, _dispose, self.engine, self.pid)


def connected(url: URL) -> Connected:
    """The engine of this database in this process. A database in memory is its session's own."""
    if is_in_memory(url):
        return Connected(url)
    key = os.getpid(), url.render_as_string(hide_password=False)
    with _guard:
        found = _shared.get(key)
        if found is None:
            found = _shared[key] = Connected(url)
        return found


def inherit(what: object) -> None:
    """Keep what a fork brought along, untouched."""
    _inherited.append(what)


def parsed(db_url: str) -> URL:
    """The URL with a driver of ours; whatever is wrong with it is said without showing it."""
    try:
        url = make_url(db_url)
    except (ArgumentError, ValueError) as error:
        raise SetupError(
            "db_url is not a database URL. Write sqlite:///./sessions.db, postgresql://user:password@host/name "
            "or mysql://user:password@host/name."
        ) from error
    url = url.set(drivername=_DRIVER.get(url.drivername, url.drivername))
    if url.get_backend_name() not in ("sqlite", "postgresql", "mysql", "mariadb"):
        raise SetupError(
            f"No sessions in {url.get_backend_name()!r}: there are SQLite, PostgreSQL, MySQL and MariaDB."
        )
    if url.get_backend_name() in ("mysql", "mariadb") and "charset" not in url.query:
        url = url.update_query_dict({"charset": "utf8mb4"})
    return url


def shown(url: URL) -> str:
    """The database as errors name it: no password, and no query, which may hold one."""
    return url.set(query={}).render_as_string(hide_password=True)


def files_of(url: URL) -> tuple[Path, ...]:
    """The files that a SQLite database is, where it is one: its journals come and go beside it."""
    if url.get_backend_name() != "sqlite" or is_in_memory(url):
        return ()
    name = str(url.database)
    if name.startswith("file:"):
        name = unquote(name.removeprefix("file:").partition("?")[0])
    # Absolute now: the folder we are in may be another one later.
    path = str(Path(name).absolute())
    return tuple(Path(path + end) for end in ("", "-wal", "-shm", "-journal"))


def is_in_memory(url: URL) -> bool:
    """Whether it is SQLite's database that lives as long as its connection."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def _engine(url: URL) -> Engine:
    kind = url.get_backend_name()
    options: dict[str, Any] = {
        "hide_parameters": True,
        "pool_timeout": 2 * _SECONDS,
        "execution_options": {OURS: True},
    }
    match kind:
        case "sqlite":
            options["connect_args"] = {"timeout": _SECONDS, "check_same_thread": False}
            options["poolclass"] = QueuePool
            if is_in_memory(url):
                options |= {"pool_size": 1, "max_overflow": 0}
            else:
                _private_file(url)
        case "postgresql":
            # Statements prepared on the server do not survive a pooler that hands connections around.
            options["connect_args"] = {"connect_timeout": _SECONDS, "prepare_threshold": None}
        case "mysql" | "mariadb":
            options["connect_args"] = {"connect_timeout": _SECONDS, "read_timeout": 60, "write_timeout": 60}
    try:
        engine = create_engine(url, **options)
    except (ModuleNotFoundError, NoSuchModuleError, TypeError) as error:
        module = getattr(error, "name", None) or ""
        if module in _PACKAGE:
            raise MissingExtra(f"A session in {kind}", *_PACKAGE[module]) from error
        raise SetupError(f"db_url: the driver of {url.drivername!r} cannot be used: {error}") from error
    event.listen(engine, "connect", lambda connection, _: _tune(connection, kind))
    return engine


def _tune(connection: Any, kind: str) -> None:
    settings = {
        # WAL with FULL loses no commit to a power cut; SQLite's own default can.
        "sqlite": ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"),
        "postgresql": (f"SET lock_timeout = '{_SECONDS}s'",),
    }.get(kind, (f"SET SESSION innodb_lock_wait_timeout = {_SECONDS}",))
    cursor = connection.cursor()
    try:
        for setting in settings:
            cursor.execute(setting)
        connection.commit()
    finally:
        cursor.close()


def _private_file(url: URL) -> None:
    """Make the file of a new SQLite database for its owner alone; its WAL takes the same mode."""
    if "uri" in url.query or not url.database:
        return
    path = Path(url.database)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise SessionError(
            f"The session database {path} cannot be made: {error.strerror or error}. "
            "Make its folder, or give another db_url."
        ) from error


def _dispose(engine: Engine, owner: int) -> None:
    if os.getpid() == owner:
        engine.dispose()
    else:
        _inherited.append(engine)
