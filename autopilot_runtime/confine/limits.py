"""What one process may use up, as data. Where the system has no such limits, applying them does nothing."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path

if sys.platform != "win32":
    import resource

_NAMES = {
    "memory": "RLIMIT_AS",
    "data": "RLIMIT_DATA",
    "cpu_seconds": "RLIMIT_CPU",
    "file_size": "RLIMIT_FSIZE",
    "open_files": "RLIMIT_NOFILE",
    "processes": "RLIMIT_NPROC",
    "core": "RLIMIT_CORE",
    "stack": "RLIMIT_STACK",
    "locked": "RLIMIT_MEMLOCK",
    "queues": "RLIMIT_MSGQUEUE",
}


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """In bytes, seconds and pieces; None leaves it as it is. `processes` is per user, and nothing to root."""

    memory: int | None = None
    # What can be written to, unlike `memory` without the address space that some programs only set aside.
    data: int | None = None
    cpu_seconds: int | None = None
    file_size: int | None = None
    open_files: int | None = None
    processes: int | None = None
    core: int | None = None
    stack: int | None = None
    locked: int | None = None
    queues: int | None = None


def apply(limits: ResourceLimits) -> None:
    """Lower the limits of this process, for good: soft and hard alike, never above what they were."""
    if sys.platform == "win32":
        return
    for field in fields(limits):
        wanted = getattr(limits, field.name)
        number = getattr(resource, _NAMES[field.name], None)
        if wanted is None or number is None:
            continue
        hard = resource.getrlimit(number)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(number, (value, value))


def set_memory(pid: int, size: int) -> None:
    """Change how much memory another process of ours may map; it may be raised again later. Linux only."""
    if sys.platform == "linux":
        hard = resource.prlimit(pid, resource.RLIMIT_AS)[1]
        value = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.prlimit(pid, resource.RLIMIT_AS, (value, hard))


def processes_of_user() -> int:
    """How many processes and threads this user has now: the kernel counts a user's limit over all of them."""
    found = 0
    try:
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    if entry.stat().st_uid == os.geteuid():
                        found += sum(1 for _ in Path(entry.path, "task").iterdir())
    except OSError:
        return 0
    return found
