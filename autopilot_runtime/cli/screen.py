"""Writes to the terminal: flowing text, whole lines, and one live line that never gets in their way."""

from __future__ import annotations

import contextlib
import sys
from typing import IO

from autopilot_runtime.cli import safe
from autopilot_runtime.cli.tty import Facts, Paint

# Down a line and up again, so that there is one below (the screen scrolls when it must); then remember the place.
_BELOW = "\x1bD\x1b[A\x1b7\x1b[B\r"
_BACK = "\x1b8"
_ERASE_HERE = "\r\x1b[J"
_ERASE_BELOW = "\x1b[J"


class Screen:
    """One owner of stdout and stderr. `text` flows to stdout; `line` and the live line go to stderr."""

    def __init__(self, facts: Facts, *, out: IO[str] | None = None, err: IO[str] | None = None) -> None:
        self.facts = facts
        self.paint = Paint(facts.err_colour)
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._open = False  # the text on stdout does not end with a line end
        self._column = 0
        self._status = ""
        self._below = False  # the live line is on the line below the text

    def text(self, text: str) -> None:
        """Add flowing text; whoever made it, it cannot steer the terminal."""
        if not text:
            return
        text, status = safe.prose(text), self._status
        self.wipe()
        self._advance(text)
        self._out.write(text)
        self._out.flush()
        self.status(status)

    def end_text(self) -> None:
        """Go to the start of a line, when flowing text left the cursor elsewhere."""
        self.wipe()
        if self._open:
            self._out.write("\n")
            self._out.flush()
            self._open, self._column = False, 0

    def line(self, text: str = "") -> None:
        """One whole line (or several) beside the text; already safe, may be coloured."""
        self.end_text()
        self._say(f"{text}\n")

    def status(self, text: str) -> None:
        """Draw the live line, under the text. Drawing the same again costs nothing."""
        if not self.facts.live or text == self._status:
            return
        self.wipe()
        width, below = self._width(), self._open and self.facts.out_tty
        if not text or width < 20 or (below and self._column >= width - 1):
            return  # at the right margin terminals differ in where the cursor is
        shown = clip(text, width - 1)
        if below:
            self._say(f"{_BELOW}{self.paint(shown, 'dim')}{_BACK}")
        else:
            self._say(self.paint(shown, "dim"))
        self._status, self._below = text, below

    def wipe(self) -> None:
        """Take the live line away."""
        if self._status:
            self._say(_ERASE_BELOW if self._below else _ERASE_HERE)
            self._status = ""

    def _say(self, text: str) -> None:
        # Nobody reads stderr any more: the work and stdout are still wanted.
        with contextlib.suppress(OSError, ValueError):
            self._err.write(text)
            self._err.flush()

    def _advance(self, text: str) -> None:
        """Where the cursor is after `text`; `width` means past the last column, where the next letter wraps."""
        last = text.rpartition("\n")[2]
        if "\n" in text:
            self._open, self._column = False, 0
        width, line = max(self._width(), 1), (" " * self._column + last).expandtabs(8)
        if line.isascii():
            self._column = len(line) if len(line) <= width else (len(line) - 1) % width + 1
        else:
            self._column = 0
            for char in line:
                wide = cells(char)
                self._column = wide if self._column + wide > width else self._column + wide
        self._open = self._open or bool(last)

    def _width(self) -> int:
        import shutil  # heavier than all the rest of this file, and only a live line needs it

        return shutil.get_terminal_size().columns


def cells(text: str) -> int:
    """How many columns a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # its tables are only needed for other scripts

    return cell_len(text)


def clip(text: str, width: int) -> str:
    """The text cut to `width` columns."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[: max(len(text) - 1 - (cells(text) - width) // 2, 0)]
    return f"{text}…"
