"""The walls themselves: filters decide what they say, folders hold, and limits only go down."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from autopilot_runtime.confine.kernel import arch
from autopilot_runtime.confine.level import level
from autopilot_runtime.confine.seccomp import ALLOW, KILL, Arg, Rule, allow, program, refuse
from autopilot_runtime.confine.syscalls import ARCHES, Arch
from autopilot_runtime.sandbox import cell

here = pytest.mark.skipif(sys.platform != "linux" or not level().workers, reason="no confinement here")


def decide(code: bytes, table: Arch, number: int, *args: int, audit: int | None = None) -> int:
    """What the kernel would do: runs the filter on one call."""
    data = struct.pack("<iIQ6Q", number, table.audit if audit is None else audit, 0, *(args + (0,) * 6)[:6])
    lines = [struct.unpack_from("<HBBI", code, at) for at in range(0, len(code), 8)]
    at = value = 0
    while True:
        op, yes, no, k = lines[at]
        at += 1
        if op == 0x20:
            (value,) = struct.unpack_from("<I", data, k)
        elif op == 0x54:
            value &= k
        elif op == 0x06:
            return int(k)
        else:
            at += yes if (value == k if op == 0x15 else value >= k) else no


REACHING = """
open openat openat2 stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getcwd
getdents64 socket connect bind listen accept accept4 sendmsg recvmsg sendmmsg recvmmsg fork vfork execve
execveat ptrace process_vm_readv process_vm_writev pidfd_open pidfd_send_signal pidfd_getfd kill tkill tgkill
rt_sigqueueinfo mount unshare setns bpf io_uring_setup keyctl perf_event_open userfaultfd memfd_create shmget
setrlimit seccomp uname sched_setaffinity setpriority chroot personality landlock_create_ruleset
"""
RULES = (
    *allow("read write"),
    Rule("clone", (Arg(0, 0x10000, 0x10000),)),
    Rule("sendto", (Arg(4, 0), Arg(0, 7))),
    Rule("clone3", action=refuse(38)),
)


@pytest.mark.parametrize("name", ARCHES)
def test_a_filter_decides_by_call_and_arguments(name: str) -> None:
    table = ARCHES[name]
    calls = table.calls
    code = program(RULES, default=refuse(1), table=table)
    assert decide(code, table, calls["read"]) == ALLOW
    assert decide(code, table, calls["write"]) == ALLOW
    assert decide(code, table, calls["openat"]) == refuse(1)
    assert decide(code, table, calls["clone"], 0x10F00) == ALLOW
    assert decide(code, table, calls["clone"], 0x11) == refuse(1)
    assert decide(code, table, calls["clone3"]) == refuse(38)
    assert decide(code, table, calls["sendto"], 7, 0, 0, 0, 0) == ALLOW
    assert decide(code, table, calls["sendto"], 7, 0, 0, 0, 1 << 40) == refuse(1)
    assert decide(code, table, calls["sendto"], 8, 0, 0, 0, 0) == refuse(1)


@pytest.mark.parametrize("name", ARCHES)
def test_another_architecture_or_numbering_is_killed(name: str) -> None:
    table = ARCHES[name]
    code = program(RULES, default=ALLOW, table=table)
    assert decide(code, table, table.calls["read"], audit=0x40000003) == KILL
    if table.other_abi_from is not None:
        assert decide(code, table, table.other_abi_from + table.calls["read"]) == KILL


@pytest.mark.parametrize("name", ARCHES)
def test_a_worker_has_no_call_that_takes_a_path_an_address_or_a_process(name: str) -> None:
    table = ARCHES[name]
    code = program(cell._THINKING, default=refuse(1), table=table)
    reaching = REACHING.split()
    for call in reaching:
        if call in table.calls:
            assert decide(code, table, table.calls[call]) == refuse(1), call
    assert decide(code, table, table.calls["clone"], 17) == refuse(1)
    assert decide(code, table, table.calls["prlimit64"], 0, 9, 1) == refuse(1)
    assert decide(code, table, table.calls["prlimit64"], 0, 9, 0) == ALLOW


def test_the_tables_know_every_name_the_worker_asks_for() -> None:
    known = {name for table in ARCHES.values() for name in table.calls}
    rules = [*cell._THINKING, *cell._FORKING]
    assert {rule.call for rule in rules} <= known


@here
def test_the_table_is_the_running_kernels() -> None:
    table = arch()
    assert table is not None
    import ctypes

    libc = ctypes.CDLL(None)
    assert libc.syscall(ctypes.c_long(table.calls["getpid"])) == os.getpid()
    assert libc.syscall(ctypes.c_long(table.calls["getuid"])) == os.getuid()


def confined(code: str, *args: str) -> str:
    """Output of a process that confines itself."""
    root = str(Path(__file__).resolve().parents[2])
    source = "import os, sys\nsys.path.insert(0, sys.argv.pop(1))\n" + textwrap.dedent(code)
    done = subprocess.run(  # noqa: PLW1510  (the assertion below shows what it said)
        [sys.executable, "-c", source, root, *args], capture_output=True, text=True, timeout=30, env={}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


TRY = """
def attempt(name, work):
    try:
        work()
        print(name, "yes")
    except OSError as error:
        print(name, "no", error.errno)
