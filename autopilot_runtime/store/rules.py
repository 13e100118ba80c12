"""What of a folder is kept: rules for what is left out, and the limits of a snapshot."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from autopilot_runtime.core.errors import StoreError

SCRATCH = ".autopilot-restore-"  # folders of a restore at work begin so
# What an atomic write of ours stands in until it is renamed.
_TEMP = re.compile(r"\..+\.\d+\.[0-9a-f]{8}\.tmp", re.DOTALL)
_TAG = b"Signature: 8a477f597d28d172789f06886806bc55"


class TooLarge(StoreError):
    """A folder holds more than may be kept of one."""


class Choice(Protocol):
    """Says which files below a folder are meant. `key` tells one choice from another."""

    @property
    def key(self) -> bytes: ...

    def takes(self, path: bytes) -> bool:
        """Whether this file or link is meant."""

    def enters(self, path: bytes) -> bool:
        """Whether something that is meant could lie in this folder."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Names and paths that are left out, with all they hold, and what a snapshot may cost.

    `derived` leaves out what tools make and can make again: environments, caches that say so by CACHEDIR.TAG, and
    what a write in the middle stands in. With `only`, folders are no part of what is kept: they come with what is
    in them, and whatever else they hold is nobody's business.
    """

    names: frozenset[str] = frozenset()
    paths: frozenset[bytes] = frozenset()  # relative to the folder
    derived: bool = False
    only: Choice | None = None
    max_file: int = 512 << 20
    max_files: int | None = None
    max_bytes: int | None = None

    def omits(self, name: str, path: bytes) -> bool:
        """Whether an entry is left out by its name or its place."""
        if name in self.names or path in self.paths or self._is_passing(name):
            return True
        return self.only is not None and not self.only.takes(path)

    def omits_folder(self, name: str, path: bytes) -> bool:
        """Whether a folder is left out by its name or its place, with all it holds."""
        if name in self.names or path in self.paths or self._is_passing(name) or name.startswith(SCRATCH):
            return True
        return self.only is not None and not self.only.enters(path)

    def _is_passing(self, name: str) -> bool:
        return self.derived and name.endswith(".tmp") and _TEMP.fullmatch(name) is not None

    def is_derived(self, names: set[str], read: Callable[[str], bytes]) -> bool:
        """Whether a folder with these names is something that a tool made and can make again."""
        if not self.derived:
            return False
        return "pyvenv.cfg" in names or ("CACHEDIR.TAG" in names and read("CACHEDIR.TAG").startswith(_TAG))

    def afford(self, files: int, size: int, root: str | Path) -> None:
        """Raise when a folder is larger than that."""
        if self.max_files is not None and files > self.max_files:
            raise TooLarge(f"{root} holds more than {self.max_files:,} files.")
        if self.max_bytes is not None and size > self.max_bytes:
            raise TooLarge(f"{root} holds more than {self.max_bytes >> 20:,} MB.")


EVERYTHING = Rules()
