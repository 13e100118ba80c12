"""What every process we start does between fork and exec: signals as usual, and it dies with its host."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
# A host may ignore these; a child that inherits that can never be interrupted.
_DEFAULT_SIGNALS = [
    getattr(signal, name)
    for name in (
        "SIGINT",
        "SIGQUIT",
        "SIGTERM",
        "SIGHUP",
        "SIGPIPE",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGCHLD",
        "SIGXFSZ",
    )
    if hasattr(signal, name)
]
_libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def settle(parent: int, in_child: Callable[[], None] | None = None) -> None:
    """Called in the child. `in_child` runs last (to confine it); what it raises is told as a failed start."""
    for number in _DEFAULT_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if _libc is not None:
        # It dies with the thread that started it: the one of the loop, which reads what it writes.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    if in_child is not None:
        in_child()
