"""Where conversations are kept, from the flags; and which of them is meant by what a person types."""

from __future__ import annotations

import difflib
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopilot_runtime.cli import safe
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.ids import slug
from autopilot_runtime.session.create import create_session

DB_ENV = "AUTOPILOT_DB_URL"
_ANY = "autopilot"  # lists look at all sessions of a place, through a store that has to have some id


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of sessions, or a database."""

    session_dir: Path | None = None
    db_url: str | None = None

    def __post_init__(self) -> None:
        if self.session_dir is not None and self.db_url is not None and self.db_url != os.environ.get(DB_ENV):
            raise SetupError("--session-dir and --db-url exclude each other: sessions are kept in one place.")

    @property
    def backend(self) -> str:
        """What `create_session` calls it; a folder that was given outranks a database from the environment."""
        return "db" if self.db_url is not None and self.session_dir is None else "file"

    @property
    def flags(self) -> str:
        """What to type to mean this place again; a database's address is not repeated: it may hold a password."""
        if self.session_dir is not None:
            return f" --session-dir {shlex.quote(str(self.session_dir))}"
        return "" if self.db_url in (None, os.environ.get(DB_ENV)) else " --db-url URL"

    def open(self, session_id: str, agent_name: str = "agent") -> Any:
        """The store of one session."""
        url = self.db_url if self.backend == "db" else None
        return create_session(self.backend, session_id, agent_name, self.session_dir, url)

    def sessions(self) -> list[dict[str, Any]]:
        """The metadata of all sessions, newest first."""
        store = self._reader(_ANY)
        try:
            found: list[dict[str, Any]] = store.list_sessions()
        finally:
            store.close()
        return found

    def _reader(self, session_id: str) -> Any:
        """A store to read from: unlike `open`, it makes no folder."""
        if self.backend == "db":
            return self.open(session_id)
        from autopilot_runtime.session.file import FileSession

        return FileSession(session_id, "agent", self.session_dir)

    def find(self, typed: str) -> dict[str, Any]:
        """The metadata of the session with this id, or with the one id that begins so."""
        known = self.sessions()
        exact = [one for one in known if one["session_id"] == typed]
        found = exact or [one for one in known if typed and one["session_id"].startswith(typed)]
        if len(found) == 1:
            return found[0]
        ids = [str(one["session_id"]) for one in (found or known)]
        shown = safe.one_line(typed, 80)
        if found:
            raise SetupError(f"{shown!r} is the beginning of {len(ids)} sessions: {_some(ids)}. Type more of it.")
        near = difflib.get_close_matches(typed, ids, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise SetupError(f"There is no session {shown!r}.{hint} `autopilot sessions list` shows them.")

    def read(self, session_id: str) -> Any:
        """The store of a session that is there, to read from."""
        return self._reader(session_id)


def fresh_id(agent: str, *, now: float | None = None) -> str:
    """`coder-20261128-141500-a1b2`: readable, in the order of time, and never given twice."""
    when = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    return f"{slug(agent, 40)}-{when}-{os.urandom(2).hex()}"


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - 4} more" if len(ids) > 4 else ""
    return ", ".join(safe.one_line(one, 80) for one in ids[:4]) + more
