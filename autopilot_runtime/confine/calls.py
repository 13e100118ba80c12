"""What a confined program may not ask of the kernel, as rules: everything else is ordinary work and allowed."""

from __future__ import annotations

from autopilot_runtime.confine.seccomp import ALLOW, Arg, Rule, refuse

_EPERM, _EACCES, _ENOSYS, _EAFNOSUPPORT = 1, 13, 38, 97
_LOW = 0xFFFFFFFF  # the kernel looks at half of these arguments
# New namespaces: mount, cgroup, uts, ipc, user, pid, net, time.
_NAMESPACES = (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x80)
_TIME_NAMESPACE = 0x80  # in clone() these bits are the exit signal
_SETUID, _O_CREAT, _O_TMPFILE = 0o4000, 0o100, 0o20000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # typing into a terminal, as if a person did
_UNIX, _INET, _INET6, _NETLINK, _ROUTE, _DIAG = 1, 2, 10, 16, 0, 4

_NEVER = (
    "mount umount2 move_mount open_tree fsopen fsmount fsconfig fspick mount_setattr pivot_root chroot setns bpf "
    "perf_event_open userfaultfd keyctl add_key request_key init_module finit_module delete_module kexec_load "
    "kexec_file_load reboot swapon swapoff acct settimeofday clock_settime adjtimex clock_adjtime iopl ioperm "
    "quotactl syslog nfsservctl lookup_dcookie open_by_handle_at vhangup"
)
# "Not there" makes programs fall back to calls whose arguments can be judged.
_NOT_THERE = "clone3 openat2 io_uring_setup io_uring_enter io_uring_register"
# Which argument of which call is the mode of a file, and which holds O_CREAT where the mode counts only then.
_MODES = (
    ("chmod", 1, None), ("fchmod", 1, None), ("fchmodat", 2, None), ("fchmodat2", 2, None), ("creat", 1, None),
    ("mknod", 1, None), ("mknodat", 2, None), ("open", 2, 1), ("openat", 3, 2),
)  # fmt: skip


_SHARED = (
    "prlimit64 setpriority sched_setaffinity sched_setscheduler ioprio_set shmget shmat shmctl msgget semget mq_open"
)
# Of a process, only its own: limits, priorities, processors; and no memory that strangers share by number.
_ONLY_OWN = [
    Rule("prlimit64", (Arg(0, 0),)),
    Rule("prlimit64", (Arg(2, 0),)),
    Rule("setpriority", (Arg(1, 0, _LOW),)),
    Rule("sched_setaffinity", (Arg(0, 0, _LOW),)),
    Rule("sched_setscheduler", (Arg(0, 0, _LOW),)),
    *(Rule(name, action=refuse(_EPERM)) for name in _SHARED.split()),
]


def program_rules(*, internet: bool, named_sockets: bool, shared: bool = False) -> list[Rule]:
    """The rules for a confined program; what none of them names is allowed (`default=ALLOW`).

    `internet`: sockets of TCP and UDP. `named_sockets`: unix sockets, which have to be refused where the host's own
    can be seen: there is a root shell behind some of them. `shared`: the machine's other processes can be named.
    """
    rules = [Rule(name, action=refuse(_EPERM)) for name in _NEVER.split()]
    rules += [Rule(name, action=refuse(_ENOSYS)) for name in _NOT_THERE.split()]
    rules += [
        Rule(call, (Arg(0, flag, flag),), refuse(_EPERM))
        for call in ("clone", "unshare")
        for flag in _NAMESPACES
        if (call, flag) != ("clone", _TIME_NAMESPACE)
    ]
    rules += [Rule("ioctl", (Arg(1, request, _LOW),), refuse(_EPERM)) for request in (_TIOCSTI, _TIOCLINUX)]
    rules += [_no_setuid(call, mode, flags) for call, mode, flags in _MODES]
    # A file without a name gets its mode in the same way.
    rules += [
        Rule(call, (Arg(flags, _O_TMPFILE, _O_TMPFILE), Arg(mode, _SETUID, _SETUID)), refuse(_EPERM))
        for call, mode, flags in _MODES
        if flags is not None
    ]
    if shared:
        rules += _ONLY_OWN
    return rules + _sockets(internet=internet, named=named_sockets)


def _no_setuid(call: str, mode: int, flags: int | None) -> Rule:
    """A file that runs as its owner is a way out for whoever can start it on the host."""
    when = (Arg(mode, _SETUID, _SETUID),)
    return Rule(call, when if flags is None else (Arg(flags, _O_CREAT, _O_CREAT), *when), refuse(_EPERM))


def _sockets(*, internet: bool, named: bool) -> list[Rule]:
    """The usual families and no other: a socket of a virtual machine or of the kernel's own has no namespace."""

    def family(number: int, *, allowed: bool) -> Rule:
        return Rule("socket", (Arg(0, number, _LOW),), ALLOW if allowed else refuse(_EACCES))

    return [
        family(_UNIX, allowed=named),
        family(_INET, allowed=internet),
        family(_INET6, allowed=internet),
        Rule("socket", (Arg(0, _NETLINK, _LOW), Arg(2, _ROUTE, _LOW))),
        # Tells of the sockets of its own network.
        *([Rule("socket", (Arg(0, _NETLINK, _LOW), Arg(2, _DIAG, _LOW)))] if named else []),
        Rule("socket", action=refuse(_EAFNOSUPPORT)),
    ]
