"""The log of all runs in one SQLite file: a listener of the event stream that never holds up or breaks a run."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from autopilot_runtime.core.errors import AutopilotError
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.session.logrows import About, Book, wanted
from autopilot_runtime.session.logschema import default_path, open_log

log = logging.getLogger("autopilot_runtime.log")
LIMIT = 20_000  # events that may wait
_GATHER = 0.1  # seconds: what comes within it is written in one transaction
_PATIENCE = 5.0
_FRAME = frozenset({EventType.START, EventType.RESUMED, EventType.RUN_ENDED, EventType.USAGE})
T = TypeVar("T")
_Entry = tuple[Event, About]


class RunLog:
    """A run log; `attach` it to any number of runtimes. One thread writes, in batches.

    What cannot be written is given up with one warning (`fault` says why); the runs go on.
    """

    def __init__(
        self, path: Path | str | None = None, *, limit: int = LIMIT, tell: Callable[[str], None] = log.warning
    ) -> None:
        self.path = Path(path).expanduser() if path is not None else default_path()
        self.fault: str | None = None
        self.dropped = 0
        self._limit = limit
        self._tell = tell
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._waiting: deque[_Entry] = deque()
        self._writing = False
        self._closing = False
        self._hurry = False
        self._thread: threading.Thread | None = None
        self._stops: list[Callable[[], None]] = []

    def attach(self, runtime: Any) -> Callable[[], None]:
        """Log the runs of a `Runtime` or `AsyncRuntime` from now on; gives back the stop."""
        agent = runtime.agent
        about = About(agent.name, str(agent.path), str(agent.work_dir), f"{agent.model.provider}/{agent.model.name}")
        stop = _listen(runtime, lambda event: self._take(event, about))
        self._stops.append(stop)
        return stop

    def flush(self, timeout: float = _PATIENCE) -> bool:
        """Wait until everything so far is written; whether it is."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._waiting and not self._writing, timeout)

    def close(self, timeout: float = _PATIENCE) -> None:
        """Write what waits, and end."""
        while self._stops:
            self._stops.pop()()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and os.getpid() == self._pid:
            thread.join(timeout)
        atexit.unregister(self.close)

    # ------------------------------------------------------------ the listener: returns at once

    def _take(self, event: Event, about: About) -> None:
        # After a fork there is no thread in the child, and the lock may never be free again.
        if self.fault is not None or not wanted(event) or os.getpid() != self._pid:
            return
        with self._changed:
            if self._closing:
                return
            if len(self._waiting) >= self._limit and event.type not in _FRAME:
                self.dropped += 1
                return
            self._waiting.append((event, about))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="autopilot-log", daemon=True)
                self._thread.start()
                atexit.register(self.close)
            self._changed.notify_all()

    # ------------------------------------------------------------ the thread

    def _work(self) -> None:
        try:
            with contextlib.closing(self._patiently(lambda: open_log(self.path))) as db:
                book = Book(db)
                while batch := self._batch():
                    self._write(db, book, batch)
        except (sqlite3.Error, OSError, AutopilotError, ValueError) as error:
            self._give_up(error)

    def _batch(self) -> list[_Entry]:
        """What waits, after a moment for more; empty at the end."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._closing)
            until = time.monotonic() + _GATHER
            self._changed.wait_for(lambda: self._closing or self._hurry or time.monotonic() >= until, _GATHER)
            batch, self._hurry = list(self._waiting), False
            self._waiting.clear()
            self._writing = bool(batch)
            return batch

    def _write(self, db: sqlite3.Connection, book: Book, batch: list[_Entry]) -> None:
        self._patiently(lambda: db.execute("BEGIN IMMEDIATE"))
        try:
            for event, about in batch:
                book.write(event, about)
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                db.execute("ROLLBACK")
            raise

    def _patiently(self, action: Callable[[], T]) -> T:
        """What the action gives; who is at work on the file for long is waited for, until the end."""
        while True:
            try:
                return action()
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or self._closing:
                    raise

    def _give_up(self, error: Exception) -> None:
        self.fault = f"The run log {self.path} cannot be written ({error}); runs go on without it."
        self._tell(self.fault)
        with self._changed:
            self._waiting.clear()
            self._writing = False
            self._changed.notify_all()


def _listen(runtime: Any, listener: Callable[[Event], None]) -> Callable[[], None]:
    inner = getattr(runtime, "_async", runtime)
    stop: Callable[[], None] = inner._kit.stream.listen(listener)
    return stop
