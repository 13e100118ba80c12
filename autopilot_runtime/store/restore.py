"""Makes files be what a store says: staged whole first, then put in place one by one; no link is followed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.folder import CREATE, Folder
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.place import Placer
from autopilot_runtime.store.rules import EVERYTHING, SCRATCH, Rules
from autopilot_runtime.store.snapshot import Snapshotter
from autopilot_runtime.store.tree import State, difference

_AT_ONCE = 16 << 20
Wanted = Mapping[bytes, State | None]


def restore_tree(
    store: Store, root: str | os.PathLike[str], tree: bytes, *, rules: Rules = EVERYTHING, durable: bool = True
) -> list[bytes]:
    """Make a folder equal to a tree, but for what the rules leave out; gives the paths that were changed.

    What is there now is kept in the store first, under no name: point to it, or it goes with the next `collect`.
    """
    Path(root).mkdir(parents=True, exist_ok=True)
    now = Snapshotter(store, root, rules).take()
    changes = difference(store, now.tree, tree)
    restore(store, root, {path: after for path, (_, after) in changes.items()}, durable=durable)
    return sorted(changes)


def restore(store: Store, root: str | os.PathLike[str], wanted: Wanted, *, durable: bool = True) -> list[bytes]:
    """Make each path what is wanted (None: gone). Gives the folders that stay because others' files are in them.

    Everything that is needed is read, checked and written aside before anything is touched: a damaged content or a
    full disk changes nothing. Each file is then old or new, never half; which of them, one has to see to that it is
    done again after a crash.
    """
    if not wanted:
        return []
    with _root(root) as folder:
        placer = Placer(folder, wanted, durable=durable)
        scratch = f"{SCRATCH}{os.getpid()}-{os.urandom(4).hex()}"
        folder.mkdir(scratch)
        try:
            with folder.down(scratch) as aside:
                staged = _stage(store, aside, placer.contents(), durable=durable)
                return placer.apply(aside, staged)
        finally:
            _sweep(folder, scratch)


def clear_scratch(root: str | os.PathLike[str]) -> None:
    """Remove what a restore that was killed had written aside. Only when none is at work there."""
    with contextlib.suppress(FileNotFoundError), os.scandir(root) as found:
        for entry in found:
            if entry.name.startswith(SCRATCH) and entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)


def _root(path: str | os.PathLike[str]) -> Folder:
    try:
        return Folder.root(os.path.realpath(path))
    except OSError as error:
        raise StoreError(f"{path} cannot be restored: {error.strerror or error}.") from error


def _stage(store: Store, aside: Folder, contents: Mapping[bytes, State], *, durable: bool) -> dict[bytes, str]:
    """Write every content that is needed; gives its name aside by the path it is for."""
    staged: dict[bytes, str] = {}
    for some in _batches(contents):
        data = store.get_all(list({state.digest for state in some.values()}))
        for path, state in some.items():
            name = str(len(staged))
            try:
                if state.kind == "link":
                    aside.symlink(data[state.digest], name)
                else:
                    _write(aside, name, data[state.digest], state.mode, durable=durable)
            except OSError as error:
                shown, why = os.fsdecode(path), error.strerror or error
                raise StoreError(f"{shown} cannot be restored: {why}. Nothing was changed.") from error
            staged[path] = name
    return staged


def _batches(contents: Mapping[bytes, State]) -> Iterator[dict[bytes, State]]:
    """The same in portions that fit into memory."""
    some: dict[bytes, State] = {}
    size = 0
    for path, state in contents.items():
        if some and (size + state.size > _AT_ONCE or len(some) >= 200):
            yield some
            some, size = {}, 0
        some[path] = state
        size += state.size
    if some:
        yield some


def _write(aside: Folder, name: str, data: bytes, mode: int, *, durable: bool) -> None:
    fd = aside.open(name, CREATE)
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


def _sweep(folder: Folder, scratch: str) -> None:
    with contextlib.suppress(OSError):  # the next restore, or a person, removes what is left
        folder.rmdir(scratch)
        return
    shutil.rmtree(os.path.join(folder.path, scratch), ignore_errors=True)  # noqa: PTH118
