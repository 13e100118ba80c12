"""Whether a command runs anywhere on this machine, and waiting until it does."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path


def running(command: str) -> int:
    """How many processes there are whose command line is this."""
    wanted, found = "\0".join([*command.split(), ""]).encode(), 0
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            found += file.read_bytes() == wanted
    return found


def is_running(command: str) -> bool:
    """Whether there is one."""
    return running(command) > 0


def wait_for(command: str, patience: float = 20.0) -> None:
    """Return when the command runs."""
    limit = time.monotonic() + patience
    while not is_running(command):
        assert time.monotonic() < limit, f"{command} has not begun"
