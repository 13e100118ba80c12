"""The walls of a control-block worker, as data: the few system calls Python needs to think, and nothing else.

No call that takes a path, an address or another process is among them: there is nothing to open, connect to or
signal. Runs in the worker; the standard library and `confine` only.
"""

from __future__ import annotations

from autopilot_runtime.confine.kernel import die_with_parent, drop_capabilities, no_new_privileges, not_dumpable
from autopilot_runtime.confine.landlock import restrict
from autopilot_runtime.confine.limits import ResourceLimits, apply
from autopilot_runtime.confine.seccomp import Arg, Rule, allow, install, refuse

_ENOSYS = 38
_CLONE_THREAD = 0x10000
_SET_NAME = 15
_AF_UNIX = 1
# Sockets made here are pairs; these are the requests Python makes of them: FIONBIO, FIOCLEX, FIONCLEX.
_IOCTLS = (0x5421, 0x5451, 0x5450)
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC: not F_SETOWN, which sends signals to strangers.
_FCNTLS = (0, 1, 2, 3, 4, 1030)

_THINKING = (
    *allow(
        "read write futex mmap munmap mprotect mremap madvise brk close "
        "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrandom getrusage "
        "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall exit exit_group "
        "getpid getppid gettid getuid geteuid getgid getegid "
        "set_robust_list rseq set_tid_address membarrier sched_yield sched_getaffinity "
        "poll ppoll select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 pipe pipe2 dup dup2 dup3 "
        "recvfrom shutdown getsockname getsockopt setitimer getitimer alarm arch_prctl getrlimit"
    ),
    # glibc tries the newer call first; "not there" makes it fall back to the one whose flags can be read.
    Rule("clone3", action=refuse(_ENOSYS)),
    Rule("clone", (Arg(0, _CLONE_THREAD, _CLONE_THREAD),)),
    Rule("socketpair", (Arg(0, _AF_UNIX, 0xFFFFFFFF),)),
    Rule("sendto", (Arg(4, 0),)),
    Rule("prctl", (Arg(0, _SET_NAME),)),
    Rule("prlimit64", (Arg(0, 0), Arg(2, 0))),
    *(Rule("ioctl", (Arg(1, request, 0xFFFFFFFF),)) for request in _IOCTLS),
    *(Rule("fcntl", (Arg(1, command, 0xFFFFFFFF),)) for command in _FCNTLS),
)
# What the zygote does besides: fork, hand descriptors over, wait, and lock its children up further.
_FORKING = allow(
    "clone clone3 fork vfork wait4 waitid sendmsg recvmsg pidfd_open prctl seccomp close_range fcntl ioctl "
    "prlimit64 setrlimit kill tgkill"
)

# The zygote holds two descriptors for each living worker, and there is one zygote for all runtimes of a process.
_ZYGOTE = ResourceLimits(file_size=0, open_files=65_536, core=0, locked=0, queues=0)
_WORKER = ResourceLimits(open_files=64)


def lock_zygote() -> None:
    """Confine this process and all it forks: no privileges, no files, no network, no exec. Raises OSError."""
    apply(_ZYGOTE)
    not_dumpable()
    no_new_privileges()
    drop_capabilities()
    restrict()
    install([*_THINKING, *_FORKING])


def lock_worker(own_pid: int) -> None:
    """What a block gets: no more processes either, and signals only to itself (`abort()` is one)."""
    die_with_parent()
    apply(_WORKER)
    own = tuple(Rule(name, (Arg(0, own_pid),)) for name in ("tgkill", "kill"))
    install([*_THINKING, *own])
