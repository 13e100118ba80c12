"""A session that lives as long as its process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from autopilot_runtime.session.fork import already, cut, foreign, fork_id, kept, nested_id
from autopilot_runtime.session.record import as_messages, copied, family, update


class InMemorySession:
    """The default session: what is saved is handed back by `load`, in this process only."""

    def __init__(
        self,
        session_id: str = "default",
        agent_name: str = "agent",
        *,
        clock: Callable[[], float] = time.time,
        parent: str | None = None,
    ) -> None:
        self.session_id = session_id
        self.agent_name = agent_name
        self.parent = parent
        self._clock = clock
        self._lock = threading.Lock()
        # The sessions that came out of one another; a fork lives as long as somebody holds it.
        self._beside: WeakValueDictionary[str, InMemorySession] = WeakValueDictionary({session_id: self})
        self._nested: dict[str, InMemorySession] = {}
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
        update(self._extra, extra)
        self._updated = self._clock()
        self._created = self._updated if self._created is None else self._created

    def extra(self) -> dict[str, Any]:
        """The runtime's own state, as a copy."""
        with self._lock:
            copy: dict[str, Any] = copied(self._extra)
            return copy

    def reset(self) -> None:
        """Forget everything, also what is nested in it."""
        with self._lock:
            for one in self._nested.values():
                one.reset()
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
                **family(self.parent),
            }

    def list_sessions(self, *, nested: bool = False) -> list[dict[str, Any]]:
        """The metadata of this session and its forks, newest first; with `nested` also those of sub-agents."""
        found = [meta for one in list(self._beside.values()) if (meta := one.metadata()) is not None]
        found = [one for one in found if nested or "parent" not in one]
        return sorted(found, key=lambda one: (-one["updated_at"], one["session_id"]))

    def fork(self, at: int | None = None, session_id: str | None = None) -> InMemorySession:
        """A new, independent session with the first `at` messages (default: all)."""
        name = fork_id(self.session_id, session_id)
        there = self._beside.get(name)
        if there is not None and there.exists():
            raise already(name)
        messages = self.load()
        made = self._another(name)
        made.save(messages[: cut(len(messages), at)], extra=kept(self.extra()))
        return made

    def nested(self, name: str) -> InMemorySession:
        """A session of its own that belongs to this one and goes with it."""
        full = nested_id(self.session_id, name)
        with self._lock:
            if full not in self._nested:
                if full in self._beside:
                    raise foreign(full, self.session_id)
                self._nested[full] = self._another(full, parent=self.session_id)
            return self._nested[full]

    def _another(self, session_id: str, *, parent: str | None = None) -> InMemorySession:
        made = InMemorySession(session_id, self.agent_name, clock=self._clock, parent=parent)
        self._beside[session_id] = made
        made._beside = self._beside
        return made

    def acquire(self) -> None:
        """Nothing to do: nobody else can write to it."""

    def close(self) -> None:
        """Nothing to do: there is nothing to release."""
