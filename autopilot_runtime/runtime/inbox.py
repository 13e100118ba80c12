"""Messages for a running agent: queued from any thread, taken at the next step boundary, never lost."""

from __future__ import annotations

import threading

from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.message import printable
from autopilot_runtime.core.stream import Scope


class Inbox:
    """A thread-safe queue of user messages."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[str] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: str, scope: Scope) -> None:
        """Queue a message; returns at once."""
        text = printable(str(message))
        with self._lock:
            self._waiting.append(text)
            # Told inside the lock, so that the events have the order of the queue.
            scope.emit(EventType.USER_MESSAGE_QUEUED, message=text)

    def take(self, scope: Scope) -> list[str]:
        """Everything that waits, in order; from here on it is in the conversation."""
        with self._lock:
            taken, self._waiting = self._waiting, []
            for text in taken:
                scope.emit(EventType.USER_MESSAGE_INJECTED, message=text)
        return taken

    def clear(self) -> None:
        """Forget what waits (`reset`)."""
        with self._lock:
            self._waiting.clear()
