"""Landlock: which paths, ports and neighbours a process may touch. Rules are data; what is not allowed is refused."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag

from autopilot_runtime.confine.kernel import no_new_privileges, syscall

_PATH_BENEATH = 1
_NET_PORT = 2
_VERSION = 1


class Path(IntFlag):
    """What may be done beneath a path."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


class Port(IntFlag):
    """What may be done with a TCP port."""

    BIND_TCP = 1 << 0
    CONNECT_TCP = 1 << 1


class Scope(IntFlag):
    """What may not reach out of the own domain."""

    ABSTRACT_UNIX_SOCKET = 1 << 0
    SIGNAL = 1 << 1


EVERYTHING = Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL
READ = Path.READ_FILE | Path.READ_DIR
RUN = READ | Path.EXECUTE
# Everything an ordinary program does in a folder of its own; device nodes are not among it.
WRITE = Path(0xFFFF) & ~(Path.EXECUTE | Path.MAKE_CHAR | Path.MAKE_BLOCK)
_FOR_FILES = Path.EXECUTE | Path.WRITE_FILE | Path.READ_FILE | Path.TRUNCATE | Path.IOCTL_DEV


@dataclass(frozen=True, slots=True)
class PathRule:
    """Beneath `path`, `access` is allowed."""

    path: str
    access: Path
    # A path that is not there is skipped, unless it is essential.
    essential: bool = False


@dataclass(frozen=True, slots=True)
class PortRule:
    """On this TCP port, `access` is allowed."""

    port: int
    access: Port


def abi() -> int:
    """The Landlock version of the running kernel; 0 where there is none."""
    try:
        return syscall("landlock_create_ruleset", None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError:
        return 0


def restrict(
    paths: Sequence[PathRule] = (),
    *,
    ports: Sequence[PortRule] = (),
    scoped: Scope = EVERYTHING,
    version: int | None = None,
) -> int:
    """Confine this thread, and every child of it, for good. Gives the ABI used; OSError if there is none."""
    version = abi() if version is None else version
    rules = ruleset(paths, ports=ports, scoped=scoped, version=version)
    try:
        enter(rules)
    finally:
        os.close(rules)
    return version


def ruleset(
    paths: Sequence[PathRule] = (),
    *,
    ports: Sequence[PortRule] | None = (),
    scoped: Scope = EVERYTHING,
    version: int | None = None,
) -> int:
    """A descriptor of rules, made beforehand and for any number of processes; `ports=None` leaves TCP alone."""
    version = abi() if version is None else version
    if version < 1:
        raise OSError(38, "this kernel has no Landlock")
    ports = ports if version >= 4 else None
    made = _create(version, network=0 if ports is None else 3, scoped=scoped)
    try:
        for rule in paths:
            allow(made, rule, version=version)
        for port in ports or ():
            _add_port(made, port)
    except BaseException:
        os.close(made)
        raise
    return made


def allow(rules: int, rule: PathRule, *, version: int | None = None) -> None:
    """Add one path to a ruleset."""
    _add_path(rules, rule, _handled(abi() if version is None else version))


def enter(rules: int) -> None:
    """Confine this thread, and every child of it, for good, by rules made before."""
    no_new_privileges()
    syscall("landlock_restrict_self", ctypes.c_int(rules), ctypes.c_uint32(0))


def _create(version: int, *, network: int, scoped: Scope) -> int:
    """An empty ruleset; an older kernel takes fewer words of what it is to handle."""
    attributes = (ctypes.c_uint64 * 3)(_handled(version), network, int(scoped) if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    return syscall("landlock_create_ruleset", ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))


def _handled(version: int) -> Path:
    """Every right this version knows: a right not handled would be allowed everywhere."""
    newest = 15 if version >= 5 else 14 if version >= 3 else 13 if version == 2 else 12
    return Path((1 << (newest + 1)) - 1)


def _add_path(ruleset: int, rule: PathRule, handled: Path) -> None:
    try:
        beneath = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        if rule.essential:
            raise
        return
    try:
        access = rule.access & handled
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            access &= _FOR_FILES
        packed = int(access).to_bytes(8, "little") + beneath.to_bytes(4, "little", signed=True)
        _add(ruleset, _PATH_BENEATH, packed)
    finally:
        os.close(beneath)


def _add_port(ruleset: int, rule: PortRule) -> None:
    _add(ruleset, _NET_PORT, int(rule.access).to_bytes(8, "little") + rule.port.to_bytes(8, "little"))


def _add(ruleset: int, kind: int, packed: bytes) -> None:
    attributes = ctypes.create_string_buffer(packed, len(packed))
    syscall(
        "landlock_add_rule", ctypes.c_int(ruleset), ctypes.c_int(kind), ctypes.byref(attributes), ctypes.c_uint32(0)
    )
