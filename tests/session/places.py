"""Where sessions of each kind are, for stories that are told of all of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from autopilot_runtime.session.file import FileSession
from autopilot_runtime.session.memory import InMemorySession
from autopilot_runtime.session.sql import AsyncDatabaseSession, DatabaseSession
from tests.contracts.session_contract import Awaited

ASYNC = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "mysql": "mysql+aiomysql"}


class MemoryPlace:
    """One process."""

    def open(self, session_id: str = "team/a", **more: Any) -> Any:
        """A new session."""
        return InMemorySession(session_id, **more)


class FilePlace:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, session_id: str = "team/a", **more: Any) -> Any:
        """A store of its own on the same file."""
        return FileSession(session_id, "agent", self.folder, **more)


class DatabasePlace:
    """A database, by its URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def open(self, session_id: str = "team/a", **more: Any) -> Any:
        """A store of its own in the same database."""
        return DatabaseSession(session_id, self.url, **more)


class AsyncPlace:
    """A database, by an engine of the application's, which is disposed of by `close`."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.engine = async_engine(url)

    def open(self, session_id: str = "team/a", **more: Any) -> Any:
        """A store of its own in the same engine."""
        return Awaited(AsyncDatabaseSession(session_id, self.engine, **more), self.runner)

    def close(self) -> None:
        """What the application does."""
        self.runner.run(self.engine.dispose())
        self.runner.close()


def async_engine(url: str) -> AsyncEngine:
    """An engine as an application makes it, of the URL of a blocking one."""
    kind, _, rest = url.partition(":")
    return create_async_engine(f"{ASYNC[kind]}:{rest}")
