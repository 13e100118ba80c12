"""Sessions in a database, SQLite, PostgreSQL, MySQL or MariaDB: one that blocks and one that is awaited."""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopilot_runtime.core.errors import MissingExtra, SessionError, SetupError
from autopilot_runtime.session.fork import nested_id
from autopilot_runtime.session.record import as_messages

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from autopilot_runtime.session.sqlstore import SqlStore

PATIENCE = 20.0


class DatabaseSession:
    """The session `session_id` in the database at `db_url` (a URL, or an engine of SQLAlchemy that stays yours).

    The tables are made and upgraded by themselves. A step is one short transaction; when the database is locked or
    away it is tried again for `patience` seconds. The lease of the one writer is taken by the first `append` (or
    `acquire`) and let go by `save`, `reset` or `close`.
    """

    blocking = True

    def __init__(
        self,
        session_id: str,
        db_url: str | Engine,
        agent_name: str = "agent",
        *,
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE,
        parent: str | None = None,
    ) -> None:
        _needs_sqlalchemy()
        # SQLAlchemy is optional and slow to import, so what stands on it is imported here.
        from autopilot_runtime.session.sqldoor import SyncDoor, finished
        from autopilot_runtime.session.sqlengine import parsed
        from autopilot_runtime.session.sqlstore import SqlStore
        from autopilot_runtime.session.sqlwrite import Name

        self.session_id = session_id
        self.agent_name = agent_name
        self._guard = threading.RLock()
        self._finish = finished
        door = SyncDoor(parsed(db_url) if isinstance(db_url, str) else db_url)
        name = Name(session_id, agent_name, parent)
        self._store: SqlStore = SqlStore(name, door, clock=clock, patience=patience)
        finished(self._store.prepare())

    def __repr__(self) -> str:
        return f"DatabaseSession({self.session_id[:80]!r}, {self._store.door.place!r})"

    @property
    def places(self) -> tuple[Path, ...]:
        """The files of the database, where it is SQLite: a session's own, wherever they are."""
        return self._store.door.files

    def load(self) -> list[dict[str, Any]]:
        """The messages."""
        with self._guard:
            return self._finish(self._store.load())

    def extra(self) -> dict[str, Any]:
        """The runtime's own state, as a copy."""
        with self._guard:
            return copy.deepcopy(self._finish(self._store.look()).extra)

    def exists(self) -> bool:
        """Whether anything of this session is stored."""
        return self.metadata() is not None

    def metadata(self) -> dict[str, Any] | None:
        """Everything but messages and extra state, with the number of messages; None when there is no session."""
        with self._guard:
            return self._finish(self._store.metadata())

    def list_sessions(self, *, nested: bool = False) -> list[dict[str, Any]]:
        """The metadata of every session in the database, newest first; with `nested` also those of sub-agents."""
        with self._guard:
            return self._finish(self._store.listed(nested=nested))

    def acquire(self) -> None:
        """Become the one writer, or raise `SessionConflict`. `append` and `save` do it when it was not done."""
        with self._guard:
            self._finish(self._store.acquire())

    def append(
        self, messages: Sequence[Mapping[str, Any]], *, extra: Mapping[str, Any] | None = None, durable: bool = True
    ) -> None:
        """Add what one step produced; it is committed when this returns. Keys of `extra` replace, a None removes."""
        with self._guard:
            self._finish(self._store.append(messages, extra=extra, durable=durable))

    def save(self, messages: list[dict[str, Any]], *, extra: Mapping[str, Any] | None = None) -> None:
        """Make the stored messages these, and stop being the writer."""
        with self._guard:
            self._finish(self._store.save(messages, extra=extra))

    def finish(self, *, extra: Mapping[str, Any] | None = None, messages: object = None) -> None:
        """In place of `save`, when everything was appended: costs what is new. Stops being the writer."""
        with self._guard:
            self._finish(self._store.finish(extra=extra))

    def reset(self) -> None:
        """Delete the session and those nested in it."""
        with self._guard:
            self._finish(self._store.reset())

    def fork(self, at: int | None = None, session_id: str | None = None) -> DatabaseSession:
        """A new, independent session with the first `at` messages (default: all)."""
        with self._guard:
            return self._of(self._finish(self._store.fork(at, session_id)))

    def nested(self, name: str) -> DatabaseSession:
        """A session of its own that belongs to this one and goes with it."""
        return self._of(_nested(self._store, name))

    def close(self) -> None:
        """Stop being the writer and let go of the connections; the session can be used again."""
        with self._guard:
            self._finish(self._store.close())

    def _of(self, store: SqlStore) -> DatabaseSession:
        made = object.__new__(DatabaseSession)
        made.session_id, made.agent_name = store.name.session_id, store.name.agent_name
        made._guard, made._finish, made._store = threading.RLock(), self._finish, store
        return made


