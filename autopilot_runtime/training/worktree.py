"""Folders that live as long as their process: gone when it closes them, and swept by the next when it was killed."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from autopilot_runtime.core.lock import is_locked, open_lock
from autopilot_runtime.training.jobfolder import remove

_PREFIX = "autopilot-fit-"
_LOCK = ".lock"


class Worktree:
    """One folder of our own below `where` (the temporary folder of the system), readable by nobody else."""

    def __init__(self, where: str | os.PathLike[str] | None = None) -> None:
        base = Path(where if where is not None else tempfile.gettempdir()).expanduser()
        base.mkdir(parents=True, exist_ok=True)
        sweep(base)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base)).resolve()
        # The system lets go of the lock when the process ends, however it ends.
        self._lock = open_lock(self.folder / _LOCK, create=True)
        is_locked(self._lock)

    def place(self, *parts: str) -> Path:
        """An empty folder in it for these names, which may be any."""
        path = self.folder.joinpath(*map(spelt, parts))
        if path.exists():
            remove(path)
        path.mkdir(parents=True)
        return path

    def close(self) -> None:
        """Remove it with all it holds."""
        if self._lock >= 0:
            remove(self.folder)
            os.close(self._lock)
            self._lock = -1


def sweep(base: Path) -> None:
    """Remove the folders of processes that are no more."""
    for folder in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another's, or somebody else removes it just now
            info = folder.lstat()
            if not stat.S_ISDIR(info.st_mode) or (hasattr(os, "getuid") and info.st_uid != os.getuid()):
                continue
            fd = open_lock(folder / _LOCK)
            try:
                if is_locked(fd):
                    remove(folder)
            finally:
                os.close(fd)


def spelt(name: str) -> str:
    """Any name as that of a file."""
    plain = "".join(letter if letter.isalnum() or letter in "._-" else f"%{ord(letter):x}" for letter in name)
    return f"%{plain}" if plain in ("", ".", "..") else plain[:200]
