"""What of a folder is kept: rules for what is left out, and the limits of a snapshot."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autopilot_runtime.core.errors import StoreError

SCRATCH = ".autopilot-restore-"  # folders of a restore at work begin so
# What an atomic write of ours stands in until it is renamed.
_TEMP = re.compile(r"\..+\.\d+\.[0-9a-f]{8}\.tmp", re.DOTALL)
_TAG = b"Signature: 8a477f597d28d172789f06886806bc55"


class TooLarge(StoreError):
    """A folder holds more than may be kept of one."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Names and paths that are left out, with all they hold, and what a snapshot may cost.

    `derived` leaves out what tools make and can make again: environments, caches that say so by CACHEDIR.TAG, and
    what a write in the middle stands in.
    """

    names: frozenset[str] = frozenset()
    paths: frozenset[bytes] = frozenset()  # relative to the folder
    derived: bool = False
    max_file: int = 512 << 20
    max_files: int | None = None
    max_bytes: int | None = None

    def omits(self, name: str, path: bytes) -> bool:
        """Whether an entry is left out by its name or its place."""
        return name in self.names or path in self.paths or self._is_passing(name)

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
