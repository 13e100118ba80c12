"""Who writes to a session in a database, and whether that writer still lives."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from autopilot_runtime.core.ids import new_id
from autopilot_runtime.core.process import started

# How long a writer on another machine counts as alive after its last step.
SILENCE = 60.0


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Writer:
    """One writer. `place` is the same only for processes that can see each other's."""

    token: str
    host: str
    place: str
    pid: int
    started: str

    def to_json(self) -> str:
        """For the row of the session."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


# The leases of this process. One of ours that is not here was let go, by `leave` or with the store that had it,
# though the database may not know yet.
_HELD: WeakValueDictionary[tuple[int, str], Writer] = WeakValueDictionary()


def enter() -> Writer:
    """This process as a writer; `leave` ends it."""
    pid = os.getpid()
    writer = Writer(new_id("w"), socket.gethostname(), _place(pid), pid, started(pid) or "")
    _HELD[pid, writer.token] = writer
    return writer


def leave(writer: Writer) -> None:
    """It writes no more."""
    _HELD.pop((writer.pid, writer.token), None)


def from_json(text: str | None) -> Writer:
    """The writer a row names; one nobody can know when the row is not ours to read."""
    try:
        value: Any = json.loads(text or "{}")
    except ValueError:
        value = {}
    found: Mapping[str, Any] = value if isinstance(value, dict) else {}
    words = {name: str(found.get(name, "")) for name in ("token", "host", "place", "started")}
    return Writer(pid=int(found.get("pid") or 0), **words)


def lives(writer: Writer, *, beat: float, now: float) -> bool:
    """Whether it may still write: on this machine its process is there, on another it was heard of lately."""
    if writer.place != _place(os.getpid()):
        # A clock that jumped must not keep a lease for ever, so a beat in the far future is no sign of life either.
        return abs(now - beat) < SILENCE
    if writer.pid == os.getpid():
        return (writer.pid, writer.token) in _HELD
    return started(writer.pid) == writer.started


@lru_cache(maxsize=4)
def _place(pid: int) -> str:
    """The machine since it was started, and the process namespace: containers share the first, not the second."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # no /proc: then as on Windows
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    # On Windows a process cannot be asked for without risk, so each is a place of its own, judged by its beat.
    return f"{socket.gethostname()} {sys.platform if sys.platform == 'darwin' else pid}"
