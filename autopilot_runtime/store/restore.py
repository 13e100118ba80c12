"""Makes files be what a store says: staged whole first, then put in place one by one; no link is followed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.fill import fill
from autopilot_runtime.store.folder import Folder
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.place import Placer
from autopilot_runtime.store.redo import PLAN, begin, finish, is_redone, mean, with_modes
from autopilot_runtime.store.rules import EVERYTHING, SCRATCH, Rules
from autopilot_runtime.store.snapshot import Snapshotter
from autopilot_runtime.store.stage import plan, write
from autopilot_runtime.store.tree import Contents, State, difference, walk

Wanted = Mapping[bytes, State | None]


def restore_tree(
    store: Store, root: str | os.PathLike[str], tree: bytes, *, rules: Rules = EVERYTHING, durable: bool = True
) -> list[bytes]:
    """Make a folder equal to a tree, but for what the rules leave out; gives the paths that were changed.

    What is there now is kept in the store first, under no name: point to it, or it goes with the next `collect`.
    """
    Path(root).mkdir(parents=True, exist_ok=True)
    if not durable and not any(Path(root).iterdir()):
        return _filled(store, root, tree)
    now = Snapshotter(store, root, rules).take(durable=durable)
    changes = difference(store, now.tree, tree)
    restore(store, root, {path: after for path, (_, after) in changes.items()}, durable=durable)
    return sorted(changes)


def _filled(store: Store, root: str | os.PathLike[str], tree: bytes) -> list[bytes]:
    """The same for an empty folder: all in it is new, so what an error leaves is ours to remove."""
    try:
        fill(store, root, tree)
    except BaseException:
        for one in Path(root).iterdir():
            shutil.rmtree(one, ignore_errors=True) if one.is_dir() and not one.is_symlink() else one.unlink()
        raise
    return sorted(path for path, _ in walk(store, tree))


def restore(
    store: Contents, root: str | os.PathLike[str], wanted: Wanted, *, durable: bool = True, redo: bool = False
) -> list[bytes]:
    """Make each path what is wanted (None: gone). Gives the folders that stay because others' files are in them.

    Everything that is needed is read, checked and written aside before anything is touched: a damaged content or a
    full disk changes nothing. Each file is then old or new, never half. With `redo`, what was cut off after that is
    done by the next `redo.finish`; without, one has to see to it oneself.
    """
    if not wanted:
        return []
    with _root(root) as folder:
        made = plan(folder, wanted)
        placed: Wanted = {path: wanted[path] for path in wanted.keys() - made.inside}
        if redo:
            placed = with_modes(folder, placed)
        placer = Placer(folder, placed, durable=durable)
        scratch = f"{SCRATCH}{os.getpid()}-{os.urandom(4).hex()}"
        folder.mkdir(scratch)
        with contextlib.ExitStack() as last, folder.down(scratch) as aside:
            if redo:
                last.callback(os.close, begin(aside))
            last.callback(_sweep, folder, scratch)
            write(store, aside, made, durable=durable)
            if not redo:
                return placer.apply(aside, made.staged)
            mean(aside, placed, made.staged)
            stay = placer.apply(aside, made.staged)
            aside.unlink(PLAN)  # done: whatever comes in these places from now on is somebody's
            return stay


def clear_scratch(root: str | os.PathLike[str]) -> None:
    """Remove what a restore that was killed had written aside. Only when none is at work there.

    One that was begun with `redo` is finished.
    """
    with contextlib.suppress(FileNotFoundError):
        finish(root)
    with contextlib.suppress(FileNotFoundError), os.scandir(root) as found:
        for entry in found:
            if entry.name.startswith(SCRATCH) and entry.is_dir(follow_symlinks=False) and not is_redone(entry.path):
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