"""


@here
def test_landlock_holds_what_the_rules_say(tmp_path: Path) -> None:
    for name in ("free", "seen", "hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text("x")
    code = (
        TRY
        + """
import socket
import encodings.idna
from autopilot_runtime.confine.landlock import READ, WRITE, PathRule, restrict
base = sys.argv[1]
version = restrict([PathRule(f"{base}/free", WRITE), PathRule(f"{base}/seen", READ), PathRule(f"{base}/none", READ)])
attempt("write free", lambda: open(f"{base}/free/g", "w"))
attempt("remove free", lambda: os.unlink(f"{base}/free/f"))
attempt("read seen", lambda: open(f"{base}/seen/f"))
attempt("write seen", lambda: open(f"{base}/seen/f", "w"))
attempt("read hidden", lambda: open(f"{base}/hidden/f"))
attempt("make outside", lambda: os.mkdir(f"{base}/new"))
attempt("connect", lambda: socket.create_connection(("127.0.0.1", 9)))
attempt("signal", lambda: os.kill(os.getppid(), 0))
print(version)
"""
    )
    said = confined(code, str(tmp_path)).splitlines()
    assert said[:6] == [
        "write free yes",
        "remove free yes",
        "read seen yes",
        "write seen no 13",
        "read hidden no 13",
        "make outside no 13",
    ]
    assert said[6] == ("connect no 13" if level().landlock >= 4 else said[6])
    assert said[7] == ("signal no 1" if level().landlock >= 6 else said[7])


@here
def test_essential_paths_must_be_there(tmp_path: Path) -> None:
    code = (
        TRY
        + """
from autopilot_runtime.confine.landlock import READ, PathRule, restrict
attempt("restrict", lambda: restrict([PathRule(sys.argv[1], READ, essential=True)]))
"""
    )
    assert confined(code, str(tmp_path / "none")) == "restrict no 2\n"


@here
def test_a_second_filter_can_only_take_away() -> None:
    code = (
        TRY
        + """
from autopilot_runtime.confine.seccomp import ALLOW, Rule, allow, install, refuse
install([Rule("getcwd", action=refuse(13))], default=ALLOW)
attempt("cwd", os.getcwd)
install(allow("getcwd"), default=ALLOW)
attempt("cwd", os.getcwd)
"""
    )
    assert confined(code) == "cwd no 13\ncwd no 13\n"


@here
def test_capabilities_are_gone_for_good() -> None:
    code = """
    from autopilot_runtime.confine.kernel import drop_capabilities
    drop_capabilities()
    print([line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "CapPrm", "CapAmb"))])
    """
    assert confined(code) == "['0000000000000000', '0000000000000000', '0000000000000000']\n"


@here
def test_limits_only_go_down() -> None:
    code = """
    import resource
    from autopilot_runtime.confine.limits import ResourceLimits, apply
    apply(ResourceLimits(open_files=50, core=0))
    apply(ResourceLimits(open_files=60))
    print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE))
    """
    assert confined(code) == "(50, 50) (0, 0)\n"
