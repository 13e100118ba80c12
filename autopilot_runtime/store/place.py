"""Puts staged contents in their places: what must go goes first, then folders come, then files, then modes."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.folder import CREATE, READ, Folder, open_below, split
from autopilot_runtime.store.tree import State

_NO_ATTRIBUTES = {errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.ENOENT, errno.ELOOP}


class Placer:
    """One set of paths below a folder, and what each is to be."""

    def __init__(self, root: Folder, wanted: Mapping[bytes, State | None], *, durable: bool) -> None:
        self._root = root
        self._wanted = wanted
        self._durable = durable
        self._open: tuple[bytes, Folder] | None = None
        self._modes: dict[bytes, int] = {}  # of folders, set last: one that may not be changed is changed until then
        self._touched: set[bytes] = set()
        for path, state in wanted.items():
            if state is not None and state.kind == "left":
                raise StoreError(f"{os.fsdecode(path)} cannot be restored: its content was not kept.")

    def apply(self, aside: Folder, staged: Mapping[bytes, str]) -> list[bytes]:
        """Change the files. Gives the folders that had to stay."""
        try:
            stay = [path for path in sorted(self._wanted, reverse=True) if not self._clear(path)]
            for path in sorted(self._wanted):
                self._put(path, aside, staged.get(path))
            self._finish()
        except OSError as error:
            raise StoreError(
                f"Restoring stopped at {error.filename or self._root.path}: {error.strerror}."
            ) from error
        finally:
            self._leave()
        return stay

    # ------------------------------------------------------------ one path

    def _clear(self, path: bytes) -> bool:
        """Remove what is in the way. Deepest come first, so a folder's own are gone by now. False: it must stay."""
        wanted = self._wanted[path]
        with self._parent(path) as (folder, name):
            now = folder.stat(name) if folder is not None else None
            if folder is None or now is None:
                return True
            is_folder = stat.S_ISDIR(now.st_mode)
            if wanted is not None and is_folder == (wanted.kind == "folder"):
                return True  # replaced in place
            self._usable(folder, path)
            if not is_folder:
                folder.unlink(name)
                return True
            if _empty(folder, name):
                return True
            if wanted is None:
                return False
            raise StoreError(f"{os.fsdecode(path)} cannot be restored: a folder with others' files is in its place.")

    def _put(self, path: bytes, aside: Folder, staged: str | None) -> None:
        wanted = self._wanted[path]
        if wanted is None:
            return
        with self._parent(path) as (folder, name):
            if folder is None:
                raise StoreError(f"{os.fsdecode(path)} cannot be restored: the folder it was in is not there.")
            now = folder.stat(name)
            if wanted.kind == "folder":
                if now is None:
                    self._usable(folder, path)
                    folder.mkdir(name) if staged is None else folder.take(aside, staged, name)
                self._modes[path] = wanted.mode
                return
            assert staged is not None
            self._usable(folder, path)
            if now is not None and stat.S_ISREG(now.st_mode) and wanted.kind == "file":
                _dress(aside, staged, folder, name, now, wanted.mode)
            try:
                folder.take(aside, staged, name)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _carry(aside, staged, folder, name, wanted)

    def _finish(self) -> None:
        """Modes of folders, deepest first, and the names on the disk."""
        self._leave()
        for path in sorted(self._modes, reverse=True):
            with self._parent(path) as (folder, name):
                now = folder.stat(name) if folder is not None else None
                if folder is not None and now is not None and stat.S_IMODE(now.st_mode) != self._modes[path]:
                    folder.chmod(name, self._modes[path])
        for path in self._touched if self._durable else ():
            with contextlib.suppress(OSError), open_below(self._root, split(path) if path else ()) as folder:
                folder.sync()

    # ------------------------------------------------------------ folders

    @contextlib.contextmanager
    def _parent(self, path: bytes) -> Iterator[tuple[Folder | None, str]]:
        """The folder of a path (None: there is none) and its name there; the last one used stays open."""
        above, _, name = path.rpartition(b"/")
        if self._open is None or self._open[0] != above:
            self._leave()
            try:
                self._open = (above, open_below(self._root, split(above) if above else (), usable=True))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
        yield (self._open[1] if self._open else None), os.fsdecode(name)

    def _usable(self, folder: Folder, path: bytes) -> None:
        """See that we may change this folder; its own mode comes back at the end."""
        above = path.rpartition(b"/")[0]
        if above in self._touched:
            return
        self._touched.add(above)
        if folder.fd is None or not hasattr(os, "fchmod"):
            return
        info = os.fstat(folder.fd)
        mode = stat.S_IMODE(info.st_mode)
        if mode & 0o300 != 0o300 and above:
            os.fchmod(folder.fd, mode | 0o700)
            self._modes.setdefault(above, mode)

    def _leave(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _empty(folder: Folder, name: str) -> bool:
    """Remove a folder if nothing is in it but what Python made of files that are gone."""
    try:
        folder.rmdir(name)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        with folder.down(name) as inner:
            if not _only_compiled(inner):
                return False
            with inner.down("__pycache__") as cache:
                for one in _names(cache):
                    cache.unlink(one)
            inner.rmdir("__pycache__")
        folder.rmdir(name)
    return True


def _only_compiled(folder: Folder) -> bool:
    if _names(folder) != ["__pycache__"]:
        return False
    with contextlib.suppress(OSError), folder.down("__pycache__") as cache:
        infos = [(name, cache.stat(name)) for name in _names(cache)]
        return all(name.endswith(".pyc") and info and stat.S_ISREG(info.st_mode) for name, info in infos)
    return False


def _names(folder: Folder) -> list[str]:
    with os.scandir(folder.scanned) as found:
        return [entry.name for entry in found]


def _dress(aside: Folder, staged: str, folder: Folder, name: str, old: os.stat_result, mode: int) -> None:
    """Owner and attributes of the file that is replaced stay, as far as the system lets us."""
    new = aside.stat(staged)
    if new is None or not hasattr(os, "fchown"):
        return
    fd = aside.open(staged, READ)
    try:
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            with contextlib.suppress(PermissionError):  # only root may give files away
                os.fchown(fd, old.st_uid, old.st_gid)
            os.fchmod(fd, mode)
        if hasattr(os, "listxattr"):
            _copy_attributes(folder, name, fd)
    finally:
        os.close(fd)


def _copy_attributes(folder: Folder, name: str, fd: int) -> None:
    try:
        source = folder.open(name, READ)
    except OSError:
        return  # not readable, so it has nothing that we could copy
    try:
        for attribute in os.listxattr(source):
            if attribute != "security.capability":
                with contextlib.suppress(OSError):  # labels and the like the system sets by itself
                    os.setxattr(fd, attribute, os.getxattr(source, attribute))
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise
    finally:
        os.close(source)


def _carry(aside: Folder, staged: str, folder: Folder, name: str, wanted: State) -> None:
    """Across file systems: a copy beside the place, then a rename."""
    temp = f".{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        if wanted.kind == "link":
            folder.symlink(aside.readlink(staged), temp)
        else:
            with (
                os.fdopen(aside.open(staged, READ), "rb") as source,
                os.fdopen(folder.open(temp, CREATE), "wb") as target,
            ):
                target.write(source.read())
                target.flush()
                os.fchmod(target.fileno(), wanted.mode)
                os.fsync(target.fileno())
        folder.take(folder, temp, name)
        aside.unlink(staged)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            folder.unlink(temp)
        raise
