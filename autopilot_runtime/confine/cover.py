"""Folders in the place of others, for programs behind Landlock: their own /tmp, and nothing where keys are. Linux.

Where this process may make mounts (root, or a user in a namespace of its own), each program gets a view of the mounts
that only it and its children have.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from autopilot_runtime.confine.kernel import syscall
from autopilot_runtime.confine.network import become_user_with_rights, in_a_child
from autopilot_runtime.confine.places import within
from autopilot_runtime.confine.scratch import Scratch
from autopilot_runtime.confine.view import View

_NEW_MOUNTS, _NEW_IPC = 0x20000, 0x08000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4_096, 16_384, 1 << 18
# Flags a mount has got from its owner and may not lose; statvfs gives them the numbers that mount takes.
_KEPT_FLAGS = 2 | 4 | 8
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")


@cache
def possible() -> bool:
    """Whether mounts can be made here; tried once per process, in a child."""

    def attempt() -> None:
        if os.geteuid() != 0:
            become_user_with_rights()
        _own_mounts()

    return in_a_child(attempt)


@dataclass(frozen=True, slots=True)
class Cover:
    """One mount: what `source` is, at `target`."""

    source: str
    target: str
    read_only: bool = False


def covers(view: View, scratch: Scratch) -> tuple[Cover, ...]:
    """The mounts of one wall, to be made in each child."""
    return tuple(_planned(view, scratch))


def make(planned: Sequence[Cover]) -> None:
    """In the child, which has the right to. All is opened first: what /tmp held has no name once it is covered."""
    _own_mounts()
    opened = [os.open(cover.source, os.O_PATH | os.O_CLOEXEC) for cover in planned]
    for fd, cover in zip(opened, planned, strict=True):
        target = cover.target.encode("utf-8", "surrogateescape")
        _mount(f"/proc/self/fd/{fd}".encode(), target, _BIND | _RECURSIVE)
        if cover.read_only:
            kept = os.statvfs(cover.target).f_flag & _KEPT_FLAGS
            _mount(None, target, _BIND | _REMOUNT | _READ_ONLY | kept)
        os.close(fd)


def _planned(view: View, scratch: Scratch) -> Iterator[Cover]:
    """/tmp, then what has to be seen in it, then what must not be seen or changed."""
    if not any(place in view.writable for place in TEMPORARY):
        yield from _own_temporary(view, scratch)
    yield from (Cover(place, place) for place in view.held)
    yield from (Cover(place, place, read_only=True) for place in view.protected)
    for place in view.hidden:
        yield Cover(scratch.no_folder if os.path.isdir(place) else scratch.no_file, place)


def _own_temporary(view: View, scratch: Scratch) -> Iterator[Cover]:
    """Their own /tmp and its kin, and in them what the view shows there."""
    yield from (Cover(_stands_at(at, scratch), at) for at in TEMPORARY)
    seen = [place for place in (*view.readable, *view.writable, *scratch.folders) if _in_temporary(place)]
    sealed = _sealed(seen, view.writable, scratch)
    for folder, empty in sealed.items():
        _stand_in(_inside(folder, scratch), folder)
        for place in seen:
            if within(place, folder):
                _stand_in(f"{empty}{place[len(folder) :]}", place)
        yield Cover(empty, folder, read_only=True)
    for place in seen:
        if not any(within(place, folder) for folder in sealed):
            _stand_in(_inside(place, scratch), place)
        # Read-only by the mount, too: what Landlock allows for /tmp it allows for all that is mounted in it.
        yield Cover(place, place, read_only=place in view.readable)


def _sealed(seen: Sequence[str], writable: Sequence[str], scratch: Scratch) -> dict[str, str]:
    """The folders around workspaces, and an empty one for each: what is written there would silently be lost."""
    around = {os.path.dirname(place) for place in seen if place in writable} - set(TEMPORARY)
    alone = [folder for folder in sorted(around) if not any(within(folder, place) for place in seen)]
    outer = [folder for folder in alone if not any(within(folder, other) and folder != other for other in alone)]
    return {folder: scratch.empty_folder() for folder in outer}


def _in_temporary(place: str) -> bool:
    return any(within(place, at) for at in TEMPORARY)


def _stands_at(at: str, scratch: Scratch) -> str:
    return scratch.shm if at == "/dev/shm" else scratch.tmp


def _inside(place: str, scratch: Scratch) -> str:
    """Where a place is, seen from outside, once all of it is covered."""
    at = next(at for at in TEMPORARY if within(place, at))
    return f"{_stands_at(at, scratch)}{place[len(at) :]}"


def _stand_in(path: str, like: str) -> None:
    """Something to mount on."""
    os.makedirs(path if os.path.isdir(like) else os.path.dirname(path), exist_ok=True)
    if not os.path.isdir(like):
        os.close(os.open(path, os.O_CREAT))


def host_path(path: str, scratch: Scratch, seen: Sequence[str]) -> str:
    """Where a program's path is on this machine, when its /tmp is its own."""
    if any(within(path, place) for place in seen) or not _in_temporary(path):
        return path
    return _inside(path, scratch)


def _own_mounts() -> None:
    syscall("unshare", ctypes.c_ulong(_NEW_MOUNTS | _NEW_IPC))
    _mount(b"none", b"/", _PRIVATE | _RECURSIVE)


def _mount(source: bytes | None, target: bytes, flags: int) -> None:
    syscall("mount", source, target, None, ctypes.c_ulong(flags), None)
