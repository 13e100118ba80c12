"""Runs a search in a process of its own, so that it can always be stopped: by the clock or by the run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autopilot_runtime.core.errors import ToolError

_TICK = 0.1  # how often an abort is looked for
_WORKER = "import sys; sys.path.insert(0, sys.argv.pop(1)); from autopilot_runtime.search.{0} import main; main()"


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended. `code` is None when it was stopped; what it had written is kept."""

    code: int | None
    output: bytes
    errors: bytes


class CannotStart(ToolError):
    """The program of a search is missing, or is none for this machine."""


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


def run(
    command: Sequence[str],
    *,
    cwd: str,
    clock: Clock,
    sent: bytes | None = None,
    tick: Callable[[], None] | None = None,
) -> Done:
    """Run to the end, or until the clock says so; `tick` is called now and then while it runs.

    Nothing of the host's environment reaches the child.
    """
    with contextlib.ExitStack() as stack:
        # A file and not a pipe: what is sent must not depend on how fast it is read.
        given = stack.enter_context(tempfile.TemporaryFile()) if sent is not None else None
        if given is not None and sent is not None:
            given.write(sent)
            given.seek(0)
        try:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                stdin=given or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
            )
        except OSError as error:
            raise CannotStart(f"{command[0] or 'Python'} cannot be started for a search: {error}") from error
        stack.enter_context(process)
        try:
            return _watch(process, clock, tick)
        except BaseException:
            process.kill()
            raise


def _watch(process: subprocess.Popen[bytes], clock: Clock, tick: Callable[[], None] | None) -> Done:
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


def _environment() -> dict[str, str]:
    # Windows cannot load its libraries without these; elsewhere a search needs nothing at all.
    kept = ("SYSTEMROOT", "WINDIR", "TEMP", "TMP") if os.name == "nt" else ()
    return {name: os.environ[name] for name in kept if name in os.environ}


def worker(module: str) -> list[str]:
    """The command that runs `main` of a module of this package in a fresh, isolated Python, which starts fast
    because it does not look for installed packages."""
    home = str(Path(__file__).resolve().parent.parent.parent)
    return [sys.executable, "-I", "-S", "-X", "utf8", "-c", _WORKER.format(module), home]
