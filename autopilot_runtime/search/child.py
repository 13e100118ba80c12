"""Runs a search in a process of its own, so that it can always be stopped: by the clock or by the run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from autopilot_runtime.core.errors import ToolError

if sys.platform == "linux":
    import resource

_TICK = 0.05  # how often an abort is looked for
_MEMORY = 2 << 30  # ripgrep keeps a whole line in memory, and a line may be as long as a disk
_WORKER = """\
import sys
sys.path.insert(0, sys.argv[1])
from autopilot_runtime.search.orphan import ends_with
with ends_with(int(sys.argv[2])):
    from autopilot_runtime.search.{0} import main
    main()
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended. `code` is None when it was stopped; what it had written is kept."""

    code: int | None
    output: bytes
    errors: bytes


class Unusable(ToolError):
    """The program of a search is missing, is none for this machine, or broke down."""


class Clock:
    """The time a search may take, shared by all its processes; `stop` ends it early."""

    def __init__(self, seconds: float, stop: Callable[[], bool] = bool) -> None:
        self.seconds = seconds
        self.until = time.monotonic() + seconds
        self.stop = stop

    @property
    def left(self) -> float:
        """Seconds; 0 when time is up or the run is being stopped."""
        return 0.0 if self.stop() else max(0.0, self.until - time.monotonic())


class Child:
    """A process that does a search. It may be started before it is known what to send to it.

    Nothing of the host's environment reaches it, and it is gone when the `with` is left.
    """

    def __init__(self, command: Sequence[str], *, cwd: str) -> None:
        self._command = command
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            with self._process as process:
                process.kill()

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, unless that was done already."""
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    self._command,
                    cwd=self._cwd,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=_environment(),
                )
            except OSError as error:
                raise Unusable(f"{self._command[0] or 'Python'} cannot be started for a search: {error}") from error
        return self._process

    def finish(self, clock: Clock, *, sent: bytes = b"", tick: Callable[[], None] | None = None) -> Done:
        """Let it run to its end, or until the clock says so; `tick` is called now and then meanwhile."""
        process = self.start()
        _bound(process.pid, clock)
        _send(process, sent)
        while True:
            try:
                output, errors = process.communicate(timeout=min(_TICK, clock.left))
                return Done(process.returncode, output, errors)
            except subprocess.TimeoutExpired:
                if clock.left <= 0:
                    break
            if tick is not None:
                tick()
        process.kill()
        output, errors = process.communicate()
        return Done(None, output, errors)


def run(command: Sequence[str], *, cwd: str, clock: Clock, sent: bytes = b"") -> Done:
    """Run a program to its end, or until the clock says so."""
    with Child(command, cwd=cwd) as child:
        return child.finish(clock, sent=sent)


def _send(process: subprocess.Popen[bytes], sent: bytes) -> None:
    """Write to a child from beside: it may read slowly, or be killed before it has read all."""
    pipe, process.stdin = process.stdin, None
    if pipe is None:
        return

    def write() -> None:
        with contextlib.suppress(OSError), pipe:
            pipe.write(sent)

    if sent:
        Thread(target=write, name="search-order", daemon=True).start()
    else:
        pipe.close()


def _bound(pid: int, clock: Clock) -> None:
    """Limit memory and time of a child from here, where that can be done: should we be killed, nobody stops it."""
    if sys.platform != "linux":
        return
    seconds = int(min(clock.left, 86_400) + 1) * (os.cpu_count() or 1) + 1
    for kind, most in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_CPU, seconds)):
        # It may have ended already, it may have a tighter limit, and some systems forbid it.
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(pid, kind, (most, most))


def _environment() -> dict[str, str]:
    # Windows cannot load its libraries without these; elsewhere a search needs nothing at all.
    kept = ("SYSTEMROOT", "WINDIR", "TEMP", "TMP") if os.name == "nt" else ()
    return {name: os.environ[name] for name in kept if name in os.environ}


def worker(module: str) -> list[str]:
    """The command that runs `main` of a module of this package in a fresh, isolated Python, which starts fast
    because it does not look for installed packages."""
    home = str(Path(__file__).resolve().parent.parent.parent)
    code = _WORKER.format(module)
    return [sys.executable, "-I", "-S", "-X", "utf8", "-c", code, home, str(os.getpid())]
