"""The output of one command, bounded: its head, its tail, and how much of it has been looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass

HEAD = 65_536
TAIL = 196_608
_MODE = re.compile(rb"\x1b\[\?(1049|1047|47|2004)([hl])")
_MODE_LONGEST = 8


@dataclass(frozen=True, slots=True)
class View:
    """A stretch of output. `dropped` bytes between `head` and `tail` are gone.

    `in_screen` and `ends_in_screen` say whether a full-screen program owned the terminal where it begins and ends.
    """

    head: bytes = b""
    dropped: int = 0
    tail: bytes = b""
    in_screen: bool = False
    ends_in_screen: bool = False

    @property
    def size(self) -> int:
        """How many bytes there are to show."""
        return len(self.head) + len(self.tail)


class Transcript:
    """Keeps the first and the last bytes of an output of any length, in constant memory and linear time."""

    def __init__(self, first: bytes = b"", *, in_screen: bool = False, head: int = HEAD, tail: int = TAIL) -> None:
        self.total = 0
        self.in_screen = in_screen
        self.takes_pastes = False
        self._limits = head, tail
        self._head = bytearray()
        self._tail = bytearray()
        self._seen = 0
        self._began_in_screen = in_screen
        self._seen_in_screen = in_screen
        self._carry = b""
        if first:
            self.add(first)

    def add(self, data: bytes) -> None:
        """Append what the program wrote."""
        self.total += len(data)
        head, tail = self._limits
        room = head - len(self._head)
        if room > 0:
            self._head += data[:room]
        rest = data[max(room, 0) :]
        if len(rest) >= tail:
            self._tail[:] = rest[-tail:]
        else:
            self._tail += rest
        if len(self._tail) > 2 * tail:
            del self._tail[:-tail]
        self._follow_modes(data)

    def _follow_modes(self, data: bytes) -> None:
        text = self._carry + data
        if b"\x1b" in text:
            for match in _MODE.finditer(text):
                if match[1] == b"2004":
                    self.takes_pastes = match[2] == b"h"
                else:
                    self.in_screen = match[2] == b"h"
        # One byte less than the longest switch: a whole one is never seen twice.
        self._carry = text[-(_MODE_LONGEST - 1) :]

    @property
    def unread(self) -> int:
        """How many bytes came since the last look."""
        return self.total - self._seen

    def mark_read(self) -> None:
        """Everything so far has been looked at."""
        self._seen = self.total
        self._seen_in_screen = self.in_screen

    def full(self) -> View:
        """The whole output, as far as it is kept."""
        return self._since(0, in_screen=self._began_in_screen)

    def delta(self) -> View:
        """What came since the last look, as far as it is kept."""
        return self._since(self._seen, in_screen=self._seen_in_screen)

    def last(self, size: int) -> bytes:
        """The newest bytes: enough to rebuild a screen from."""
        tail = bytes(self._tail[-size:])
        return tail if len(tail) == size else bytes(self._head)[len(tail) - size :] + tail

    def _since(self, offset: int, *, in_screen: bool) -> View:
        tail_from = self.total - len(self._tail)
        if offset >= tail_from:
            return View(b"", 0, bytes(self._tail[offset - tail_from :]), in_screen, self.in_screen)
        head = bytes(self._head[offset:])
        dropped = tail_from - max(offset, len(self._head))
        return View(head, dropped, bytes(self._tail), in_screen, self.in_screen)
