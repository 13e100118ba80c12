"""Workers of the Monty interpreter: one shared supply per host process, one worker for the life of a sandbox."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Any

from autopilot_runtime.core.bridge import in_thread, threads
from autopilot_runtime.core.errors import MissingExtra
from autopilot_runtime.sandbox.monty_text import ERRORS, Sources

# In case everything else fails, the worker itself ends after this much own time in one block. The limit of the
# block is kept by the host, which kills.
_LAST_RESORT_SECONDS = 900.0
_MOST_WORKERS = 1_000
_NO_LIMIT = 2**40
_RECURSION = 500
VALUE, WORDS = "__value__", "__words__"
_ALIASES = ", ".join(f"{theirs.partition('.')[2]} as {name}" for name, theirs in ERRORS.items())
# Fed before every block, so that no block can change for the next one what these names mean.
PRELUDE = f"""\
from decimal import {_ALIASES}
def __show__(value):
    if type(value) in (bool, int, float, str, bytes, list, tuple, dict, set, frozenset):
        {VALUE}(value)
    elif value is not None:
        {WORDS}(repr(value))
"""

_lock = threading.Lock()
_pools: dict[int, Any] = {}


def monty() -> Any:
    """The interpreter's package; MissingExtra says what to install."""
    try:
        # Late: an optional dependency, and not every platform has its wheels.
        import pydantic_monty
    except ImportError as error:
        raise MissingExtra("runtime.control: monty", "pydantic-monty", "monty") from error
    return pydantic_monty


def _pool() -> Any:
    with _lock:
        pid = os.getpid()
        if pid not in _pools:
            # A worker serves one sandbox: what a block left in its memory is nobody else's.
            pool = monty().Monty(min_processes=0, max_processes=_MOST_WORKERS, max_checkouts_per_worker=1)
            _pools.clear()
            _pools[pid] = pool.__enter__()
        return _pools[pid]


def _fresh_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)


class Lease:
    """One worker, with the session that lives in it."""

    def __init__(self, session: Any, memory_mb: int) -> None:
        self.session = session
        self.pid: int | None = session.worker_pid
        self.host = os.getpid()
        self.memory_mb = memory_mb
        self.sources = Sources()
        self._lock = threading.Lock()

    def kill(self) -> None:
        """End the worker, whatever it is doing. The session is given back on another thread: it may be in use."""
        with self._lock:
            pid, self.pid = self.pid, None
        if pid is None or self.host != os.getpid():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone already
            os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        threads().start(self._give_back)

    def _give_back(self) -> None:
        with contextlib.suppress(monty().MontyError, RuntimeError):  # it was killed: that is what it would say
            self.session.__exit__(None, None, None)


async def lease(memory_mb: int) -> Lease:
    """A fresh worker that may use about this much memory."""

    def make() -> Lease:
        limits = {
            "max_feed_duration_secs": _LAST_RESORT_SECONDS,
            "max_memory": memory_mb * 1024 * 1024,
            "max_suspensions": _NO_LIMIT,
            "max_recursion_depth": _RECURSION,
        }
        return Lease(_pool().checkout(limits=limits).__enter__(), memory_mb)

    return await in_thread(make)
