"""The few kernel calls Python has no name for: raw `syscall`, `prctl`, and giving up privileges for good."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import sys
from typing import Any

from autopilot_runtime.confine.syscalls import ARCHES, Arch

_SET_PDEATHSIG = 1
_SET_DUMPABLE = 4
_CAPBSET_DROP = 24
_SET_NO_NEW_PRIVS = 38
_CAP_AMBIENT = 47
_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63
# Shells are given descriptors of up to three digits below this one.
_FREE_FROM = 200


@functools.cache
def arch() -> Arch | None:
    """The table of this machine, or None where we have none (another system, another processor)."""
    return ARCHES.get(os.uname().machine) if sys.platform == "linux" else None


def syscall(name: str, *args: Any) -> int:
    """Make one system call by name; raises OSError, with ENOSYS where the name is unknown here."""
    table = arch()
    if table is None or name not in table.calls:
        raise OSError(38, f"no system call {name!r} here")
    return _call("syscall", ctypes.c_long(table.calls[name]), *args)


def prctl(option: int, *args: int) -> int:
    """`prctl(2)`; raises OSError."""
    padded = (*args, 0, 0, 0, 0)[:4]
    return _call("prctl", ctypes.c_int(option), *(ctypes.c_ulong(arg) for arg in padded))


def get_ready() -> None:
    """Find all that is needed, so that a child between fork and exec asks the loader for nothing."""
    arch()
    for name in ("syscall", "prctl"):
        _function(name)


@functools.cache
def _function(name: str) -> Any:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.restype = ctypes.c_long
    return function


def _call(function: str, *args: Any) -> int:
    call = _function(function)
    ctypes.set_errno(0)
    result = int(call(*args))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), function)
    return result


def out_of_the_way(fd: int) -> int:
    """The same thing under a number that no shell uses for itself; the old number is closed."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FREE_FROM)
    finally:
        os.close(fd)


def die_with_parent(signal: int = 9) -> None:
    """Be killed when the parent *thread* ends: only for children of a single-threaded parent."""
    prctl(_SET_PDEATHSIG, signal)


def no_new_privileges() -> None:
    """From now on no exec can gain rights: what Landlock and seccomp ask for first."""
    prctl(_SET_NO_NEW_PRIVS, 1)


def drop_capabilities(*, keep: frozenset[int] = frozenset()) -> None:
    """Give up every capability but those, also as root; an ordinary user has none to lose."""
    for capability in range(_LAST_CAPABILITY + 1):
        if capability in keep:
            continue
        try:
            prctl(_CAPBSET_DROP, capability)
        except OSError:
            # EPERM: not ours to drop. EINVAL: past the last one this kernel knows.
            break
    try:
        prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)
    except OSError as error:
        if error.errno != 22:  # EINVAL: a kernel from before there were ambient ones
            raise
    # Effective, permitted, inheritable, low words first. Root gets what the bounding set still has at every exec.
    low = sum(1 << capability for capability in keep)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    syscall("capset", ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0)))


def not_dumpable() -> None:
    """No core dumps, and no other process of this user may attach."""
    prctl(_SET_DUMPABLE, 0)
