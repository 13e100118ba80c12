"""SIGTERM during a fit ends it as Ctrl+C does, whole; then the process ends as the signal would have it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ending_whole() -> Iterator[None]:
    """Where nobody else handles SIGTERM: what runs inside is interrupted by it, and cleans up, before we go."""
    ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not ours:
        yield
        return
    told: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        told.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if told:
            os.kill(os.getpid(), signal.SIGTERM)
