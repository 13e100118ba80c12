"""Feeds loggers beside a run: in order, off its thread, and with no way to stop it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from autopilot_runtime.core.event import Event
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.logger import Logger

if TYPE_CHECKING:
    from autopilot_runtime.training.contextlog import ContextEntry

log = logging.getLogger("autopilot_runtime.training")
_ROOM = 20_000
_Call = tuple[str, tuple[Any, ...], Mapping[str, Any]]


class Tracking:
    """All loggers of one run. A logger that raises is reported once, through `tell`, and asked again next time; one
    that does not answer is left behind when the run ends. What it missed, `logger.export` gives it."""

    def __init__(
        self,
        loggers: Logger | Iterable[Logger] | None = None,
        *,
        tell: Callable[[str], object] = log.warning,
        patience: float = 15.0,
        room: int = _ROOM,
    ) -> None:
        listed = [loggers] if isinstance(loggers, Logger) else list(loggers or ())
        for one in listed:
            if not isinstance(one, Logger):
                raise TrainingError(f"{type(one).__name__} is no Logger: subclass autopilot_runtime.training.Logger")
        self.patience = patience
        self.troubles: list[str] = []
        self._tell = tell
        self._lines = [_Line(one, self._trouble, room) for one in listed]

    def start(self, run: Mapping[str, Any]) -> None:
        """A run begins; call it on the thread that trains."""
        for line in self._lines:
            line.start(run)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Settings of the run."""
        self._put("log_params", dict(params))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int, phase: str = "") -> None:
        """Numbers of an epoch."""
        self._put("log_metrics", dict(metrics), step=step, phase=phase)

    def log_event(self, event: Event) -> None:
        """Something happened."""
        self._put("log_event", event)

    def log_context(self, entry: ContextEntry) -> None:
        """Something was decided."""
        self._put("log_context", entry)

    def finish(self, status: str) -> None:
        """The run ended. Waits until all is delivered, but not longer than `patience` in all."""
        self._put("finish", status)
        until = time.monotonic() + self.patience
        for line in self._lines:
            line.end(max(0.0, until - time.monotonic()))

    def _put(self, method: str, *given: Any, **named: Any) -> None:
        for line in self._lines:
            line.put((method, given, named))

    def _trouble(self, text: str) -> None:
        self.troubles.append(text)
        self._tell(text)


class _Line:
    """One logger, its queue, and the thread that empties it."""

    def __init__(self, logger: Logger, trouble: Callable[[str], None], room: int) -> None:
        self.logger = logger
        self.name = logger.name or type(logger).__name__
        self._trouble, self._room = trouble, room
        self._wants = {
            name
            for name in ("log_params", "log_metrics", "log_event", "log_context", "finish")
            if getattr(type(logger), name) is not getattr(Logger, name)
        }
        self._more = threading.Condition()
        self._calls: deque[_Call] = deque()
        self._busy = False
        self._thread: threading.Thread | None = None
        self._failed = self._dropped = 0

    def start(self, run: Mapping[str, Any]) -> None:
        self._failed = self._dropped = 0
        self._do(("start", (run,), {}))

    def put(self, call: _Call) -> None:
        if call[0] not in self._wants:
            return
        with self._more:
            if len(self._calls) >= self._room and call[0] != "finish":
                self._dropped += 1
                return
            self._calls.append(call)
            if self._thread is None:
                # A daemon: one that hangs in its tracker must not keep the program from ending.
                self._thread = threading.Thread(target=self._serve, name=f"logger {self.name}", daemon=True)
                self._thread.start()
            self._more.notify_all()

    def end(self, seconds: float) -> None:
        with self._more:
            done = self._more.wait_for(lambda: not self._calls and not self._busy, seconds)
            left = len(self._calls) + self._busy
            if not done:
                self._calls.clear()
        if not done:
            self._trouble(f"{self.name} has not answered in time: {left} calls were not made. {self._remedy()}")
        elif self._failed > 1 or self._dropped:
            self._trouble(f"{self.name} missed {self._failed + self._dropped} calls of this run. {self._remedy()}")

    def _serve(self) -> None:
        while True:
            with self._more:
                self._busy = False
                self._more.notify_all()
                while not self._calls:
                    if not self._more.wait(_IDLE):
                        self._thread = None
                        return
                call = self._calls.popleft()
                self._busy = True
            self._do(call)

    def _do(self, call: _Call) -> None:
        method, given, named = call
        try:
            getattr(self.logger, method)(*given, **named)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise
            self._failed += 1
            if self._failed == 1:
                self._trouble(
                    f"{self.name} failed at {method}: {type(error).__name__}: {_short(error)}. The run goes on."
                )

    def _remedy(self) -> str:
        return "logger.export(record, experiment) gives it what it does not have."


_IDLE = 5.0  # seconds after which a thread with nothing to do ends


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:299]}…"
