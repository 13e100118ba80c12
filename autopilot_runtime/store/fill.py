"""Writes a tree into an empty folder as fast as the system lets us: for copies, so nothing is staged or synced."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.folder import CREATE, Folder
from autopilot_runtime.store.tree import Contents, State, entries

_AT_ONCE = 16 << 20

_Leaf = tuple[str, State]


def fill(store: Contents, root: str | os.PathLike[str], tree: bytes) -> None:
    """Make an empty folder what a tree says. After an error it holds a part of that: throw it away."""
    try:
        with Folder.root(os.path.realpath(root)) as folder:
            _Filler(store).folder(folder, tree)
    except OSError as error:
        raise StoreError(f"The copy in {root} cannot be made: {error.strerror or error}.") from error


class _Filler:
    def __init__(self, store: Contents) -> None:
        self._store = store
        self._exact: dict[
            int, bool
        ] = {}  # whether a file of this mode is made with it; the system may take bits away

    def folder(self, folder: Folder, tree: bytes) -> None:
        """Everything in one folder, and below."""
        leaves: list[_Leaf] = []
        for spelt, state in entries(self._store, tree).items():
            name = os.fsdecode(spelt)
            if state.kind == "folder":
                folder.mkdir(name)
                with folder.down(name) as below:
                    self.folder(below, state.digest)
                folder.chmod(name, state.mode)
            elif state.kind == "left":
                raise StoreError(f"{name} cannot be restored: its content was not kept.")
            else:
                leaves.append((name, state))
        for some in _portions(leaves):
            contents = self._store.get_all([state.digest for _, state in some])
            for name, state in some:
                if state.kind == "link":
                    folder.symlink(contents[state.digest], name)
                else:
                    self._write(folder, name, contents[state.digest], state.mode)

    def _write(self, folder: Folder, name: str, data: bytes, mode: int) -> None:
        fd = folder.open(name, CREATE, mode)
        try:
            done = os.write(fd, data)
            while done < len(data):
                done += os.write(fd, memoryview(data)[done:])
            exact = self._exact.get(mode)
            if exact is None:
                exact = self._exact[mode] = stat.S_IMODE(os.fstat(fd).st_mode) == mode
            if not exact and hasattr(os, "fchmod"):
                os.fchmod(fd, mode)
        finally:
            os.close(fd)


def _portions(leaves: list[_Leaf]) -> Iterator[list[_Leaf]]:
    """As many at a time as fit into memory."""
    some: list[_Leaf] = []
    size = 0
    for leaf in leaves:
        if some and size + leaf[1].size > _AT_ONCE:
            yield some
            some, size = [], 0
        some.append(leaf)
        size += leaf[1].size
    if some:
        yield some
