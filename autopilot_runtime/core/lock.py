"""A lock on an open file: the system lets go of it when the process ends, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def is_locked(fd: int) -> bool:
    """Take the lock of an open file, if nobody else has it; whether it is ours now."""
    try:
        if sys.platform == "win32":
            os.lseek(fd, 1 << 30, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def open_lock(path: str | os.PathLike[str], *, create: bool = False) -> int:
    """The file of a lock, for our user only. `FileNotFoundError` when there is none, and none is to be made."""
    flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    return os.open(Path(path), flags | (os.O_CREAT if create else 0), 0o600)
