"""Ctrl+C, SIGTERM and SIGHUP: the first stops the run and lets it report, a second Ctrl+C leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stop:
    """Which signal came, and what to do about it. `number` is the first one, or None."""

    def __init__(self, abort: Callable[[], None], leave: Callable[[], None]) -> None:
        self.number: int | None = None
        self._abort = abort
        self._leave = leave
        self._prompting = False

    @contextlib.contextmanager
    def catching(self) -> Iterator[None]:
        """Handle the signals for as long as a run works."""
        before: dict[int, Any] = {one: signal.signal(one, self._caught) for one in _SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    @contextlib.contextmanager
    def prompting(self) -> Iterator[None]:
        """While a prompt waits, a signal also raises `KeyboardInterrupt`: reading a line ends in no other way."""
        self._prompting = True
        try:
            yield
        finally:
            self._prompting = False

    def ask(self, number: int = signal.SIGINT) -> None:
        """Stop the run as if the signal had come."""
        if self.number is None:
            self.number = number
            self._abort()

    def _caught(self, number: int, _: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            self._leave()
            # Children notice that we are gone; waiting for anything is what the person does not want any more.
            os._exit(128 + number)
        self.ask(number)
        if self._prompting:
            raise KeyboardInterrupt
