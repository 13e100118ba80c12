"""What a block prints, on its way to the host: in order, in few frames, and bounded however much it is.

Runs in the worker; the standard library only.
"""

from __future__ import annotations

import codecs
import io
from collections import deque
from collections.abc import Callable
from threading import RLock
from time import monotonic
from typing import Any

_PENDING_CHARS = 8_192
_PENDING_SECONDS = 0.02


class Output:
    """Printed text: the first `cap` characters go out at once, of the rest the last `cap` are kept for the end."""

    def __init__(self, send: Callable[[dict[str, Any]], None], guard: Callable[..., Any]) -> None:
        self._send, self._guard = send, guard
        self._lock = RLock()
        self.begin(0)

    def begin(self, cap: int) -> None:
        """Start the output of a new block."""
        self._room = self._cap = cap
        self._pending: list[str] = []
        self._size = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self._dropped = 0
        self._flushed = 0.0

    def write(self, text: str) -> None:
        """Take text; it is on its way after 8 K characters, 20 ms, or the next call, whichever is first."""
        self._guard(self._take, text)

    def _take(self, text: str) -> None:
        with self._lock:
            self._pending.append(text)
            self._size += len(text)
            if self._size >= _PENDING_CHARS or monotonic() - self._flushed > _PENDING_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Send what is pending, as far as there is room."""
        with self._lock:
            self._flushed = monotonic()
            if not self._pending:
                return
            text = "".join(self._pending)
            self._pending, self._size = [], 0
            head = text[: self._room]
            if head:
                self._room -= len(head)
                self._send({"op": "text", "s": head})
            if len(text) > len(head):
                self._keep(text[len(head) :])

    def flush_all(self) -> None:
        """Send what is pending and the kept tail, with the count of what was dropped before it."""
        with self._lock:
            self.flush()
            if self._tail:
                self._send({"op": "text", "s": "".join(self._tail), "dropped": self._dropped})
                self._tail.clear()
                self._tail_size = self._dropped = 0

    def _keep(self, text: str) -> None:
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size > self._cap:
            first = self._tail.popleft()
            over = self._tail_size - self._cap
            cut = min(len(first), over)
            if cut < len(first):
                self._tail.appendleft(first[cut:])
            self._tail_size -= cut
            self._dropped += cut


class Screen(io.TextIOBase):
    """`sys.stdout` and `sys.stderr` of a block: one stream, so that what is printed stays in order."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, output: Output) -> None:
        self._output = output
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._output.write(text)
        return len(text)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Nothing waits here for long."""


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`: bytes shown as UTF-8."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = bytes(data)
        self._screen.write(self._decode(view))
        return len(view)
