"""The two ways to a connection: one that blocks, one that is awaited. What happens on it is the same function."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from autopilot_runtime.core.errors import SessionError, SetupError
from autopilot_runtime.session.sqlengine import Connected, connected, files_of, inherit, is_in_memory, shown

T = TypeVar("T")
Work = Callable[[Connection], T]

# Several statements that must see one moment; SQLite's driver begins a transaction only for a write.
_SNAPSHOT = "REPEATABLE READ"
# Seconds that a cancelled transaction has to come to its end.
_END = 1.0


class Door(Protocol):
    """Runs work on a connection, in a transaction of its own."""

    place: str
    secret: str
    files: tuple[Path, ...]

    @property
    def engine(self) -> Engine:
        """The engine behind it, in its blocking form."""
        ...

    async def run(self, work: Work[T], *, snapshot: bool = False) -> T: ...

    async def pause(self, seconds: float) -> None: ...

    def again(self) -> Door:
        """Another door to the same place, to be closed by itself."""
        ...

    def close(self) -> None: ...


class SyncDoor:
    """Blocks its thread. Its coroutines never wait, so `finished` can run them without a loop."""

    def __init__(self, target: URL | Engine) -> None:
        self._target = target
        url = target if isinstance(target, URL) else target.url
        self.place, self.secret, self.files = shown(url), str(url.password or ""), files_of(url)
        self._owner = os.getpid()
        self._connected: Connected | None = None
        self._never = threading.Event()

    async def run(self, work: Work[T], *, snapshot: bool = False) -> T:
        """Do it now, on this thread."""
        with self.engine.connect() as connection:
            if snapshot and connection.dialect.name != "sqlite":
                connection.execution_options(isolation_level=_SNAPSHOT)
            with connection.begin():
                return work(one_moment(connection) if snapshot else connection)

    async def pause(self, seconds: float) -> None:
        """Wait on this thread."""
        self._never.wait(seconds)

    def again(self) -> SyncDoor:
        """One more user of the same engine."""
        door = SyncDoor(self._target)
        door._connected = self._connected
        return door

    def close(self) -> None:
        """Let go of the connections; the next call makes new ones. A database in memory is kept: it would be gone."""
        if isinstance(self._target, URL) and not is_in_memory(self._target):
            self._connected = None

    @property
    def engine(self) -> Engine:
        """The application's, or the one that all sessions of this process in that database share."""
        if isinstance(self._target, Engine):
            if self._owner != os.getpid():
                raise _forked()
            return self._target
        if self._connected is not None and self._connected.pid != os.getpid():
            inherit(self._connected)
            self._connected = None
        if self._connected is None:
            self._connected = connected(self._target)
        return self._connected.engine


class AsyncDoor:
    """Awaits the application's engine, which stays the application's."""

    def __init__(self, engine: AsyncEngine) -> None:
        if not isinstance(engine, AsyncEngine):
            raise SetupError(f"AsyncDatabaseSession takes an AsyncEngine of SQLAlchemy, not {type(engine).__name__}.")
        self._engine = engine
        self._owner = os.getpid()
        self.place, self.secret, self.files = shown(engine.url), str(engine.url.password or ""), files_of(engine.url)

    @property
    def engine(self) -> Engine:
        """What the application's engine stands on."""
        return self._engine.sync_engine

    async def run(self, work: Work[T], *, snapshot: bool = False) -> T:
        """Do it on a connection of the engine. Whoever is cancelled waits for the short end of it.

        A driver that is broken off in the middle may leave a connection behind that keeps its locks.
        """
        if self._owner != os.getpid():
            raise _forked()
        task = asyncio.ensure_future(self._whole(work, snapshot=snapshot))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_heard)
            await asyncio.wait([task], timeout=_END)
            task.cancel()
            raise

    async def _whole(self, work: Work[T], *, snapshot: bool) -> T:
        async with self._engine.connect() as connection:
            if snapshot and connection.dialect.name != "sqlite":
                await connection.execution_options(isolation_level=_SNAPSHOT)
            async with connection.begin():
                return await connection.run_sync(lambda c: work(one_moment(c) if snapshot else c))

    async def pause(self, seconds: float) -> None:
        """Wait without holding anything up."""
        await asyncio.sleep(seconds)

    def again(self) -> AsyncDoor:
        """This one: it holds nothing."""
        return self

    def close(self) -> None:
        """Nothing to do: the engine is the application's."""


def one_moment(connection: Connection) -> Connection:
    """The connection, inside a transaction also where reading does not begin one."""
    if connection.dialect.name == "sqlite":
        raw: Any = connection.connection.driver_connection
        if not raw.in_transaction:
            connection.exec_driver_sql("BEGIN")
    return connection


def _heard(task: asyncio.Task[Any]) -> None:
    """Take note of how it ended, though nobody waits for it any more."""
    if not task.cancelled():
        task.exception()


def finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("a coroutine of a blocking session has waited")


def _forked() -> SessionError:
    return SessionError(
        "This session was made before a fork, with an engine of the parent process. Make an engine and a session "
        "of the child's own."
    )
