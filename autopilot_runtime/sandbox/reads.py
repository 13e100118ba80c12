"""What a block reads of clock and chance: noted as it happens, given back when the block is run again.

Runs on both sides; the standard library only. A read is a pair, the name of its source and a value JSON has a word
for. A block reads little or it cannot be replayed: beyond the bound, reads are only counted (`{"lost": 12}`).

Reads are noted in the order in which they happen. Threads of one block that race for them, or do different things
depending on who is first, may read in another order the next time: such a block may diverge.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any, NoReturn

# What the reads of one block may cost: ten thousand numbers, or about a megabyte of text.
ROOM = 1_000_000
_EACH = 100
_LOST = "lost"
_NAME_CHARS = 64
_TEXT_CHARS = 1_000
_MOST = 1 << 63
# A float of seconds may be a little less than what it was made of.
_SPARE_NS = 1_000


class Diverged(Exception):
    """What is read now is not what was read then; the text names both."""


def _diverged(text: str) -> NoReturn:
    raise Diverged(text)


class Reads:
    """The reads of one block after another: those given are used up first, then live ones are noted."""

    def __init__(self, given: Sequence[Any] = ()) -> None:
        # Re-entrant: a finalizer may read the clock while its thread is in here.
        self._lock = RLock()
        # What becomes of a divergence, and what else is to be done when a block begins.
        self.refuse: Callable[[str], NoReturn] = _diverged
        self.prepare: Callable[[], None] | None = None
        self.begin(given)

    def begin(self, given: Sequence[Any]) -> None:
        """Forget the last block; `given` is what this one read when it was run before."""
        with self._lock:
            self._given = deque(given)
            self._noted: list[Any] = []
            self._room, self._lost = ROOM - sum(map(_cost, given)) if given else ROOM, 0
            self._broken = ""
        if self.prepare is not None:
            self.prepare()

    @property
    def replaying(self) -> bool:
        """Whether something given is still to be read."""
        return bool(self._given)

    def read(self, source: str, live: Callable[[], Any], *, again: Callable[[Any], None] | None = None) -> Any:
        """What `source` gave at this place before (then `again` is told), else what `live` gives now."""
        with self._lock:
            if self._given or self._broken:
                value = self._next(source)
                if again is not None:
                    again(value)
                return value
            value = live()
            # In line, for blocks loop on this.
            if self._room > 0:
                self._room -= _EACH + len(value) if type(value) is str else _EACH
                self._noted.append([source, value])
            else:
                self._lost += 1
            return value

    def note_all(self, reads: object) -> None:
        """Keep what the other side says was read. Raises ValueError when it is not reads."""
        for read in checked(reads):
            if isinstance(read, dict):
                self._lost = min(self._lost + read[_LOST], _MOST - 1)
            elif self._room <= 0:
                self._lost += 1
            else:
                self._room -= _cost(read)
                self._noted.append(read)

    def take(self) -> list[Any]:
        """What was noted since the last time; when not all could be, a mark with their number at its end."""
        if not self._noted and not self._lost:
            return []
        with self._lock:
            taken, self._noted = self._noted, []
            if self._lost:
                taken.append({_LOST: self._lost})
                self._lost = 0
            return taken

    def untake(self, taken: list[Any]) -> None:
        """Put back what was taken and could not be told."""
        with self._lock:
            self._noted[:0] = taken

    def unread(self) -> str:
        """What a block that has ended did not read though it did before; empty when all is well."""
        with self._lock:
            if self._broken or not self._given or isinstance(self._given[0], dict):
                return ""
            return f"the block ended, but when it was recorded it went on and read {self._given[0][0]}."

    def _next(self, source: str) -> Any:
        read = self._given[0] if self._given else None
        if self._broken or read is None:
            self.refuse(self._broken)
        if isinstance(read, dict):
            self._broken = f"{read[_LOST]} reads from here on were not recorded: the block read too often."
            self.refuse(self._broken)
        if read[0] != source:
            self._broken = f"the block reads {source}, but when it was recorded it read {read[0]} here."
            self.refuse(self._broken)
        return self._given.popleft()[1]


class Pace:
    """A clock that must not go back: after a replay, perhaps on another machine, it goes on from there."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now, self._ahead = now, 0

    def ns(self) -> int:
        """The time now."""
        return self._now() + self._ahead

    def seconds(self) -> float:
        """The time now."""
        return (self._now() + self._ahead) / 1e9

    def from_ns(self, ns: int) -> None:
        """Be no earlier than this from now on."""
        self._ahead = max(self._ahead, ns - self._now())

    def from_seconds(self, seconds: float) -> None:
        """Be no earlier than this from now on."""
        self.from_ns(int(seconds * 1e9) + _SPARE_NS)


def checked(reads: object) -> list[Any]:
    """The same reads, certainly well-formed and each of bounded size. Raises ValueError."""
    if not isinstance(reads, (list, tuple)):
        raise ValueError("reads that are not a list")
    for read in reads:
        if not (_is_mark(read) if isinstance(read, dict) else _is_read(read)):
            raise ValueError("something that is not a read")
    return list(reads)


def _is_mark(read: dict[Any, Any]) -> bool:
    count = read.get(_LOST)
    return len(read) == 1 and type(count) is int and 0 <= count < _MOST


def _is_read(read: Any) -> bool:
    # Plain, for there may be ten thousand: types first, as they come out of JSON.
    if not isinstance(read, (list, tuple)) or len(read) != 2 or type(read[0]) is not str:
        return False
    name, value = read
    kind = type(value)
    if len(name) > _NAME_CHARS or not name.isascii():
        return False
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return bool(-_MOST <= value < _MOST)
    return kind is str and len(value) <= _TEXT_CHARS and bool(value.isascii())


def _cost(read: Any) -> int:
    if isinstance(read, dict):
        return 0
    return _EACH + len(read[1]) if type(read[1]) is str else _EACH
