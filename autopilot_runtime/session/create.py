"""A session by the name of its backend."""

from __future__ import annotations

import difflib
import importlib.util
from pathlib import Path
from typing import Literal

from autopilot_runtime.core.errors import MissingExtra, SetupError
from autopilot_runtime.core.protocols import SessionStore
from autopilot_runtime.session.file import FileSession
from autopilot_runtime.session.memory import InMemorySession

Backend = Literal["memory", "file", "db"]
_BACKENDS = ("memory", "file", "db")


def create_session(
    backend: str = "memory",
    session_id: str = "default",
    agent_name: str = "agent",
    session_dir: Path | str | None = None,
    db_url: str | None = None,
) -> SessionStore:
    """The session store of that backend; a file session makes its folder and refuses one it cannot write to."""
    match backend:
        case "memory":
            return InMemorySession(session_id, agent_name)
        case "file":
            session = FileSession(session_id, agent_name, session_dir)
            session.check_writable()
            return session
        case "db":
            if importlib.util.find_spec("sqlalchemy") is None:
                raise MissingExtra('session="db"', "SQLAlchemy", "db")
            raise SetupError('session="db" is not in this version yet; use "file", which survives a restart, too.')
    near = difflib.get_close_matches(str(backend)[:40], _BACKENDS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise SetupError(f"No session backend {str(backend)[:40]!r}; there are memory, file and db.{hint}")
