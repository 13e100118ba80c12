"""A session by the name of its backend."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.protocols import SessionStore
from autopilot_runtime.session.file import FileSession
from autopilot_runtime.session.memory import InMemorySession
from autopilot_runtime.session.sql import database_session

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

Backend = Literal["memory", "file", "db"]
_BACKENDS = ("memory", "file", "db")


def create_session(
    backend: str = "memory",
    session_id: str = "default",
    agent_name: str = "agent",
    session_dir: Path | str | None = None,
    db_url: str | Engine | AsyncEngine | None = None,
) -> SessionStore:
    """The session store of that backend; one that cannot be written to is refused at once.

    `db_url` may also be an engine of your own; an `AsyncEngine` gives a session whose calls are awaited.
    """
    match backend:
        case "memory":
            return InMemorySession(session_id, agent_name)
        case "file":
            session = FileSession(session_id, agent_name, session_dir)
            session.check_writable()
            return session
        case "db":
            # The awaited one keeps to the protocol's second form, which types cannot say.
            return cast(SessionStore, database_session(session_id, agent_name, db_url))
    near = difflib.get_close_matches(str(backend)[:40], _BACKENDS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise SetupError(f"No session backend {str(backend)[:40]!r}; there are memory, file and db.{hint}")
