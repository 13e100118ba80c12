"""How much all programs of one wall may use together: a control group, where this process may make one. Linux."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from autopilot_runtime.confine.kernel import out_of_the_way

_ROOT = Path("/sys/fs/cgroup")
_EMPTYING_SECONDS = 2.0


class ControlGroup:
    """Folders in the kernel's tree, one for each controller (version 1) or one for all (version 2)."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders
        # Opened here: a child between fork and exec only writes.
        self.doors = [
            out_of_the_way(os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)) for folder in folders
        ]

    def join(self) -> None:
        """Put the calling process in; its children are born in it."""
        for door in self.doors:
            os.write(door, b"0")

    def admit(self, pids: Iterable[int]) -> None:
        """Put other processes in. One that has just ended is no matter."""
        for pid in pids:
            for door in self.doors:
                with contextlib.suppress(ProcessLookupError):
                    os.write(door, str(pid).encode())

    def members(self) -> set[int]:
        """The processes in it now."""
        found: set[int] = set()
        for folder in self.folders:
            with contextlib.suppress(OSError):
                found |= {int(line) for line in (folder / "cgroup.procs").read_text().split()}
        return found

    def close(self) -> None:
        """End everything in it, and remove it. Blocks for some milliseconds."""
        for door in self.doors:
            os.close(door)
        self.doors = []
        deadline = time.monotonic() + _EMPTYING_SECONDS
        while (members := self.members()) and time.monotonic() < deadline:
            for pid in members:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        for folder in self.folders:
            _remove(folder, deadline)


def _remove(folder: Path, deadline: float) -> None:
    """A group of processes that have ended stays busy for a moment."""
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() >= deadline:
                return
            time.sleep(0.005)
        else:
            return


def open_group(name: str, *, memory_mb: int | None, processes: int) -> ControlGroup | None:
    """A group with these limits; None where this process may not make one, or the kernel does not count here."""
    wanted: dict[str, dict[str, int]] = {"pids": {"pids.max": processes}}
    if memory_mb is not None:
        size = memory_mb << 20
        wanted["memory"] = {"memory.max": size, "memory.limit_in_bytes": size, "memory.swap.max": 0}
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    own = {tuple(line.split(":", 2)[1].split(",")): line.split(":", 2)[2] for line in lines}
    made: list[Path] = []
    try:
        for controller, limits in wanted.items():
            made.append(_make(controller, limits, own, name))
        return ControlGroup(list(dict.fromkeys(made)))
    except OSError:
        # Partly made is not made: limits that hold for some are worse than none, which is said.
        for folder in dict.fromkeys(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        return None


def _make(controller: str, limits: dict[str, int], own: dict[tuple[str, ...], str], name: str) -> Path:
    """One folder for one controller, with its limits set. Raises OSError."""
    for controllers, path in own.items():
        if controller in controllers:
            folder = _beside(_ROOT / controller, path) / name
            break
    else:
        unified = own.get(("",))
        if unified is None:
            raise FileNotFoundError(f"no control group of {controller}")
        folder = _ROOT / unified.lstrip("/") / name
        if controller not in (folder.parent / "cgroup.subtree_control").read_text().split():
            raise PermissionError(f"{controller} is not handed down to groups made here")
    folder.mkdir(exist_ok=True)
    known = {file: value for file, value in limits.items() if (folder / file).exists()}
    if not known:
        folder.rmdir()
        raise FileNotFoundError(f"{controller} has none of {', '.join(limits)}")
    for file, value in known.items():
        (folder / file).write_text(str(value))
    return folder


def _beside(mount: Path, path: str) -> Path:
    """The folder of our own group; in a container the path may be one of the host's."""
    folder = mount / path.lstrip("/")
    return folder if folder.is_dir() else mount
