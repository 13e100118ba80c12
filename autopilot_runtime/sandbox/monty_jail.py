"""A second wall around a Monty worker: runs in its process first, takes the powers away, then becomes it. Linux.

The interpreter is the first wall: it has no call that opens anything. This one is for the day it has a hole.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from autopilot_runtime.confine.kernel import drop_capabilities, no_new_privileges
from autopilot_runtime.confine.landlock import READ, RUN, PathRule, restrict
from autopilot_runtime.confine.landlock import Path as Access
from autopilot_runtime.confine.level import level
from autopilot_runtime.confine.limits import ResourceLimits, apply
from autopilot_runtime.confine.seccomp import ALLOW, Arg, Rule, install, refuse

_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x10000
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
_CACHE = "/etc/ld.so.cache"
_REFUSED = (
    "socket connect bind listen accept accept4 sendto sendmsg fork vfork ptrace process_vm_readv process_vm_writev "
    "kill pidfd_open pidfd_getfd pidfd_send_signal unshare setns mount umount2 pivot_root chroot io_uring_setup bpf "
    "perf_event_open userfaultfd keyctl add_key request_key memfd_create execveat"
)


def launcher(binary: str) -> str | None:
    """A small program that starts `binary` behind the wall; None where there is none to be had."""
    if sys.platform != "linux" or not level().workers:
        return None
    root = Path(__file__).resolve().parents[2]
    # At the end of the path: nothing that lies beside the package can stand in for the standard library.
    find = f"import sys; sys.path.append({str(root)!r})"
    code = f"{find}; from autopilot_runtime.sandbox.monty_jail import main; main()"
    words = [sys.executable, "-I", "-S", "-c", code, binary]
    script = f'#!/bin/sh\nexec {" ".join(map(shlex.quote, words))} "$@"\n'
    return f"/proc/{os.getpid()}/fd/{_sealed(script.encode())}"


def _sealed(program: bytes) -> int:
    """A read-only descriptor of a program that has no name anywhere, so that nothing is left when we are killed."""
    if sys.platform != "linux":
        raise OSError("Linux only")
    written = os.memfd_create("monty-launcher", os.MFD_CLOEXEC)
    try:
        os.write(written, program)
        os.fchmod(written, 0o500)
        # What is open for writing cannot be run.
        return os.open(f"/proc/self/fd/{written}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(written)


def main() -> None:
    """Lock this process and become the worker. What fails here ends it: a wall that is not there is no wall."""
    binary = sys.argv[1]
    apply(ResourceLimits(file_size=0, open_files=64, core=0, locked=0, queues=0))
    no_new_privileges()
    drop_capabilities()
    libraries = [PathRule(path, READ) for path in _LIBRARIES]
    loaders = [PathRule(path, Access.READ_FILE | Access.EXECUTE) for path in _LOADERS]
    own = PathRule(binary, Access(RUN & ~Access.READ_DIR), essential=True)
    restrict([own, PathRule(_CACHE, Access.READ_FILE), *libraries, *loaders])
    threads_only = (
        Rule("clone3", action=refuse(_ENOSYS)),
        Rule("clone", (Arg(0, 0, _CLONE_THREAD),), refuse(_EPERM)),
    )
    install([*(Rule(name, action=refuse(_EPERM)) for name in _REFUSED.split()), *threads_only], default=ALLOW)
    os.execve(binary, [binary, *sys.argv[2:]], {})
