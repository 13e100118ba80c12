"""A folder held open by descriptor and reached without following one symlink: what was checked is what is used."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import TracebackType

from autopilot_runtime.core.errors import PathRefused

# Windows has no descriptors for folders; there the same calls go by path.
HAS_DESCRIPTORS = os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY")
_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY: int = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _CLOEXEC
# Just to pass through a folder one need not be allowed to list it.
_PASS: int = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _CLOEXEC | _NOFOLLOW
# NONBLOCK: a FIFO or device that took the file's place after the look at it must not hang us.
READ: int = os.O_RDONLY | _CLOEXEC | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
CREATE: int = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC | _NOFOLLOW | getattr(os, "O_BINARY", 0)
_LOCK_SECONDS = 2.0


class Folder:
    """One open folder; every operation is on a plain name inside it and never follows a link."""

    def __init__(self, path: str, fd: int | None) -> None:
        self.path = path
        self.fd = fd

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def _spell(self, name: str) -> str:
        return name if self.fd is not None else os.path.join(self.path, name)  # noqa: PTH118

    def stat(self, name: str) -> os.stat_result | None:
        """The entry itself (a link is not followed), or None when there is none."""
        try:
            return os.stat(self._spell(name), dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """A descriptor of the entry."""
        return os.open(self._spell(name), flags, mode, dir_fd=self.fd)

    def rename(self, old: str, new: str) -> None:
        """Put `old` in the place of `new`."""
        os.replace(self._spell(old), self._spell(new), src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def names(self) -> list[str]:
        """The names of all entries."""
        return os.listdir(self._spell(".") if self.fd is None else self.fd)  # noqa: PTH208

    def unlink(self, name: str) -> None:
        """Remove the entry."""
        os.unlink(self._spell(name), dir_fd=self.fd)

    def writable(self, name: str) -> bool:
        """Whether the permission bits let us write the entry. A read-only disk is another reason: the write tells."""
        if self.fd is not None and os.fstatvfs(self.fd).f_flag & os.ST_RDONLY:
            return True
        effective = os.access in os.supports_effective_ids
        return os.access(self._spell(name), os.W_OK, dir_fd=self.fd, effective_ids=effective)

    def sync(self) -> None:
        """Make what was renamed here survive a power cut, where the system can promise that."""
        if self.fd is not None:
            os.fsync(self.fd)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other agents of ours out between the last look at a file and its replacement."""
        lock = _flock()
        if lock is None or self.fd is None:
            yield
            return
        # Anybody may hold such a lock for ever, so it is waited for only a while.
        until = time.monotonic() + _LOCK_SECONDS
        while not lock(self.fd, True) and time.monotonic() < until:
            time.sleep(0.005)
        try:
            yield
        finally:
            lock(self.fd, False)


@cache
def _flock() -> Callable[[int, bool], bool] | None:
    try:
        import fcntl  # not on Windows
    except ImportError:
        return None

    def lock(fd: int, take: bool) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB if take else fcntl.LOCK_UN)
        except OSError as error:
            return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN)  # a file system without locks: go on
        return True

    return lock


def open_folder(anchor: str, parts: Sequence[str], *, create: bool = False, at_once: bool = True) -> Folder:
    """The folder `parts` below `anchor`. A symlink on the way (someone put it there just now) is refused.

    `at_once` lets the kernel walk the path in one call where it can; the result is the same.
    """
    path = os.path.join(anchor, *parts)  # noqa: PTH118
    if not HAS_DESCRIPTORS:
        return _open_by_path(anchor, parts, create=create)
    root = os.open(anchor, _PASS & ~_NOFOLLOW)
    try:
        if not parts:
            return Folder(path, os.open(".", _DIRECTORY, dir_fd=root))
        try:
            fd = _beneath(root, "/".join(parts)) if at_once else None
        except FileNotFoundError:
            if not create:
                raise
            fd = None
        return Folder(path, _walk(root, parts, create=create) if fd is None else fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EXDEV, errno.EAGAIN):
            raise PathRefused(f"{path} was being replaced by a link while it was opened; refused.") from error
        raise
    finally:
        os.close(root)


def _walk(root: int, parts: Sequence[str], *, create: bool) -> int:
    """Component by component, each held open while the next is looked up in it."""
    current = os.dup(root)
    try:
        for index, part in enumerate(parts):
            flags = _DIRECTORY | _NOFOLLOW if index == len(parts) - 1 else _PASS
            try:
                step = _step(current, part, flags, create=create)
            except NotADirectoryError as error:
                # With O_DIRECTORY some systems say ENOTDIR of a link where others say ELOOP.
                if stat.S_ISLNK(os.stat(part, dir_fd=current, follow_symlinks=False).st_mode):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), part) from error
                raise
            os.close(current)
            current = step
        result, current = current, -1
        return result
    finally:
        if current >= 0:
            os.close(current)


def _step(folder: int, part: str, flags: int, *, create: bool) -> int:
    try:
        return os.open(part, flags, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, dir_fd=folder)
    return os.open(part, flags, dir_fd=folder)


def _beneath(root: int, path: str) -> int | None:
    """The same in one system call, where the kernel has it; None where it has not."""
    call = _openat2()
    return call(root, path) if call else None


@cache
def _openat2() -> Callable[[int, str], int | None] | None:
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # only here, at the first use: a third of the time of a Runtime's construction

    class How(ctypes.Structure):
        _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]

    no_magic, no_symlinks, beneath = 0x02, 0x04, 0x08
    how = How(_DIRECTORY, 0, no_magic | no_symlinks | beneath)
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    number = 437  # the same on every architecture

    def call(root: int, path: str) -> int | None:
        name = ctypes.c_char_p(os.fsencode(path))
        for _ in range(8):
            fd = int(syscall(ctypes.c_long(number), ctypes.c_int(root), name, ctypes.byref(how), ctypes.c_size_t(24)))
            if fd >= 0:
                return fd
            code = ctypes.get_errno()
            if code in (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG):
                return None  # an old kernel, or a container that does not let it through
            if code not in (errno.EAGAIN, errno.EINTR):
                break
        raise OSError(code, os.strerror(code), path)

    return call


def _open_by_path(anchor: str, parts: Sequence[str], *, create: bool) -> Folder:
    path = anchor
    for part in parts:
        path = os.path.join(path, part)  # noqa: PTH118
        if create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)  # noqa: PTH102
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            raise PathRefused(f"{path} was being replaced by a link while it was opened; refused.")
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return Folder(path, None)
