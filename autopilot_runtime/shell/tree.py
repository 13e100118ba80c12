"""Everything a terminal started, found and killed: by marker variable, by session, by parenthood. Linux: /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MARKER = "AUTOPILOT_TERMINAL"
_ROUNDS = 20
_MOST_BELOW = 50
_START_TIME = 19  # of the fields behind the name


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table."""

    pid: int
    parent: int
    session: int


def kill_tree(marker: str, shells: Iterable[int] = (), *, since: int = 0) -> int:
    """Kill all processes of a terminal (`pool/number`) or of a pool (`pool/`); gives how many there were.

    Found are: processes whose environment carries the marker, all sessions led by `shells`, and all their
    descendants, all started at `since` or later. A daemon that cleared its environment and left both its session
    and its parent is not found.
    """
    if sys.platform == "win32":
        return 0  # there, each terminal ends its own tree
    killed: set[int] = set()
    wanted = f"{MARKER}={marker}".encode()
    roots = set(shells)
    for _ in range(_ROUNDS):  # a fork may slip away between looking and killing: look again until nobody is left
        victims = _victims(wanted, roots, since)
        if not victims:
            break
        for pid in victims:
            _kill(pid)
        killed |= victims
    return len(killed)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _victims(wanted: bytes, roots: set[int], since: int) -> set[int]:
    table = _table(since)
    table = [process for process in table if process.pid not in (0, 1, os.getpid())]
    found = {p.pid for p in table if p.session in roots or p.pid in roots or _carries(p.pid, wanted)}
    children: dict[int, list[int]] = {}
    for process in table:
        children.setdefault(process.parent, []).append(process.pid)
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def started(pid: int) -> int:
    """When a process started, in the kernel's ticks; 0 where that cannot be told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(stat[stat.rindex(b")") + 2 :].split()[_START_TIME])


def below(pid: int) -> list[int]:
    """What a process has started and still runs, oldest first; of very many the first ones."""
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < _MOST_BELOW:
        with contextlib.suppress(OSError):
            parent = waiting.pop(0)
            children = [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
            found += children
            waiting += children
    return found


def commands_below(pid: int, *, skip: int = 0) -> list[str]:
    """The command lines of what is below a process, without the first `skip`."""
    lines = []
    for child in below(pid)[skip:]:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            lines.append(words.strip()[:200])
    return [line for line in lines if line]


def _table(since: int) -> list[Process]:
    """All living processes as young as that; zombies are left out, they only wait for their parent."""
    if not Path("/proc/self/stat").exists():
        return _table_of_ps()
    table = []
    for name in (entry.name for entry in os.scandir("/proc")):
        if name.isdigit():
            with contextlib.suppress(OSError):
                stat = Path("/proc", name, "stat").read_bytes()
                # The name in brackets may hold anything, brackets and spaces too.
                fields = stat[stat.rindex(b")") + 2 :].split()
                state, parent, _group, session = fields[:4]
                if state not in (b"Z", b"X") and int(fields[_START_TIME]) >= since:
                    table.append(Process(int(name), int(parent), int(session)))
    return table


def _table_of_ps() -> list[Process]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="], capture_output=True, text=True, check=False
    )
    rows = (line.split() for line in listing.stdout.splitlines())
    return [Process(int(r[0]), int(r[1]), int(r[2])) for r in rows if len(r) >= 4 and not r[3].startswith("Z")]


def _carries(pid: int, wanted: bytes) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    at = environ.find(wanted)
    if at < 0 or (at > 0 and environ[at - 1] != 0):
        return False
    return wanted.endswith(b"/") or environ[at + len(wanted) : at + len(wanted) + 1] in (b"\0", b"")
