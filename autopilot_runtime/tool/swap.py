"""Puts new bytes in the place of a file, whole or not at all, and as much like the old file as the system allows."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable

from autopilot_runtime.core.errors import EditConflict, PathRefused, ToolError
from autopilot_runtime.core.process import started
from autopilot_runtime.tool.folder import CREATE, READ, Folder
from autopilot_runtime.tool.known import stamp_of
from autopilot_runtime.tool.scan import CHUNK, digest_of

_ALWAYS_READ = 4 << 20
# Not supported, not permitted; or the file is gone, which is noticed a moment later.
_NO_ATTRIBUTES = {errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.ENOENT, errno.ELOOP}
_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISLNK: "a link that was put there just now",
}


def require_regular(info: os.stat_result, shown: str) -> None:
    """Refuse everything but ordinary files: others may hang, or do something when they are opened."""
    if not stat.S_ISREG(info.st_mode):
        kind = next((name for test, name in _KINDS.items() if test(info.st_mode)), "not an ordinary file")
        raise PathRefused(f"{shown} is {kind}; file tools work on ordinary files only.")


def open_regular(folder: Folder, name: str, shown: str) -> int:
    """A descriptor to read an ordinary file; anything else is refused and never waited for."""
    info = folder.stat(name)
    if info is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), shown)
    require_regular(info, shown)
    fd = folder.open(name, READ)
    try:
        require_regular(os.fstat(fd), shown)
    except BaseException:
        os.close(fd)
        raise
    return fd


def replace(
    folder: Folder,
    name: str,
    data: bytes,
    *,
    old: os.stat_result | None,
    digest: bytes | None,
    shown: str,
    ready: Callable[[], None],
) -> os.stat_result:
    """Put `data` in the place of `name`, if that still is the file `old` with that digest (None: still nothing).

    `ready` is called when everything is on the disk but the name; if it raises, nothing has happened.
    """
    temp = f".{name[:40]}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    fd = folder.open(temp, CREATE, 0o666 if old is None else 0o600)
    try:
        with os.fdopen(fd, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view[: CHUNK * 8]) or 0 :]
            if old is not None:
                _dress(folder, name, file.fileno(), old)
            os.fsync(file.fileno())
            info = os.fstat(file.fileno())
        with folder.locked():
            _still(folder, name, old=old, digest=digest, shown=shown)
            ready()
            folder.rename(temp, name)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            folder.unlink(temp)
        raise
    folder.sync()
    return info


def sweep(folder: Folder, name: str) -> None:
    """Remove what writers of `name` that were killed have left beside it."""
    left = re.compile(rf"\.{re.escape(name[:40])}\.(\d+)\.[0-9a-f]{{8}}\.tmp")
    for found in folder.names():
        match = left.fullmatch(found)
        if match is not None and started(int(match[1])) is None:
            folder.unlink(found)


def _still(folder: Folder, name: str, *, old: os.stat_result | None, digest: bytes | None, shown: str) -> None:
    """Whether the file is what it was when the change was made; else somebody's work would be lost."""
    now = folder.stat(name)
    if now is None and old is None:
        return
    if now is None or old is None:
        what = "was deleted" if now is None else "was created by somebody else"
        raise EditConflict(f"{shown} {what} while it was being written. Nothing was written; read it, then decide.")
    require_regular(now, shown)
    # A change within one tick of the disk's clock leaves the stamp as it was: what is quickly read is read.
    if stamp_of(now) == stamp_of(old) and now.st_size > _ALWAYS_READ:
        return
    with os.fdopen(folder.open(name, READ), "rb") as file:
        if digest_of(file.read(now.st_size + 1)) != digest:
            raise EditConflict(
                f"{shown} was changed by somebody else while it was being written. Nothing was written; read it."
            )


def _dress(folder: Folder, name: str, fd: int, old: os.stat_result) -> None:
    """Owner, attributes and mode of the old file, in the order in which they do not undo each other."""
    owned = True
    if hasattr(os, "fchown"):
        mine = os.fstat(fd)
        if (mine.st_uid, mine.st_gid) != (old.st_uid, old.st_gid):
            owned = _give(fd, old)
    if hasattr(os, "listxattr"):
        _copy_attributes(folder, name, fd)
    mode = stat.S_IMODE(old.st_mode)
    if hasattr(os, "fchmod"):
        # With another owner a set-id bit would lend out the wrong rights.
        os.fchmod(fd, mode if owned else mode & 0o1777)


def _give(fd: int, old: os.stat_result) -> bool:
    try:
        os.fchown(fd, old.st_uid, old.st_gid)
    except PermissionError:
        with contextlib.suppress(PermissionError):  # only root may give files away; the group is often possible
            os.fchown(fd, -1, old.st_gid)
        return False
    return True


def _copy_attributes(folder: Folder, name: str, fd: int) -> None:
    try:
        with os.fdopen(folder.open(name, READ), "rb") as source:
            for attribute in os.listxattr(source.fileno()):
                # Capabilities are dropped by every ordinary write, too.
                if attribute == "security.capability":
                    continue
                # What the system keeps to itself (labels, trusted.*) it also sets by itself.
                with contextlib.suppress(OSError):
                    os.setxattr(fd, attribute, os.getxattr(source.fileno(), attribute))
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise


def explained(error: OSError, shown: str, verb: str, *, free: int | None = None) -> ToolError:
    """An error of the file system in words: which file, why, and what is safe."""
    reasons = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "no permission",
        errno.EPERM: "the system does not permit it (the file or its folder may be immutable)",
        errno.EIO: "the disk reported an input/output error",
        errno.ENOENT: "there is no such file",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
        errno.ELOOP: "its links go round in a circle",
        errno.ENAMETOOLONG: "the name is too long",
        errno.EISDIR: "it is a folder",
        errno.EAGAIN: "it has nothing to read now",
    }
    code = errno.errorcode.get(error.errno or 0, type(error).__name__)
    reason = reasons.get(error.errno or 0) or error.strerror or str(error)
    if free is not None and error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason += f", {free:,} bytes are free"
    safe = " The old content is untouched and nothing was left behind." if verb == "write" else ""
    return ToolError(f"Cannot {verb} {shown}: {reason} ({code}).{safe}")


def free_bytes(path: str) -> int | None:
    """Bytes left on the disk of a folder."""
    if not hasattr(os, "statvfs"):
        return None
    try:
        info = os.statvfs(path)
    except OSError:
        return None
    return info.f_bavail * info.f_frsize
