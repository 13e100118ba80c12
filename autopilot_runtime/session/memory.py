"""A session that lives as long as its process."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autopilot_runtime.session.record import as_messages, merged


class InMemorySession:
    """The default session: what is saved is handed back by `load`, in this process only."""

    def __init__(
        self, session_id: str = "default", agent_name: str = "agent", *, clock: Callable[[], float] = time.time
    ) -> None:
        self.session_id = session_id
        self.agent_name = agent_name
        self._clock = clock
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._extra: dict[str, Any] = {}
        self._created: float | None = None
        self._updated = 0.0

    def load(self) -> list[dict[str, Any]]:
        """The messages saved so far."""
        with self._lock:
            return as_messages(self._messages)

    def save(self, messages: list[dict[str, Any]], *, extra: Mapping[str, Any] | None = None) -> None:
        """Replace the messages."""
        with self._lock:
            self._messages = as_messages(messages)
            self._touch(extra)

    def append(
        self, messages: Sequence[Mapping[str, Any]], *, extra: Mapping[str, Any] | None = None, durable: bool = True
    ) -> None:
        """Add messages; keys of `extra` replace what is stored under them, a None removes."""
        with self._lock:
            self._messages += as_messages(messages)
            self._touch(extra)

    def _touch(self, extra: Mapping[str, Any] | None) -> None:
        self._extra = merged(self._extra, copy.deepcopy(dict(extra or {})))
        self._updated = self._clock()
        self._created = self._updated if self._created is None else self._created

    def extra(self) -> dict[str, Any]:
        """The runtime's own state, as a copy."""
        with self._lock:
            return copy.deepcopy(self._extra)

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._clear()

    def exists(self) -> bool:
        """Whether anything was saved since the start or the last reset."""
        return self._created is not None

    def metadata(self) -> dict[str, Any] | None:
        """Everything but the messages; None for a session never saved."""
        with self._lock:
            if self._created is None:
                return None
            return {
                "session_id": self.session_id,
                "agent_name": self.agent_name,
                "created_at": self._created,
                "updated_at": self._updated,
                "messages": len(self._messages),
            }

    def acquire(self) -> None:
        """Nothing to do: nobody else can write to it."""

    def close(self) -> None:
        """Nothing to do: there is nothing to release."""