class AsyncDatabaseSession:
    """The session `session_id` in the application's own `AsyncEngine`, which is never disposed of here.

    `await open()` reads it; `load` and `extra` then give what is known, all else is awaited.
    """

    def __init__(
        self,
        session_id: str,
        engine: AsyncEngine,
        agent_name: str = "agent",
        *,
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE,
        parent: str | None = None,
    ) -> None:
        _needs_sqlalchemy()
        # As above: SQLAlchemy is optional and slow to import.
        from autopilot_runtime.session.sqldoor import AsyncDoor
        from autopilot_runtime.session.sqlstore import SqlStore
        from autopilot_runtime.session.sqlwrite import Name

        name = Name(session_id, agent_name, parent)
        self._set(SqlStore(name, AsyncDoor(engine), clock=clock, patience=patience))

    def _set(self, store: SqlStore) -> None:
        self.session_id, self.agent_name = store.name.session_id, store.name.agent_name
        self._store = store
        self._messages: list[dict[str, Any]] | None = None
        self._guard = asyncio.Lock()

    def __repr__(self) -> str:
        return f"AsyncDatabaseSession({self.session_id[:80]!r}, {self._store.door.place!r})"

    @property
    def places(self) -> tuple[Path, ...]:
        """The files of the database, where it is SQLite: a session's own, wherever they are."""
        return self._store.door.files

    async def open(self) -> None:
        """Make or upgrade the tables and read the session; also after a conflict, to know what is stored now."""
        async with self._guard:
            await self._store.prepare()
            self._messages = await self._store.load()

    def load(self) -> list[dict[str, Any]]:
        """The messages known since `open`, with those appended since."""
        return as_messages(self._opened())

    def extra(self) -> dict[str, Any]:
        """The runtime's own state as known, as a copy."""
        self._opened()
        known = self._store.known
        return {} if known is None else copy.deepcopy(known.extra)

    def _opened(self) -> list[dict[str, Any]]:
        if self._messages is None:
            raise SessionError(f"Session {self.session_id[:80]!r} was not opened: await session.open() first.")
        return self._messages

    async def exists(self) -> bool:
        """Whether anything of this session is stored."""
        return await self.metadata() is not None

    async def metadata(self) -> dict[str, Any] | None:
        """Everything but messages and extra state, with the number of messages; None when there is no session."""
        async with self._guard:
            return await (await self._prepared()).metadata()

    async def list_sessions(self, *, nested: bool = False) -> list[dict[str, Any]]:
        """The metadata of every session in the database, newest first; with `nested` also those of sub-agents."""
        async with self._guard:
            return await (await self._prepared()).listed(nested=nested)

    async def acquire(self) -> None:
        """Become the one writer, or raise `SessionConflict`. `append` and `save` do it when it was not done."""
        async with self._guard:
            await (await self._prepared()).acquire()

    async def append(
        self, messages: Sequence[Mapping[str, Any]], *, extra: Mapping[str, Any] | None = None, durable: bool = True
    ) -> None:
        """Add what one step produced; it is committed when this returns. Keys of `extra` replace, a None removes."""
        async with self._guard:
            await (await self._prepared()).append(messages, extra=extra, durable=durable)
            if self._messages is not None:
                self._messages += as_messages(messages)

    async def save(self, messages: list[dict[str, Any]], *, extra: Mapping[str, Any] | None = None) -> None:
        """Make the stored messages these, and stop being the writer."""
        async with self._guard:
            await (await self._prepared()).save(messages, extra=extra)
            self._messages = as_messages(messages)

    async def finish(self, *, extra: Mapping[str, Any] | None = None, messages: object = None) -> None:
        """In place of `save`, when everything was appended: costs what is new. Stops being the writer."""
        async with self._guard:
            await (await self._prepared()).finish(extra=extra)

    async def reset(self) -> None:
        """Delete the session and those nested in it."""
        async with self._guard:
            await (await self._prepared()).reset()
            self._messages = []

    async def fork(self, at: int | None = None, session_id: str | None = None) -> AsyncDatabaseSession:
        """A new, independent session with the first `at` messages (default: all), opened."""
        async with self._guard:
            return await _opened(await (await self._prepared()).fork(at, session_id))

    async def nested(self, name: str) -> AsyncDatabaseSession:
        """A session of its own that belongs to this one and goes with it, opened."""
        return await _opened(_nested(self._store, name))

    async def close(self) -> None:
        """Stop being the writer. The engine is the application's and stays open."""
        async with self._guard:
            await self._store.close()

    async def _prepared(self) -> SqlStore:
        if not self._store.prepared:
            await self._store.prepare()
        return self._store


def database_session(session_id: str, agent_name: str, target: Any) -> DatabaseSession | AsyncDatabaseSession:
    """The session of that kind of engine or URL."""
    _needs_sqlalchemy()
    # As above: SQLAlchemy is optional and slow to import.
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    if isinstance(target, AsyncEngine):
        return AsyncDatabaseSession(session_id, target, agent_name)
    if isinstance(target, str | Engine):
        return DatabaseSession(session_id, target, agent_name)
    raise SetupError(
        'session="db" needs db_url=: a database URL such as sqlite:///./sessions.db or '
        f"postgresql://user:password@host/name, or an engine of SQLAlchemy; not {type(target).__name__}."
    )


async def _opened(store: SqlStore) -> AsyncDatabaseSession:
    made = object.__new__(AsyncDatabaseSession)
    made._set(store)
    await made.open()
    return made


def _nested(store: SqlStore, name: str) -> SqlStore:
    # As above: SQLAlchemy is optional and slow to import.
    from autopilot_runtime.session.sqlwrite import Name

    own = store.name
    return store.beside(Name(nested_id(own.session_id, name), own.agent_name, parent=own.session_id))


def _needs_sqlalchemy() -> None:
    if importlib.util.find_spec("sqlalchemy") is None:
        raise MissingExtra('session="db"', "SQLAlchemy", "db")
