"""What a program passes on its way in, between fork and exec: limits, network, and with Landlock the wall. Linux.

Everything that can be prepared is prepared before: the child makes system calls and asks nobody.
"""

from __future__ import annotations

import fcntl
import os
import signal
import termios
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autopilot_runtime.confine import cover, kernel, landlock, limits, seccomp
from autopilot_runtime.confine.cgroup import ControlGroup
from autopilot_runtime.confine.cover import Cover
from autopilot_runtime.confine.limits import ResourceLimits
from autopilot_runtime.confine.network import PrivateNetwork
from autopilot_runtime.confine.scratch import Scratch
from autopilot_runtime.confine.view import View

_ABI_WITH_IOCTL = 5
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx")
_LOOK = ("/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup")
_USE = landlock.Path.READ_FILE | landlock.Path.WRITE_FILE | landlock.Path.IOCTL_DEV
# CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER
OWNERSHIP = frozenset({0, 1, 3})


@dataclass(frozen=True, slots=True)
class Entry:
    """The way in. A `ruleset` and a `filter` are given where no program builds the wall."""

    group: ControlGroup | None
    network: PrivateNetwork | None
    limits: ResourceLimits
    covers: Sequence[Cover] | None = None
    ruleset: int | None = None
    filter: bytes = b""
    keep: frozenset[int] = frozenset()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What must be open in the child until it has passed."""
        group = self.group.doors if self.group is not None else ()
        network = self.network.descriptors if self.network is not None else ()
        return (*group, *network, *(() if self.ruleset is None else (self.ruleset,)))

    def door(
        self,
        *,
        joins: bool = True,
        inherited: int | None = None,
        leaves_terminal: bool = False,
        folder: str | None = None,
    ) -> Callable[[], None]:
        """What a child calls. `inherited`: a descriptor the program is to find open; `folder`: where it begins.

        Who does not join the group here must be admitted before it is told to do anything.
        """
        parent = os.getpid()
        kernel.get_ready()

        def enter() -> None:
            if self.group is not None and joins:
                self.group.join()
            limits.apply(self.limits)
            if self.network is not None:
                self.network.join()
            if self.covers is not None:
                cover.make(self.covers)
                os.chdir(folder or "/")
            if self.ruleset is not None:
                self._wall_up()
            # A change of user namespace has made the kernel forget it.
            kernel.die_with_parent()
            if os.getppid() != parent:
                os._exit(1)
            for fd in self.descriptors:  # whoever starts the program may have opened them to it
                os.set_inheritable(fd, False)
            if inherited is not None:
                os.set_inheritable(inherited, True)
            if leaves_terminal:
                _leave_terminal()
            if self.filter:
                seccomp.seal(self.filter)

        return enter

    def _wall_up(self) -> None:
        assert self.ruleset is not None
        kernel.no_new_privileges()
        kernel.drop_capabilities(keep=self.keep)
        if os.isatty(1):
            # Its own terminal, under the name it has: `> /dev/stdout` opens that.
            landlock.allow(self.ruleset, landlock.PathRule(os.ttyname(1), _USE))
        landlock.enter(self.ruleset)


def _leave_terminal() -> None:
    """Let go of the terminal this process leads, so that another can; the kernel hangs up on who does that."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    fcntl.ioctl(1, termios.TIOCNOTTY)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def path_rules(view: View, scratch: Scratch) -> list[landlock.PathRule]:
    """A view as rules. What a rule allows it allows beneath, too: nothing can be taken out again."""
    rule = landlock.PathRule
    return [
        *(rule(place, landlock.RUN) for place in (*view.etc, *view.readable)),
        *(rule(place, landlock.RUN | landlock.WRITE) for place in view.writable),
        # Not the folders they lie in: what else is there is ours.
        *(rule(place, landlock.RUN | landlock.WRITE) for place in (scratch.tmp, scratch.home, scratch.shm)),
        *(rule(place, _USE) for place in _DEVICES),
        *(rule(place, landlock.READ) for place in _LOOK),
    ]
