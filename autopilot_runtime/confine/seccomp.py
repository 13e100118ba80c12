"""seccomp: which system calls a process may make. A policy is data, `program` its BPF, `install` the seal."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autopilot_runtime.confine.kernel import arch, no_new_privileges, syscall
from autopilot_runtime.confine.syscalls import Arch

ALLOW = 0x7FFF0000
KILL = 0x80000000
_ERRNO = 0x00050000
_SET_MODE_FILTER = 1
_GET_ACTION_AVAIL = 2

_LOAD = 0x20  # A = 32 bits of the call's data at k
_EQUAL = 0x15
_AT_LEAST = 0x35
_AND = 0x54
_RETURN = 0x06
_NR, _ARCH, _ARGS = 0, 4, 16


def refuse(errno: int) -> int:
    """The action that makes a call fail with this error."""
    return _ERRNO | errno


@dataclass(frozen=True, slots=True)
class Arg:
    """Argument `index`, after `mask`, equals `value`."""

    index: int
    value: int
    mask: int = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to a call, if all of `when` holds; the first rule that fits decides."""

    call: str
    when: tuple[Arg, ...] = ()
    action: int = ALLOW


def allow(names: str) -> tuple[Rule, ...]:
    """Rules that allow these calls, whatever their arguments."""
    return tuple(Rule(name) for name in names.split())


def program(rules: Iterable[Rule], *, default: int, table: Arch) -> bytes:
    """The BPF program of a policy. Names this architecture does not have are left out."""
    code = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, table.audit), (_RETURN, 0, 0, KILL), (_LOAD, 0, 0, _NR)]
    if table.other_abi_from is not None:
        code += [(_AT_LEAST, 0, 1, table.other_abi_from), (_RETURN, 0, 0, KILL)]
    for rule in rules:
        number = table.calls.get(rule.call)
        if number is not None:
            code += _one(rule, number)
    code.append((_RETURN, 0, 0, default))
    return b"".join(struct.pack("<HBBI", *line) for line in code)


def _one(rule: Rule, number: int) -> list[tuple[int, int, int, int]]:
    if not rule.when:
        return [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, rule.action)]
    tests = [(arg, word) for arg in rule.when for word in (0, 1)]
    # Each test is load, mask, compare; after the last comes the action, then the reload a failed test lands on.
    size = len(tests) * 3 + 2
    code = [(_EQUAL, 0, size, number)]
    for at, (arg, word) in enumerate(tests):
        shift = 32 * word
        after = size - 3 * (at + 1)
        code += [
            (_LOAD, 0, 0, _ARGS + 8 * arg.index + 4 * word),
            (_AND, 0, 0, (arg.mask >> shift) & 0xFFFFFFFF),
            (_EQUAL, 0, after - 1, (arg.value >> shift) & 0xFFFFFFFF),
        ]
    return [*code, (_RETURN, 0, 0, rule.action), (_LOAD, 0, 0, _NR)]


def available() -> bool:
    """Whether the running kernel filters for us, asked of the kernel itself."""
    action = ctypes.c_uint32(_ERRNO)
    try:
        return syscall("seccomp", ctypes.c_uint(_GET_ACTION_AVAIL), ctypes.c_uint(0), ctypes.byref(action)) == 0
    except OSError:
        return False


def compiled(rules: Iterable[Rule], *, default: int) -> bytes:
    """The program of a policy for this machine. Raises OSError where we know no system calls."""
    table = arch()
    if table is None:
        raise OSError(38, "no system call table for this machine")
    return program(rules, default=default, table=table)


def install(rules: Sequence[Rule], *, default: int = _ERRNO | 1) -> None:
    """Seal this thread and its children for good; a second policy on top can only take away. Raises OSError."""
    seal(compiled(rules, default=default))


def seal(code: bytes) -> None:
    """Install a program compiled before."""
    body = ctypes.create_string_buffer(code, len(code))
    head = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(body)), 16)
    no_new_privileges()
    syscall("seccomp", ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(0), ctypes.byref(head))
