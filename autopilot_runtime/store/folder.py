"""One folder held open: every operation is on a plain name inside it, and no link is ever followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

# Windows has no descriptors for folders; there the same calls go by path.
HAS_DESCRIPTORS = os.open in os.supports_dir_fd and os.scandir in os.supports_fd and hasattr(os, "O_DIRECTORY")
_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
_BINARY: int = getattr(os, "O_BINARY", 0)
_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_FOLDER: int = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _CLOEXEC
# NONBLOCK: a pipe or device that took the place of a file must not hang us.
READ: int = os.O_RDONLY | _CLOEXEC | _NOFOLLOW | _BINARY | getattr(os, "O_NONBLOCK", 0)
CREATE: int = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC | _NOFOLLOW | _BINARY
_RIGHTS = 0o700


class Folder:
    """An open folder. `path` is for Windows and for messages."""

    def __init__(self, path: str, fd: int | None) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def root(cls, path: str) -> Folder:
        """The folder at a path that is trusted."""
        return cls(path, os.open(path, _FOLDER) if HAS_DESCRIPTORS else None)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    @property
    def scanned(self) -> int | str:
        """What `os.scandir` takes."""
        return self.path if self.fd is None else self.fd

    def spell(self, name: str) -> str:
        """The name as the calls below take it."""
        return name if self.fd is not None else os.path.join(self.path, name)  # noqa: PTH118

    def down(self, name: str, *, usable: bool = False) -> Folder:
        """A folder in this one. `usable`: one that its owner may not change is made changeable first."""
        path = os.path.join(self.path, name)  # noqa: PTH118
        if not HAS_DESCRIPTORS:
            if stat.S_ISLNK(os.lstat(path).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            return Folder(path, None)
        try:
            return Folder(path, os.open(name, _FOLDER | _NOFOLLOW, dir_fd=self.fd))
        except PermissionError:
            if not usable:
                raise
        self.chmod(name, _RIGHTS)
        return Folder(path, os.open(name, _FOLDER | _NOFOLLOW, dir_fd=self.fd))

    def stat(self, name: str) -> os.stat_result | None:
        """The entry itself, or None when there is none."""
        try:
            return os.stat(self.spell(name), dir_fd=self.fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """A descriptor of the entry."""
        return os.open(self.spell(name), flags, mode, dir_fd=self.fd)

    def readlink(self, name: str) -> bytes:
        """Where a link leads."""
        return os.fsencode(os.readlink(self.spell(name), dir_fd=self.fd))

    def symlink(self, target: bytes, name: str) -> None:
        """Make a link."""
        os.symlink(os.fsdecode(target), self.spell(name), dir_fd=self.fd)

    def mkdir(self, name: str) -> None:
        """Make a folder that we can work in; its mode comes last."""
        os.mkdir(self.spell(name), _RIGHTS, dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        """Remove what is no folder."""
        os.unlink(self.spell(name), dir_fd=self.fd)

    def rmdir(self, name: str) -> None:
        """Remove an empty folder."""
        os.rmdir(self.spell(name), dir_fd=self.fd)

    def chmod(self, name: str, mode: int) -> None:
        """Set the permission bits of what is no link."""
        if self.fd is None:
            os.chmod(self.spell(name), mode)  # noqa: PTH101
            return
        # Through a descriptor where one can be had: between a look and a chmod by name, a link could come.
        try:
            fd = os.open(name, READ, dir_fd=self.fd)
        except PermissionError:
            os.chmod(name, mode, dir_fd=self.fd)
            return
        try:
            os.fchmod(fd, mode)
        finally:
            os.close(fd)

    def take(self, other: Folder, old: str, new: str) -> None:
        """Move `old` out of another folder to `new` in this one, in the place of what is there."""
        os.replace(other.spell(old), self.spell(new), src_dir_fd=other.fd, dst_dir_fd=self.fd)

    def sync(self) -> None:
        """Make names that came and went here survive a power cut, where the system can promise that."""
        if self.fd is not None:
            os.fsync(self.fd)


def split(path: bytes) -> tuple[str, ...]:
    """The names of a path as the system calls take them."""
    return tuple(os.fsdecode(part) for part in path.split(b"/"))


def open_below(root: Folder, parts: Sequence[str], *, usable: bool = False) -> Folder:
    """The folder at `parts` below an open one; a link on the way is an error."""
    current = Folder(root.path, os.dup(root.fd) if root.fd is not None else None)
    for part in parts:
        try:
            below = current.down(part, usable=usable)
        finally:
            current.close()
        current = below
    return current
