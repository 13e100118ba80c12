"""macOS: a profile for sandbox-exec that says what a confined program may read, write and reach."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from autopilot_runtime.confine.policy import Network
from autopilot_runtime.confine.scratch import Scratch
from autopilot_runtime.confine.view import View

PROGRAM = "/usr/bin/sandbox-exec"
# What every program of this system needs to start: libraries, time zones, devices, its own folder listings.
_SYSTEM = ("/System", "/Library", "/usr", "/bin", "/sbin", "/private/etc", "/private/var/db", "/opt/homebrew", "/dev")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/tty", "/dev/ptmx", "/dev/dtracehelper")
_HEAD = """(version 1)
(deny default)
(allow process*)
(allow signal (target same-sandbox))
(allow sysctl-read)
(allow mach-lookup)
(allow ipc-posix-shm* ipc-posix-sem*)
(allow pseudo-tty)
(allow file-read-metadata)
(allow file-ioctl)
(allow file-read* (literal "/"))"""


def available() -> bool:
    """Whether this machine has it."""
    return sys.platform == "darwin" and os.access(PROGRAM, os.X_OK)


def profile(view: View, *, scratch: Scratch, network: Network, proxy_port: int = 0) -> str:
    """The profile of a view. A later line wins, so what is taken away stands last."""
    read = [
        _rule("allow file-read*", "subpath", [*_SYSTEM, *view.etc, *view.readable, *view.writable, *scratch.folders])
    ]
    write = [
        _rule("allow file-write*", "subpath", [*view.writable, *scratch.folders]),
        _rule("allow file-write*", "literal", _DEVICES),
        '(allow file-write* (regex #"^/dev/ttys[0-9]+$"))',
    ]
    deny = [
        _rule("deny file-write*", "subpath", view.protected),
        _rule("deny file-read* file-write*", "subpath", view.hidden),
    ]
    if network == "on":
        reach = ["(allow network*)", "(allow system-socket)"]
    elif proxy_port:
        reach = [f'(allow network-outbound (remote ip "localhost:{proxy_port}"))']
    else:
        reach = []
    return "\n".join(line for line in (_HEAD, *read, *write, *reach, *deny) if line) + "\n"


def _rule(what: str, kind: str, places: Iterable[str]) -> str:
    named = [f"({kind} {_quoted(place)})" for place in places]
    return f"({what} {' '.join(named)})" if named else ""


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
