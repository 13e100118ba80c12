"""What the agent last read or wrote of each file: how an edit of something that changed since is noticed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from autopilot_runtime.tool.place import folded

_MAX_KEPT_BYTES = 32 << 20
_MAX_MISSED = 200
# A file changed twice within one tick of the file system's clock looks unchanged; such a one is read again.
_TICK_NS = 50_000_000


class Stamp(NamedTuple):
    """What changes when a file is written or replaced, without reading it.

    `written` may be set back by whoever copies a file with its time; the `changed` of the system nobody sets.
    """

    written: tuple[int, int, int, int]
    changed: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One file as the agent knows it. `content` is None when it was too large to keep."""

    digest: bytes | None
    stamp: Stamp
    content: bytes | None = None
    fresh: bool = False  # stamped so soon after a change that the stamp alone proves nothing


def stamp_of(info: os.stat_result) -> Stamp:
    """The stamp of a file."""
    return Stamp((info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns), info.st_ctime_ns)


def seen(info: os.stat_result, digest: bytes | None, content: bytes | None) -> Seen:
    """A file as it is now."""
    age = time.time_ns() - max(info.st_mtime_ns, info.st_ctime_ns)
    return Seen(digest, stamp_of(info), content, age < _TICK_NS)


class Known:
    """Real path → what was last seen there. One entry for each real file, however its path is spelt."""

    def __init__(self) -> None:
        self.missed: dict[str, None] = {}  # where the agent looked for a file and there was none
        self._files: dict[str, Seen] = {}
        self._folded: dict[str, set[str]] = {}
        self._kept = 0

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._files))

    def get(self, real: str) -> Seen | None:
        """What is known of the file."""
        return self._files.get(real)

    def set(self, real: str, entry: Seen) -> None:
        """Remember the file as it was just read or written."""
        self.forget(real)
        self.missed.pop(real, None)
        self._files[real] = entry
        self._folded.setdefault(folded(real), set()).add(real)
        self._kept += len(entry.content or b"")
        if self._kept > _MAX_KEPT_BYTES:
            self._drop_contents()

    def miss(self, real: str) -> None:
        """Remember that there was no such file when the agent looked for it."""
        self.missed.pop(real, None)
        self.missed[real] = None
        if len(self.missed) > _MAX_MISSED:
            del self.missed[next(iter(self.missed))]

    def forget(self, real: str) -> None:
        """The agent knows nothing of this file any more."""
        old = self._files.pop(real, None)
        if old is not None:
            self._kept -= len(old.content or b"")
            self._folded[folded(real)].discard(real)

    def alias(self, real: str) -> str:
        """The path under which this very file is known already: `foo` for `Foo` where the disk ignores case."""
        if real in self._files:
            return real
        for other in self._folded.get(folded(real), ()):
            try:
                same = os.path.samestat(os.lstat(real), os.lstat(other))
            except OSError:
                continue  # one of the two does not exist: not the same file
            if same:
                return other
        return real

    def _drop_contents(self) -> None:
        """Forget the oldest contents; their fingerprints stay."""
        for real, entry in list(self._files.items()):
            if self._kept <= _MAX_KEPT_BYTES // 2:
                return
            if entry.content is not None:
                self._kept -= len(entry.content)
                self._files[real] = Seen(entry.digest, entry.stamp, None, entry.fresh)
