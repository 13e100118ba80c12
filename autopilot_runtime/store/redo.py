"""A restore that a kill cut off is finished by whoever looks next: what it meant to do lies beside what it staged."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.core.files import write_atomic
from autopilot_runtime.core.lock import is_locked, open_lock
from autopilot_runtime.core.process import started
from autopilot_runtime.store.folder import Folder, open_below, split
from autopilot_runtime.store.place import Placer
from autopilot_runtime.store.rules import SCRATCH
from autopilot_runtime.store.tree import HEAD_SIZE, State, bare, read_head

PLAN = "plan"
_LOCK = "lock"
_NONE = bytes(HEAD_SIZE)


def begin(aside: Folder) -> int:
    """The lock that says that a restore is at work; to be closed at its end."""
    fd = open_lock(os.path.join(aside.path, _LOCK), create=True)  # noqa: PTH118
    is_locked(fd)
    return fd


def is_redone(scratch: str | os.PathLike[str]) -> bool:
    """Whether what lies there belongs to a restore that is finished after a kill."""
    return Path(scratch, _LOCK).exists()


def mean(aside: Folder, wanted: Mapping[bytes, State | None], staged: Mapping[bytes, str]) -> None:
    """Write down what is to be done. From here on it will be done, if not by us."""
    lines = [
        b"%s%s\0%s\0" % (state.head if state else _NONE, path, staged.get(path, "").encode())
        for path, state in wanted.items()
    ]
    write_atomic(Path(aside.path, PLAN), b"".join(lines))


def with_modes(root: Folder, wanted: Mapping[bytes, State | None]) -> dict[bytes, State | None]:
    """The same, and the modes of folders that must be made changeable on the way, so that they come back."""
    more = dict(wanted)
    for above in {path.rpartition(b"/")[0] for path in wanted} - wanted.keys() - {b""}:
        *parts, name = split(above)
        with contextlib.suppress(OSError), open_below(root, parts) as folder:
            info = folder.stat(name)
            if info is not None and stat.S_ISDIR(info.st_mode) and info.st_mode & 0o300 != 0o300:
                more[above] = bare(stat.S_IMODE(info.st_mode))
    return more


def finish(root: str | os.PathLike[str]) -> int:
    """Finish the restores that were cut off in this folder; gives how many. Those at work are left alone."""
    done = 0
    with os.scandir(root) as found:
        left = [
            entry.path for entry in found if entry.name.startswith(SCRATCH) and entry.is_dir(follow_symlinks=False)
        ]
    for scratch in left:
        try:
            fd = open_lock(Path(scratch, _LOCK))
        except FileNotFoundError:
            _drop_empty(scratch)
            continue
        try:
            if is_locked(fd):
                done += _redo(Path(root), Path(scratch))
                shutil.rmtree(scratch, ignore_errors=True)
        finally:
            os.close(fd)
    return done


def _drop_empty(scratch: str) -> None:
    """Of a restore that was killed before it had begun, only its empty folder is left."""
    pid = Path(scratch).name.removeprefix(SCRATCH).partition("-")[0]
    if pid.isdigit() and started(int(pid)) is None:
        with contextlib.suppress(OSError):
            Path(scratch).rmdir()


def _redo(root: Path, scratch: Path) -> bool:
    try:
        plan = (scratch / PLAN).read_bytes()
        meant = (scratch / PLAN).stat().st_ctime_ns
    except FileNotFoundError:
        return False  # nothing had been touched
    wanted: dict[bytes, State | None] = {}
    staged: dict[bytes, str] = {}
    at = 0
    while at < len(plan):
        end = plan.index(b"\0", at + HEAD_SIZE)
        last = plan.index(b"\0", end + 1)
        head, path, aside = plan[at : at + HEAD_SIZE], plan[at + HEAD_SIZE : end], plan[end + 1 : last].decode()
        at = last + 1
        state = None if head == _NONE else read_head(head)
        if aside and os.path.lexists(scratch / aside):
            staged[path] = aside
        if _changed(root / os.fsdecode(path), meant):
            continue
        if state is None or state.kind == "folder" or path in staged:
            wanted[path] = state
    try:
        with Folder.root(str(root)) as folder, Folder.root(str(scratch)) as beside:
            Placer(folder, wanted, durable=True).apply(beside, staged)
    except OSError as error:
        raise StoreError(f"A restore of {root} that was cut off cannot be finished: {error.strerror}.") from error
    return True


def _changed(path: Path, since: int) -> bool:
    """Whether somebody made or changed this file after the restore had been cut off."""
    try:
        info = path.lstat()
    except OSError:
        return False
    return not stat.S_ISDIR(info.st_mode) and info.st_ctime_ns > since
