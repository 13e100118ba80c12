"""Makes files be what a store says: staged whole first, then put in place one by one; no link is followed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.folder import Folder
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.place import Placer
from autopilot_runtime.store.rules import EVERYTHING, SCRATCH, Rules
from autopilot_runtime.store.snapshot import Snapshotter
from autopilot_runtime.store.stage import plan, write
from autopilot_runtime.store.tree import Contents, State, difference

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


def restore(store: Contents, root: str | os.PathLike[str], wanted: Wanted, *, durable: bool = True) -> list[bytes]:
    """Make each path what is wanted (None: gone). Gives the folders that stay because others' files are in them.

    Everything that is needed is read, checked and written aside before anything is touched: a damaged content or a
    full disk changes nothing. Each file is then old or new, never half; which of them, one has to see to that it is
    done again after a crash.
    """
    if not wanted:
        return []
    with _root(root) as folder:
        made = plan(folder, wanted)
        placer = Placer(folder, {path: wanted[path] for path in wanted.keys() - made.inside}, durable=durable)
        scratch = f"{SCRATCH}{os.getpid()}-{os.urandom(4).hex()}"
        folder.mkdir(scratch)
        try:
            with folder.down(scratch) as aside:
                write(store, aside, made, durable=durable)
                return placer.apply(aside, made.staged)
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


def _sweep(folder: Folder, scratch: str) -> None:
    with contextlib.suppress(OSError):  # the next restore, or a person, removes what is left
        folder.rmdir(scratch)
        return
    shutil.rmtree(os.path.join(folder.path, scratch), ignore_errors=True)  # noqa: PTH118
