"""One look at everything in a folder: what has the stamps it had is not read, the rest becomes objects."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.folder import READ, Folder, open_below, split
from autopilot_runtime.store.objects import Store, digest_of
from autopilot_runtime.store.rules import Rules
from autopilot_runtime.store.stamps import STAMP_SIZE, UNSURE, Row, clock, pack, settled
from autopilot_runtime.store.tree import FOLDER_MODE, HEAD_SIZE, State, bare, encode

MAX_DEPTH = 200
_BATCH = 16 << 20
_BATCH_FILES = 4_000
_TRIES = 5
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}


class Sink(Protocol):
    """Where contents go."""

    def put_all(self, contents: dict[bytes, bytes], /) -> int:
        """Keep contents under their digests."""


class Stopped(StoreError):
    """A look was ended by whoever asked for it."""


class Look:
    """One pass over a folder. `rows` is what the next one will be compared with."""

    def __init__(
        self, store: Sink, root: Path, rules: Rules, before: Mapping[bytes, Row], stopped: Callable[[], bool] = bool
    ) -> None:
        self._store = store
        self._stopped = stopped
        self._root = root
        self._rules = rules
        self._before = before
        self._pending: dict[bytes, bytes] = {}
        self._pending_size = 0
        self.rows: dict[bytes, Row] = {}
        self.files = self.size = self.read = self.left = 0

    def everything(self) -> bytes:
        """The tree of the root."""
        try:
            with Folder.root(str(self._root)) as folder:
                tree = self._folder(folder, b"", 0)
        except OSError as error:
            raise StoreError(f"{self._root} cannot be kept: {error.strerror or error}.") from error
        assert tree is not None
        return tree

    def write(self) -> None:
        """Put what was found into the store."""
        if self._pending:
            self._store.put_all(self._pending)
            self._pending, self._pending_size = {}, 0

    def _hold(self, data: bytes) -> bytes:
        digest = digest_of(data)
        if digest not in self._pending:
            self._pending[digest] = data
            self._pending_size += len(data)
            # Contents that nothing leads to yet: in batches, so that memory and the transaction stay small.
            if self._pending_size > _BATCH or len(self._pending) > _BATCH_FILES:
                self.write()
        return digest

    def _folder(self, folder: Folder, path: bytes, depth: int) -> bytes | None:
        """The tree of one folder; None when it is left out with all it holds."""
        if self._stopped():
            raise Stopped(f"The look at {self._root} was stopped.")
        began = clock()
        names: list[str] = []
        infos: list[os.stat_result] = []
        stamps: list[bytes] = []
        below: list[tuple[str, int]] = []
        with os.scandir(folder.scanned) as found:
            for entry in found:
                info = entry.stat(follow_symlinks=False)
                mode = info.st_mode
                if mode & 0o170000 == 0o040000:
                    below.append((entry.name, mode & 0o7777))
                    continue
                names.append(entry.name)
                infos.append(info)
                self.size += (size := info.st_size)
                stamps.append(pack(mode, size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev))
        self.files += len(names) + len(below)
        self._rules.afford(self.files, self.size, self._root)
        if path and self._rules.derived and self._is_derived(folder, names):
            return None
        before = self._before.get(path)
        joined, stamped = os.fsencode("\0".join(names)), b"".join(stamps)
        if before is not None and before.names == joined and before.stamps == stamped:
            heads = before.heads
        else:
            joined, stamped, heads = self._files(folder, path, names, infos, stamps, before, began)
        self.left += heads[::HEAD_SIZE].count(b"x")
        folders = self._below(folder, path, below, depth)
        self.rows[path] = row = self._row(before, Row(joined, stamped, heads, folders, b""))
        return row.tree if self._is_part(path, row) else None

    def _is_part(self, path: bytes, row: Row) -> bool:
        """Of some files only, a folder with none of them is not a part."""
        return not path or self._rules.only is None or bool(row.folders or row.heads.strip(b"\0"))

    def _row(self, before: Row | None, now: Row) -> Row:
        """What is known of a folder from now on: with the tree it had, where nothing of that is another."""
        same = before is not None and (before.folders, before.heads, before.names) == (
            now.folders,
            now.heads,
            now.names,
        )
        if before is not None and same:
            return before if before.stamps == now.stamps else before._replace(stamps=now.stamps)
        return now._replace(tree=self._hold(encode([*_pairs(now.names, now.heads), *_named(now.folders)])))

    def _is_derived(self, folder: Folder, names: list[str]) -> bool:
        def read(name: str) -> bytes:
            fd = folder.open(name, READ)
            try:
                return os.read(fd, 100)
            finally:
                os.close(fd)

        return self._rules.is_derived(set(names), read)

    def _below(self, folder: Folder, path: bytes, below: list[tuple[str, int]], depth: int) -> bytes:
        """Names and heads of the folders in a folder, as one string."""
        parts: list[bytes] = []
        for name, mode in sorted(below):
            spelt = os.fsencode(name)
            full = _join(path, spelt)
            if self._rules.omits_folder(name, full):
                continue
            state = self._descend(folder, name, full, mode, depth)
            if state is not None:
                self.left += state.kind == "left"
                parts.append(state.head + spelt + b"\0")
        return b"".join(parts)

    def _descend(self, folder: Folder, name: str, path: bytes, mode: int, depth: int) -> State | None:
        if depth >= MAX_DEPTH:
            return _left(b"too deep")
        try:
            with folder.down(name) as inner:
                tree = self._folder(inner, path, depth + 1)
        except PermissionError:
            return _left(b"unreadable")
        except OSError as error:
            if error.errno in _GONE:
                return None  # it went away, or became something else, while we looked
            raise
        if tree is None:
            return None
        return State("folder", mode if self._rules.only is None else FOLDER_MODE, 0, tree)

    def _files(
        self,
        folder: Folder,
        path: bytes,
        names: list[str],
        infos: list[os.stat_result],
        stamps: list[bytes],
        before: Row | None,
        began: int,
    ) -> tuple[bytes, bytes, bytes]:
        """Names, stamps and heads of what is no folder; what has the stamp it had keeps its head."""
        known = {} if before is None else _by_name(before)
        kept: list[tuple[bytes, bytes, bytes]] = []
        for name, info, stamp in zip(names, infos, stamps, strict=True):
            spelt = os.fsencode(name)
            old = known.get(spelt)
            if old is not None and old[0] == stamp:
                kept.append((spelt, stamp, old[1]))
            elif not self._rules.omits(name, _join(path, spelt)):
                found = self._entry(folder, name, info, began)
                if found is not None:
                    kept.append((spelt, found[0], found[1].head))
            else:
                # Left out: it has a place in the row, so that the rows compare, and none in the tree.
                kept.append((spelt, stamp, bytes(HEAD_SIZE)))
        return b"\0".join(k[0] for k in kept), b"".join(k[1] for k in kept), b"".join(k[2] for k in kept)

    def _entry(self, folder: Folder, name: str, info: os.stat_result, began: int) -> tuple[bytes, State] | None:
        """Stamp and state of one entry; None when it has just gone."""
        try:
            if stat.S_ISREG(info.st_mode):
                return self._file(folder, name, info, began)
            if stat.S_ISLNK(info.st_mode):
                target = folder.readlink(name)
                return settled(info, now=began), State("link", 0, len(target), self._hold(target))
        except PermissionError:
            return settled(info, now=began), _left(b"unreadable %d %d" % (info.st_size, info.st_mtime_ns))
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        return settled(info, now=began), _left(b"special %d" % stat.S_IFMT(info.st_mode))

    def _file(self, folder: Folder, name: str, info: os.stat_result, began: int) -> tuple[bytes, State]:
        if info.st_size > self._rules.max_file:
            return settled(info, now=began), _left(b"large %d %d" % (info.st_size, info.st_mtime_ns))
        self.read += 1
        now = began
        for _ in range(_TRIES):
            data, after = read_file(folder, name, self._rules.max_file)
            if _same(info, after) and len(data) == after.st_size:
                state = State("file", stat.S_IMODE(after.st_mode), len(data), self._hold(data))
                return settled(after, now=now), state
            info, now = after, clock()
        # Written to all the time: what was read is what is kept, and it is looked at again.
        return UNSURE, State("file", stat.S_IMODE(info.st_mode), len(data), self._hold(data))


def look_at(store: Store, root: Folder, path: bytes, *, max_file: int) -> State | None:
    """How one path below an open folder is now, with its content kept; None where there is nothing."""
    *above, name = split(path)
    try:
        with open_below(root, above) as folder:
            info = folder.stat(name)
            if info is None:
                return None
            if stat.S_ISDIR(info.st_mode):
                return bare(stat.S_IMODE(info.st_mode))
            if stat.S_ISLNK(info.st_mode):
                return State("link", 0, info.st_size, store.put(folder.readlink(name)))
            if not stat.S_ISREG(info.st_mode) or info.st_size > max_file:
                return _left(b"%d %d %d" % (info.st_mode, info.st_size, info.st_mtime_ns))
            data, after = read_file(folder, name, max_file)
            return State("file", stat.S_IMODE(after.st_mode), len(data), store.put(data))
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise StoreError(f"{os.fsdecode(path)} cannot be looked at: {error.strerror or error}.") from error


def read_file(folder: Folder, name: str, limit: int) -> tuple[bytes, os.stat_result]:
    """The bytes of an ordinary file, and how it stood when they had been read."""
    fd = folder.open(name, READ)
    try:
        data = os.read(fd, 64 << 10)
        if len(data) == 64 << 10:
            parts = [data]
            size = len(data)
            while (more := os.read(fd, 4 << 20)) and size <= limit:
                parts.append(more)
                size += len(more)
            data = b"".join(parts)
        return data, os.fstat(fd)
    finally:
        os.close(fd)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (
        one.st_mtime_ns == other.st_mtime_ns
        and one.st_size == other.st_size
        and one.st_ino == other.st_ino
        and one.st_ctime_ns == other.st_ctime_ns
        and stat.S_ISREG(other.st_mode)
    )


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def _left(looks: bytes) -> State:
    return State("left", 0, 0, digest_of(looks))


def _by_name(row: Row) -> dict[bytes, tuple[bytes, bytes]]:
    """Name → stamp and head."""
    names = row.names.split(b"\0") if row.names else []
    return {
        name: (row.stamps[n * STAMP_SIZE : (n + 1) * STAMP_SIZE], row.heads[n * HEAD_SIZE : (n + 1) * HEAD_SIZE])
        for n, name in enumerate(names)
    }


def _pairs(names: bytes, heads: bytes) -> list[tuple[bytes, bytes]]:
    listed = names.split(b"\0") if names else []
    cut = [heads[at : at + HEAD_SIZE] for at in range(0, len(heads), HEAD_SIZE)]
    return [(name, head) for name, head in zip(listed, cut, strict=True) if head[0]]


def _named(folders: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at < len(folders):
        end = folders.index(b"\0", at + HEAD_SIZE)
        found.append((folders[at + HEAD_SIZE : end], folders[at : at + HEAD_SIZE]))
        at = end + 1
    return found
