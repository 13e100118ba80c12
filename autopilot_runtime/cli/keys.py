"""What a person types while a run works: a message for the agent, or Esc to stop it. The terminal echoes nothing."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import sys
from collections.abc import Callable, Iterator

# What arrow and function keys send.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.|[^\[O])")
_ESC_PATIENCE = 0.05


class Keys:
    """Reads keys between events. Only where there is a POSIX terminal; elsewhere it does nothing."""

    def __init__(self, on_message: Callable[[str], object], on_escape: Callable[[], None]) -> None:
        self.typed = ""
        self._on_message = on_message
        self._on_escape = on_escape
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._fd = -1
        self._saved: list[object] | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the keyboard for as long as a run works."""
        self._grab()
        try:
            yield
        finally:
            self.release()

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Give the keyboard to a prompt. Keys pressed before it was seen are not an answer to it."""
        had = self._saved is not None
        self.release()
        try:
            yield
        finally:
            if had:
                self._grab()

    def poll(self) -> None:
        """Take what was typed since the last time."""
        if self._saved is None:
            return
        data = b""
        while select.select([self._fd], [], [], _ESC_PATIENCE if data == b"\x1b" else 0)[0]:
            more = os.read(self._fd, 1024)
            if not more:
                break
            data += more
        if data == b"\x1b":
            self._on_escape()
        elif data:
            self._take(_SEQUENCE.sub("", self._decoder.decode(data)))

    def release(self) -> None:
        """Give the terminal back as it was."""
        saved, self._saved = self._saved, None
        if saved is not None:
            import termios  # POSIX only

            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(self._fd, termios.TCSAFLUSH, saved)  # type: ignore[arg-type]

    def _grab(self) -> None:
        try:
            import termios  # POSIX only
            import tty
        except ImportError:
            return
        self._fd = sys.stdin.fileno()
        try:
            self._saved = termios.tcgetattr(self._fd)
            # Keys at once and unseen; Ctrl+C still makes a signal.
            tty.setcbreak(self._fd, termios.TCSADRAIN)
        except (termios.error, OSError):  # the terminal went away
            self._saved = None

    def _take(self, text: str) -> None:
        for char in text:
            if char in "\r\n":
                message, self.typed = self.typed.strip(), ""
                if message:
                    self._on_message(message)
            elif char in "\x7f\b":
                self.typed = self.typed[:-1]
            elif char == "\x15":
                self.typed = ""
            elif char.isprintable():
                self.typed += char
