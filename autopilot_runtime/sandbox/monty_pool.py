"""Workers of the Monty interpreter: one shared supply per host process, one worker for the life of a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from autopilot_runtime.confine.limits import set_memory
from autopilot_runtime.core.bridge import in_thread, threads
from autopilot_runtime.core.errors import MissingExtra, SandboxUnavailable
from autopilot_runtime.core.protocols import Limits
from autopilot_runtime.sandbox.monty_jail import launcher
from autopilot_runtime.sandbox.monty_system import POLICY
from autopilot_runtime.sandbox.monty_text import ERRORS, Sources
from autopilot_runtime.sandbox.reads import Pace

# The host keeps the time and kills. Should it be killed itself, what it left running ends by these: the
# interpreter's own limit for one block, and on Linux a limit of the worker process that is moved before each block.
_SPARE_SECONDS = 5.0
_SPARE_BYTES = 512 * 1024 * 1024
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

if sys.platform == "linux":
    import resource

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


def _binary() -> str:
    monty()
    # Late, as above. Its own search: the installed wheel first, then PATH.
    from pydantic_monty._binary import find_monty_binary

    return str(find_monty_binary())


def _pool() -> Any:
    with _lock:
        pid = os.getpid()
        if pid not in _pools:
            # A worker serves one sandbox: what a block left in its memory is nobody else's.
            pool = monty().Monty(
                binary_path=launcher(_binary()),
                min_processes=0,
                max_processes=_MOST_WORKERS,
                max_checkouts_per_worker=1,
            )
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

    def __init__(self, session: Any, limits: Limits) -> None:
        self.session = session
        self.pid: int | None = session.worker_pid
        self.host = os.getpid()
        self.memory_mb, self.seconds = limits.memory_mb, limits.seconds
        self.sources = Sources()
        self.pace = Pace(time.monotonic_ns)
        self._lock = threading.Lock()
        if self.pid is not None:
            # The interpreter counts what it knows of; this is the wall behind it.
            with contextlib.suppress(OSError):  # it died already: its first answer will tell
                set_memory(self.pid, self.memory_mb * 1024 * 1024 * 2 + _SPARE_BYTES)

    def fits(self, limits: Limits | None) -> bool:
        """Whether it was made for these limits; an interpreter cannot change them later."""
        return limits is None or (limits.memory_mb == self.memory_mb and limits.seconds <= self.seconds)

    def bound(self, seconds: float) -> None:
        """Let the worker end by itself when it has computed this long and nobody stopped it. Linux only."""
        if sys.platform == "linux" and self.pid is not None:
            with contextlib.suppress(OSError, ValueError, IndexError):  # it is gone: its first answer will tell
                hard = resource.prlimit(self.pid, resource.RLIMIT_CPU)[1]
                until = int(_cpu_seconds(self.pid) + 1.5 * seconds + 1) + 1
                resource.prlimit(self.pid, resource.RLIMIT_CPU, (until, hard))

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


def _cpu_seconds(pid: int) -> float:
    if sys.platform != "linux":
        raise OSError("Linux only")
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def lease(limits: Limits) -> Lease:
    """A fresh worker for blocks with these limits. Raises SandboxUnavailable."""
    made: list[Lease] = []
    unwanted = threading.Event()

    def make() -> Lease:
        settings = {
            "max_feed_duration_secs": 2 * limits.seconds + _SPARE_SECONDS,
            "max_memory": limits.memory_mb * 1024 * 1024,
            "max_suspensions": _NO_LIMIT,
            "max_recursion_depth": _RECURSION,
        }
        made.append(Lease(_pool().checkout(limits=settings, os_policy=POLICY).__enter__(), limits))
        if unwanted.is_set():
            made[0].kill()
        return made[0]

    try:
        return await in_thread(make)
    except (OSError, RuntimeError, monty().MontyError) as error:
        text = f"control: monty: its worker cannot be started: {error}"
        raise SandboxUnavailable(text) from error
    except asyncio.CancelledError:
        # The thread goes on without us: whichever comes second sees the other's mark, and the worker ends.
        unwanted.set()
        for one in made:
            one.kill()
        raise
