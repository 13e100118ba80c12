"""The files of a parameter in the place where they are now: seen, read and written, never outside of it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.fill import fill
from autopilot_runtime.store.folder import CREATE, Folder, open_below, split
from autopilot_runtime.store.held import Held, Nowhere
from autopilot_runtime.store.look import Look, Sink, read_file
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.redo import finish
from autopilot_runtime.store.restore import restore
from autopilot_runtime.store.rules import Rules
from autopilot_runtime.store.snapshot import Snapshotter
from autopilot_runtime.store.stamps import Row
from autopilot_runtime.store.tree import HEAD_SIZE, Contents, difference, walk
from autopilot_runtime.training.fault import ParameterRefused, meant

_ODD = {b"l": "link", b"x": "left"}


class FileTree:
    """The files below `base` that the rules take. `passing`: the place will soon be gone, so nothing is synced."""

    def __init__(self, base: Path, rules: Rules, *, passing: bool = False) -> None:
        self.base = base
        self.rules = rules
        self.passing = passing
        self._seen: dict[bytes, Row] = {}
        self._is_settled = passing  # a copy of a killed process is thrown away
        self._taker: Snapshotter | None = None

    # ------------------------------------------------------------ all of it

    def look(self, sink: Sink | None = None) -> tuple[bytes, Look]:
        """The tree as it is now; its contents go into the sink."""
        self._settle()
        look = Look(sink or Nowhere(), self.base, self.rules, {} if sink else self._seen)
        tree = look.everything()
        look.write()
        self._seen = look.rows
        self._whole(look)
        return tree, look

    def take(self, store: Store) -> bytes:
        """The tree as it is now, kept in a store."""
        self._settle()
        if self._taker is None or self._taker.store is not store:
            self._taker = Snapshotter(store, self.base, self.rules, remember=not self.passing)
        found = self._taker.take()
        if found.left:
            self.look()
        return found.tree

    def put(self, store: Store, tree: bytes) -> None:
        """Be what a tree in a store says. What is here now is kept there, too."""
        now = self.take(store)
        changes = {path: after for path, (_, after) in difference(store, now, tree).items()}
        restore(store, self.base, changes, durable=not self.passing, redo=not self.passing)

    def fill(self, store: Contents, tree: bytes) -> None:
        """Be what a tree says, in a folder that is empty."""
        fill(store, self.base, tree)

    def unpack(self, state: bytes) -> None:
        """Be what a packed state says."""
        tree, held = Held.unpack(state)
        for _, one in walk(held, tree):
            if one.kind in ("file", "link"):
                held.get(one.digest)
        now, _ = self.look(held)
        changes = {path: after for path, (_, after) in difference(held, now, tree).items()}
        restore(held, self.base, changes, durable=not self.passing, redo=not self.passing)

    def _settle(self) -> None:
        """Finish what a killed process had begun to put here: half of it is no state of anybody."""
        if not self._is_settled and self.base.is_dir():
            finish(self.base)
            self._is_settled = True

    def _whole(self, look: Look) -> None:
        if look.left:
            for name, kind in _names(look.rows):
                if kind == "left":
                    raise ParameterRefused(
                        f"{self.base / name} cannot be kept: it is a socket, pipe or device, unreadable, or larger "
                        f"than {self.rules.max_file >> 20} MB. Move it away, or leave it out: pattern '!{name}'."
                    )

    # ------------------------------------------------------------ one of them

    def names(self) -> list[str]:
        """All files and links, by name."""
        return sorted(name for name, _ in _names(self.look()[1].rows))

    def relative(self, path: str | os.PathLike[str], *, follow: bool = True) -> str:
        """The name of one of the files as the tree spells it, links on the way resolved; or `ParameterRefused`."""
        given, base = os.fspath(path), os.path.realpath(self.base)
        above, last = os.path.split(os.path.join(base, given))  # noqa: PTH118
        if "\0" in given:
            raise ParameterRefused(f"{given!r} is no path")
        if follow or last in ("", ".", ".."):
            real = os.path.realpath(os.path.join(base, given))  # noqa: PTH118
        else:
            real = os.path.join(os.path.realpath(above), last)  # noqa: PTH118
        if not real.startswith(os.path.join(base, "")):  # noqa: PTH118
            raise ParameterRefused(f"{given!r} leads out of {self.base}: name a file below it")
        name = real[len(base) :].lstrip(os.sep).replace(os.sep, "/")
        if not self.takes(name):
            raise ParameterRefused(
                f"{given!r} is none of the files of this parameter ({self.rules.only or 'everything'} in {self.base})"
            )
        return name

    def takes(self, name: str) -> bool:
        """Whether a file of this name would be a part of the tree."""
        parts = name.split("/")
        folders = [(part, "/".join(parts[: number + 1])) for number, part in enumerate(parts[:-1])]
        if any(self.rules.omits_folder(part, os.fsencode(above)) for part, above in folders):
            return False
        return not self.rules.omits(parts[-1], os.fsencode(name))

    def read(self, path: str | os.PathLike[str]) -> bytes:
        """The bytes of one."""
        name = self.relative(path)
        with self._parent(name) as (folder, last):
            info = folder.stat(last) if folder is not None else None
            if folder is None or info is None or not stat.S_ISREG(info.st_mode):
                raise ParameterRefused(f"there is no file {name!r} in {self.base}.{meant(name, self.names())}")
            return read_file(folder, last, self.rules.max_file)[0]

    def write(self, path: str | os.PathLike[str], data: bytes, mode: int | None = None) -> str:
        """Replace one, or make it: whole or not at all. Its mode stays what it was. Gives its name."""
        name = self.relative(path)
        if name.rpartition("/")[0]:
            (self.base / name).parent.mkdir(parents=True, exist_ok=True)
        with self._parent(name) as (folder, last):
            if folder is None:
                raise ParameterRefused(f"{name!r} cannot be written: what it should lie in is no folder")
            info = folder.stat(last)
            if info is not None and stat.S_ISDIR(info.st_mode):
                raise ParameterRefused(f"{name!r} cannot be written: it is a folder")
            kept = stat.S_IMODE(info.st_mode) if info is not None and stat.S_ISREG(info.st_mode) else 0o644
            _replace(folder, last, data, mode if mode is not None else kept, durable=not self.passing)
        return name

    def delete(self, path: str | os.PathLike[str]) -> str:
        """Remove one; of a link, the link. Gives its name."""
        name = self.relative(path, follow=False)
        with self._parent(name) as (folder, last):
            info = folder.stat(last) if folder is not None else None
            if folder is None or info is None or stat.S_ISDIR(info.st_mode):
                raise ParameterRefused(f"there is no file {name!r} in {self.base}.{meant(name, self.names())}")
            folder.unlink(last)
        return name

    @contextlib.contextmanager
    def _parent(self, name: str) -> Iterator[tuple[Folder | None, str]]:
        """The folder a file lies in (None: there is none), and its name there. No link is followed any more."""
        above, _, last = os.fsencode(name).rpartition(b"/")
        with Folder.root(os.path.realpath(self.base)) as root:
            try:
                folder = open_below(root, split(above) if above else ())
            except OSError:
                yield None, os.fsdecode(last)
                return
            with folder:
                yield folder, os.fsdecode(last)


def _names(rows: dict[bytes, Row]) -> Iterator[tuple[str, str]]:
    """Name and kind of everything in some rows but folders."""
    for path, row in rows.items():
        above = os.fsdecode(path) + "/" if path else ""
        for number, name in enumerate(row.names.split(b"\0") if row.names else ()):
            letter = row.heads[number * HEAD_SIZE : number * HEAD_SIZE + 1]
            if letter != b"\0":
                yield above + os.fsdecode(name), _ODD.get(letter, "file")
        for at in _folders(row.folders):
            yield above + os.fsdecode(at), "left"


def _folders(folders: bytes) -> Iterator[bytes]:
    """Names of the folders that could not be looked into."""
    at = 0
    while at < len(folders):
        end = folders.index(b"\0", at + HEAD_SIZE)
        if folders[at : at + 1] == b"x":
            yield folders[at + HEAD_SIZE : end]
        at = end + 1


def _replace(folder: Folder, name: str, data: bytes, mode: int, *, durable: bool) -> None:
    temp = f".write.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        with os.fdopen(folder.open(temp, CREATE), "wb") as file:
            file.write(data)
            file.flush()
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), mode)
            if durable:
                os.fsync(file.fileno())
        folder.take(folder, temp, name)
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error is the one to report
            folder.unlink(temp)
        raise StoreError(f"{name} cannot be written: {error.strerror or error}. It is what it was.") from error
    if durable:
        folder.sync()
