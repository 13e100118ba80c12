"""The futures of an executor: one for each piece of work, however often that is asked for."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, InvalidStateError
from typing import Any

from autopilot_runtime.core.errors import SetupError

_REMEMBERED = 10_000  # how many that are done; whoever needs more keeps results where they last


class Claims:
    """Gives the future of a key, and knows those that are not done."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._lock = threading.Lock()
        self._by_key: dict[str, Future[Any]] = {}
        self._open: dict[Future[Any], None] = {}
        self.closed = False

    def claim(self, key: str) -> tuple[Future[Any], bool]:
        """The future, and whether it is a new one, whose work the caller has to begin."""
        with self._lock:
            if self.closed:
                raise SetupError(f"This {self._kind} was shut down: make a new one, or keep its `with` open longer.")
            known = self._by_key.get(key) if key else None
            if known is not None and not _in_vain(known):
                return known, False
            future: Future[Any] = Future()
            self._open[future] = None
            if key:
                self._by_key.pop(key, None)
                self._by_key[key] = future
                self._forget()
        future.add_done_callback(self._let_go)
        return future, True

    def close(self) -> list[Future[Any]]:
        """No more claims; gives the futures that are not done, newest first, so that none begins while they go."""
        with self._lock:
            self.closed = True
            return list(reversed(self._open))

    def _let_go(self, future: Future[Any]) -> None:
        with self._lock:
            self._open.pop(future, None)
        if future.cancelled():
            # Those who wait for several futures are only told so when the executor has taken note.
            future.set_running_or_notify_cancel()

    def _forget(self) -> None:
        if len(self._by_key) > _REMEMBERED:
            oldest = next((key for key, future in self._by_key.items() if future.done()), None)
            if oldest is not None:
                del self._by_key[oldest]


def settle(future: Future[Any], value: Any = None, error: Exception | None = None) -> None:
    """Give a future what came of its work, unless it was cancelled meanwhile."""
    with contextlib.suppress(InvalidStateError):
        future.set_result(value) if error is None else future.set_exception(error)


def _in_vain(future: Future[Any]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)
