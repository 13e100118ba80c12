"""Writes what a restore needs aside, before anything is touched: files, and whole folders where none are yet."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.folder import CREATE, Folder, open_below, split
from autopilot_runtime.store.tree import Contents, State

_AT_ONCE = 16 << 20


class Leaf(NamedTuple):
    """One file or link that is to be written aside, in `folder` there and under `name`."""

    path: bytes
    state: State
    folder: tuple[str, ...]
    name: str


@dataclass
class Plan:
    """What is written aside. `staged` is path → name there, of files and of new folders with all they hold."""

    leaves: list[Leaf] = field(default_factory=list)
    staged: dict[bytes, str] = field(default_factory=dict)
    folders: dict[tuple[str, ...], int] = field(default_factory=dict)  # below new folders, with their modes
    inside: set[bytes] = field(default_factory=set)  # paths that come with a new folder


def plan(root: Folder, wanted: Mapping[bytes, State | None]) -> Plan:
    """Where each path is written. A folder that is not there yet is put together aside, and comes in one move."""
    made, place = Plan(), dict[bytes, tuple[str, ...]]()
    for path, state in sorted(wanted.items()):
        above, _, name = path.rpartition(b"/")
        if above in place:
            made.inside.add(path)
            if state is not None and state.kind == "folder":
                place[path] = (*place[above], os.fsdecode(name))
                made.folders[place[path]] = state.mode
            elif state is not None:
                made.leaves.append(Leaf(path, state, place[above], os.fsdecode(name)))
        elif state is not None and (state.kind != "folder" or _is_new(root, path)):
            made.staged[path] = aside = str(len(made.staged))
            if state.kind == "folder":
                place[path] = (aside,)
            else:
                made.leaves.append(Leaf(path, state, (), aside))
    made.leaves.sort(key=lambda leaf: leaf.folder)
    return made


def _is_new(root: Folder, path: bytes) -> bool:
    """Whether there is nothing at a path, and a folder can be moved there: it is on the disk of the root."""
    *above, name = split(path)
    try:
        with open_below(root, above) as folder:
            if folder.fd is None or root.fd is None or os.fstat(folder.fd).st_dev != os.fstat(root.fd).st_dev:
                return False
            return folder.stat(name) is None
    except OSError:
        return False


def write(store: Contents, aside: Folder, made: Plan, *, durable: bool) -> None:
    """Write all of it. An error leaves everything but `aside` as it was."""
    files = {leaf.name for leaf in made.leaves if not leaf.folder}
    for name in made.staged.values():
        if name not in files:
            aside.mkdir(name)
    for parts in made.folders:
        with open_below(aside, parts[:-1]) as folder:
            folder.mkdir(parts[-1])
    opened: Folder | None = None
    current: tuple[str, ...] | None = None
    try:
        for leaf, data in _contents(store, made.leaves):
            if opened is None or leaf.folder != current:
                _leave(opened, durable=durable)
                opened, current = open_below(aside, leaf.folder), leaf.folder
            _put(opened, leaf, data, durable=durable)
    finally:
        _leave(opened, durable=durable)
    for parts, mode in reversed(made.folders.items()):
        with open_below(aside, parts[:-1]) as folder:
            folder.chmod(parts[-1], mode)


def _put(folder: Folder, leaf: Leaf, data: bytes, *, durable: bool) -> None:
    try:
        if leaf.state.kind == "link":
            folder.symlink(data, leaf.name)
        else:
            _write(folder, leaf.name, data, leaf.state.mode, durable=durable)
    except OSError as error:
        shown, why = os.fsdecode(leaf.path), error.strerror or error
        raise StoreError(f"{shown} cannot be restored: {why}. Nothing was changed.") from error


def _leave(folder: Folder | None, *, durable: bool) -> None:
    if folder is not None:
        if durable:
            folder.sync()
        folder.close()


def _contents(store: Contents, leaves: list[Leaf]) -> Iterator[tuple[Leaf, bytes]]:
    """Each with its content, which is read in portions that fit into memory."""
    at = 0
    while at < len(leaves):
        end, size = at, 0
        while end < len(leaves) and end - at < 200 and (end == at or size + leaves[end].state.size <= _AT_ONCE):
            size += leaves[end].state.size
            end += 1
        some = leaves[at:end]
        data = store.get_all(list({leaf.state.digest for leaf in some}))
        yield from ((leaf, data[leaf.state.digest]) for leaf in some)
        at = end


def _write(folder: Folder, name: str, data: bytes, mode: int, *, durable: bool) -> None:
    fd = folder.open(name, CREATE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if hasattr(os, "fchmod"):
            os.fchmod(fd, mode)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
