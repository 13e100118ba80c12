"""Messages for a running agent: queued from any thread, taken at the next step boundary, never lost."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.message import printable
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.runtime.keeper import Keeper, Pending, waited

_KEY = "inbox."  # of the session's extra state: one key for each message, so keeping one costs the same for all


class Inbox:
    """A thread-safe queue of user messages. What `put` took is in the session until the conversation has it."""

    def __init__(self, keeper: Keeper, *, mask: Callable[[str], str]) -> None:
        self._lock = threading.Lock()
        self._keeper = keeper
        self._mask = mask
        self.reload()

    def reload(self) -> None:
        """Take what the session holds."""
        extra = self._keeper.extra()
        self._waiting = [(key, str(extra[key])) for key in sorted(extra) if key.startswith(_KEY)]
        self._number = int(self._waiting[-1][0].removeprefix(_KEY)) if self._waiting else 0
        self._taken: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: str, scope: Scope) -> Awaitable[None] | None:
        """Queue a message. It is kept when this returns (or was awaited): a crash does not lose it."""
        text = self._mask(printable(str(message)))
        return waited(self._keeper.when_open(lambda: self._put(text, scope)))

    def _put(self, text: str, scope: Scope) -> Pending:
        with self._lock:
            self._number += 1
            key = f"{_KEY}{self._number:09d}"
            kept = self._keeper.put({key: text}, let_go=not self._keeper.in_use)
            self._waiting.append((key, text))
            # Told inside the lock, so that the events have the order of the queue.
            scope.emit(EventType.USER_MESSAGE_QUEUED, message=text)
            return kept

    def take(self, scope: Scope) -> list[str]:
        """Everything that waits, in order; the next message of the conversation must hold it."""
        with self._lock:
            taken, self._waiting = self._waiting, []
            self._taken += taken
            for _, text in taken:
                scope.emit(EventType.USER_MESSAGE_INJECTED, message=text)
        return [text for _, text in taken]

    @contextmanager
    def settling(self) -> Iterator[dict[str, None]]:
        """The extra state to store together with the message that holds what was taken."""
        with self._lock:
            taken, self._taken = self._taken, []
        try:
            yield {key: None for key, _ in taken}
        except BaseException:
            with self._lock:
                self._waiting[:0] = taken  # the conversation does not hold them: they wait for its next message
            raise

    def clear(self) -> None:
        """Forget what waits (`reset`)."""
        with self._lock:
            self._waiting.clear()
            self._taken.clear()
