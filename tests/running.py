"""Whether a command runs anywhere on this machine, and waiting until it does."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path


def is_running(command: str) -> bool:
    """Whether there is a process whose command line begins with this."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            if file.read_bytes().replace(b"\0", b" ").decode(errors="replace").startswith(command):
                return True
    return False


def wait_for(command: str, patience: float = 20.0) -> None:
    """Return when the command runs."""
    limit = time.monotonic() + patience
    while not is_running(command):
        assert time.monotonic() < limit, f"{command} has not begun"
