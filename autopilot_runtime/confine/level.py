"""What confinement can be had here. The kernel is asked by making the calls, not by reading its version."""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass

from autopilot_runtime.confine import kernel, landlock, seccomp


@dataclass(frozen=True, slots=True)
class Level:
    """What this machine can do to hold a process. `missing` says what is not there, for a person."""

    landlock: int
    seccomp: bool
    missing: tuple[str, ...]

    @property
    def workers(self) -> bool:
        """Whether a control-block worker can be confined here."""
        return not self.missing


@functools.cache
def level() -> Level:
    """What the running kernel offers; asked once per process."""
    if kernel.arch() is None:
        name = f"{platform.system() or 'this system'} on {platform.machine() or 'an unknown processor'}"
        return Level(0, False, (f"no confinement known for {name}",))
    version = landlock.abi()
    filters = seccomp.available()
    missing = []
    if version < 1:
        missing.append("Landlock (Linux 5.13 or newer, and not switched off)")
    if not filters:
        missing.append("seccomp filters")
    return Level(version, filters, tuple(missing))
