"""Start a shell on a new pseudo-terminal through pexpect, with two private pipes that its commands never see."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import termios
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pexpect
import ptyprocess

from autopilot_runtime.confine.wall import Launch
from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.shell.child import settle
from autopilot_runtime.shell.dialect import Dialect

_TIOCGPTPEER = 0x5441


class _Child(pexpect.spawn):  # type: ignore[misc]  # it has no types
    """pexpect's child, which may also inherit descriptors."""

    def __init__(self, *args: Any, pass_fds: Sequence[int], **kwargs: Any) -> None:
        self._pass_fds = tuple(pass_fds)
        super().__init__(*args, **kwargs)

    def _spawnpty(self, args: list[str], **kwargs: Any) -> ptyprocess.PtyProcess:
        process = ptyprocess.PtyProcess.spawn(args, pass_fds=self._pass_fds, **kwargs)
        # Its own waits are sleeps on the loop; ours are on the exit itself.
        process.delayafterclose = process.delayafterterminate = 0
        return process


@dataclass(slots=True)
class Spawned:
    """A living shell: its child, and our ends of the two pipes."""

    child: Any
    control: int
    reports: int

    @property
    def tty(self) -> int:
        fd: int = self.child.child_fd
        return fd

    @property
    def pid(self) -> int:
        pid: int = self.child.pid
        return pid

    def reap(self) -> bool:
        """Whether the shell has ended; it leaves no zombie then."""
        try:
            return not self.child.isalive()
        except (pexpect.ExceptionPexpect, ptyprocess.PtyProcessError):
            return True  # somebody else reaped it, or the host ignores SIGCHLD

    def close(self) -> None:
        """Give all descriptors back. The shell must have ended."""
        for fd in (self.control, self.reports):
            os.close(fd)
        with contextlib.suppress(pexpect.ExceptionPexpect, ptyprocess.PtyProcessError, OSError):
            self.child.close(force=True)


def spawn(
    dialect: Dialect,
    launch: Launch,
    *,
    env: Mapping[str, str],
    size: tuple[int, int],
) -> Spawned:
    """Start a shell: its commands will come from the control pipe, its reports on the report pipe.

    What goes wrong while the child is confined is told as a failed start.
    """
    with contextlib.ExitStack() as on_failure, contextlib.ExitStack() as handed_over:
        try:
            control_read, control = _pipe(read=handed_over, write=on_failure)
            reports, reports_write = _pipe(read=on_failure, write=handed_over)
            child = _start(
                list(launch.argv),
                pass_fds=(control_read, reports_write, *launch.pass_fds),
                preexec_fn=_prepare(dialect, launch, control=control_read, reports=reports_write),
                cwd=launch.cwd,
                env=dict(env),
                dimensions=size,
            )
        except Exception as error:  # it raises here what went wrong in the child, whatever its class
            raise ToolError(f"No shell could be started: {error}. Terminate terminals you do not need.") from error
        on_failure.pop_all()
    for fd in (control, reports, child.child_fd):
        os.set_blocking(fd, False)
    return Spawned(child, control, reports)


def _pipe(*, read: contextlib.ExitStack, write: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe; each end is closed with its stack."""
    ends = os.pipe()
    read.callback(os.close, ends[0])
    write.callback(os.close, ends[1])
    return ends


def _start(argv: list[str], **how: Any) -> _Child:
    with warnings.catch_warnings():
        # Newer Pythons warn about forking in a process with threads; the child runs only what `_prepare` says.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = _Child(argv[0], argv[1:], echo=True, **how)
    child.delaybeforesend = None
    return child


def _prepare(dialect: Dialect, launch: Launch, *, control: int, reports: int) -> Callable[[], None]:
    """What the child does between fork and exec."""
    parent = os.getpid()

    def prepare() -> None:
        # Out of the way first: either may have the very number another is to get.
        ours = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in (control, reports)]
        os.dup2(ours[0], launch.stdin)
        os.dup2(ours[1], dialect.report_fd)
        os.dup2(1, dialect.tty_fd)
        settle(parent, launch.in_child)

    return prepare


def baseline(tty: int) -> list[Any]:
    """Set the terminal up, and give back its settings, to be restored before each command.

    Output processing is off: turning every line break into two bytes costs the kernel ten times the time.
    """
    mode = termios.tcgetattr(tty)
    mode[1] &= ~termios.OPOST
    mode[0] |= getattr(termios, "IUTF8", 0)
    termios.tcsetattr(tty, termios.TCSANOW, mode)
    return termios.tcgetattr(tty)


def restore(tty: int, mode: list[Any], *, flush: bool) -> None:
    """Undo what a program left behind; `flush` also forgets what was typed and nobody read."""
    if termios.tcgetattr(tty) != mode:
        termios.tcsetattr(tty, termios.TCSANOW, mode)
    slave = _slave(tty) if flush else None
    if slave is not None:
        termios.tcflush(slave, termios.TCIFLUSH)
        os.close(slave)


def _slave(tty: int) -> int | None:
    """The other side of a pseudo-terminal, opened through its master; None where that cannot be done."""
    if sys.platform.startswith("linux"):
        return fcntl.ioctl(tty, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return None
