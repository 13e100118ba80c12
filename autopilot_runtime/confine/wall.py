"""The wall around the programs of one runtime: the best this machine has, opened once, passed by every program."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from autopilot_runtime.confine import bwrap, entry, landlock, seatbelt, seccomp
from autopilot_runtime.confine.calls import program_rules
from autopilot_runtime.confine.cgroup import ControlGroup, open_group
from autopilot_runtime.confine.level import level
from autopilot_runtime.confine.limits import ResourceLimits, processes_of_user
from autopilot_runtime.confine.network import PrivateNetwork
from autopilot_runtime.confine.places import within
from autopilot_runtime.confine.policy import Policy
from autopilot_runtime.confine.proxy import Proxy
from autopilot_runtime.confine.scratch import Scratch
from autopilot_runtime.confine.view import View, view
from autopilot_runtime.core.bridge import bridge
from autopilot_runtime.core.errors import SandboxUnavailable

Kind = Literal["bwrap", "landlock", "seatbelt", "none"]
Mode = Literal["auto", "required", "off"]
_FIX = "Set `runtime.sandbox.shell: auto` or `off`, or run the whole agent in a container or a virtual machine."


@dataclass(frozen=True, slots=True)
class Launch:
    """How one program is started behind the wall."""

    argv: tuple[str, ...]
    cwd: str
    pass_fds: tuple[int, ...] = ()
    in_child: Callable[[], None] | None = None
    # The program is started by another one, which ends with 128 + n when a signal has ended the program.
    relayed: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What a wall does, for people and for the model."""

    kind: Kind
    network: str = "on"
    limits: str = ""
    gaps: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.kind if self.kind == "none" else f"{self.kind}, network {self.network}"


@functools.cache
def best() -> tuple[Kind, tuple[str, ...]]:
    """The best kind this machine has, found by trying, and why not a better one. Blocks some milliseconds once."""
    if seatbelt.available():
        return "seatbelt", ()
    here = level()
    if here.missing and not here.landlock:
        return "none", here.missing
    program, why = bwrap.working() if here.seccomp else (None, "")
    if program is not None:
        return "bwrap", ()
    return ("none", here.missing) if here.missing else ("landlock", (why,))


class Wall:
    """No wall: programs run as they are. What the others share."""

    kind: Kind = "none"

    def __init__(self, *, gaps: Sequence[str] = ()) -> None:
        self.told = Told("none", gaps=tuple(gaps))
        # Folders and groups that are left when this process is killed.
        self.leftovers: tuple[str, ...] = ()

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        """The variables of a program behind it."""
        return dict(env)

    @contextlib.contextmanager
    def launch(self, argv: Sequence[str], *, cwd: str) -> Iterator[Launch]:
        """How to start `argv`; what this hands out is valid inside the `with`."""
        yield Launch(tuple(argv), cwd)

    def has_folder(self, path: str) -> bool:
        """Whether a program would find a folder there."""
        return os.path.isdir(path)

    def close(self) -> None:
        """End what is left behind it, and remove its folders. Blocks for some milliseconds."""


class _Built(Wall):
    """A wall with a view, folders, limits and a network of its own."""

    def __init__(self, kind: Kind, policy: Policy, env: Mapping[str, str], readable: Sequence[str]) -> None:
        self.kind = kind
        self._policy = policy
        self.view: View = view(policy, env, also=readable)
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._closing.close)
            self._scratch = Scratch(self.view.home)
            self._closing.callback(self._scratch.close)
            self._group = self._counted()
            self._network = self._reached()
            on_failure.pop_all()
        self.leftovers = (
            *self._scratch.folders,
            *(str(folder) for folder in (self._group.folders if self._group else ())),
        )
        self.told = Told(kind, self._network_told(), self._limits_told(), tuple(self._gaps()))

    def close(self) -> None:
        self._closing.close()

    # ---------------------------------------------------------------- its parts

    def _counted(self) -> ControlGroup | None:
        policy = self._policy
        name = f"autopilot-{secrets.token_hex(8)}"
        group = open_group(name, memory_mb=policy.memory_mb, processes=policy.max_processes)
        if group is not None:
            self._closing.callback(group.close)
        return group

    def _reached(self) -> PrivateNetwork | None:
        """A network of their own, unless they may use this machine's or none can be made."""
        if self._policy.network == "on" or sys.platform != "linux":
            return None
        hosts = () if self._policy.network == "off" else self._policy.network
        try:
            network = PrivateNetwork(listening=bool(hosts))
        except OSError:
            return None
        self._closing.callback(network.close)
        if network.listener is not None:
            proxy = Proxy(network.listener, hosts)
            bridge().call(proxy.start())
            self._closing.callback(lambda: bridge().call(proxy.close()))
        return network

    def _limits(self) -> ResourceLimits:
        """What holds for each process alone, where no group counts them together."""
        if self._group is not None:
            return ResourceLimits(core=0)
        memory = self._policy.memory_mb
        others = 0 if os.geteuid() == 0 else processes_of_user()
        return ResourceLimits(
            core=0, data=memory << 20 if memory else None, processes=others + self._policy.max_processes
        )

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        child = {**env, "HOME": self.view.home}
        if self._network is not None and self._network.listener is not None:
            address = f"http://127.0.0.1:{self._network.port}"
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                child |= {name: address, name.upper(): address}
            child |= dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1,::1")
        return child

    # ---------------------------------------------------------------- what is said of it

    def _network_told(self) -> str:
        network = self._policy.network
        if network == "on":
            return "on"
        if network != "off" and (self._network is not None):
            return f"only {', '.join(network)}"
        return "off" if self._network is None else "off but for a loopback of its own"

    def _limits_told(self) -> str:
        memory = f"{self._policy.memory_mb} MB" if self._policy.memory_mb else "no limit of memory"
        how = "together" if self._group is not None else "each"
        return f"{memory}, {self._policy.max_processes} processes, {how}"

    def _gaps(self) -> Iterator[str]:
        if self._network is None and isinstance(self._policy.network, tuple):
            yield "no host can be reached: a network for the allowed ones needs user namespaces"
        if self._group is None and os.geteuid() == 0:
            yield "processes are not counted: root without a writable control group"


class _Bubblewrap(_Built):
    """A root, processes and folders of their own."""

    def __init__(self, policy: Policy, env: Mapping[str, str], readable: Sequence[str]) -> None:
        program, why = bwrap.working()
        if program is None:
            raise OSError(38, why)
        self._program = program
        self._filter = seccomp.compiled(program_rules(internet=True, named_sockets=True), default=seccomp.ALLOW)
        super().__init__("bwrap", policy, env, readable)
        self._scratch.fill_etc(self.view.etc)
        self._entry = entry.Entry(self._group, self._network, self._limits())

    @contextlib.contextmanager
    def launch(self, argv: Sequence[str], *, cwd: str) -> Iterator[Launch]:
        with _memory_file(self._filter) as filter:
            words = bwrap.command(self._program, self.view, scratch=self._scratch, cwd=cwd, seccomp=filter)
            fds = (*self._entry.descriptors, filter)
            yield Launch((*words, *argv), "/", fds, self._entry.door(inherited=filter), relayed=True)

    def has_folder(self, path: str) -> bool:
        there = bwrap.host_path(path, self.view, self._scratch)
        return there is not None and os.path.isdir(there)


class _Landlock(_Built):
    """The machine as it is, with a short list of what may be touched."""

    def __init__(self, policy: Policy, env: Mapping[str, str], readable: Sequence[str]) -> None:
        super().__init__("landlock", policy, env, readable)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)
            reachable = self._network is not None or policy.network == "on"
            ruleset = landlock.ruleset(
                entry.path_rules(self.view, self._scratch), ports=None if reachable else (), version=landlock.abi()
            )
            self._closing.callback(os.close, ruleset)
            rules = program_rules(internet=reachable, named_sockets=False)
            keep = os.geteuid() == 0 and os.stat(self.view.work_dir).st_uid != 0
            self._entry = entry.Entry(
                self._group, self._network, self._limits(), ruleset,
                seccomp.compiled(rules, default=seccomp.ALLOW), entry.OWNERSHIP if keep else frozenset(),
            )  # fmt: skip
            on_failure.pop_all()

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        return super().env(env) | _instead(self._scratch)

    @contextlib.contextmanager
    def launch(self, argv: Sequence[str], *, cwd: str) -> Iterator[Launch]:
        yield Launch(tuple(argv), cwd, self._entry.descriptors, self._entry.door())

    def has_folder(self, path: str) -> bool:
        return os.path.isdir(path) and (
            self.view.shows(path) or any(within(path, own) for own in self._scratch.folders)
        )

    def _gaps(self) -> Iterator[str]:
        yield from super()._gaps()
        yield "/tmp is not writable; TMPDIR names a folder that is"
        yield "the names of other processes can be seen, and no program can open sockets by file name"
        for what, paths in (("read", self.view.hidden), ("changed", self.view.protected)):
            if paths:
                yield f"{', '.join(paths)} can be {what}: work_dir holds them, and nothing can be taken out of it"


class _Seatbelt(_Built):
    """macOS: a profile."""

    def __init__(self, policy: Policy, env: Mapping[str, str], readable: Sequence[str]) -> None:
        super().__init__("seatbelt", policy, env, readable)
        self._profile = seatbelt.profile(self.view, scratch=self._scratch, network=policy.network)

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        return super().env(env) | _instead(self._scratch)

    @contextlib.contextmanager
    def launch(self, argv: Sequence[str], *, cwd: str) -> Iterator[Launch]:
        yield Launch((seatbelt.PROGRAM, "-p", self._profile, *argv), cwd)


def _instead(scratch: Scratch) -> dict[str, str]:
    """Where no folder can be put in another's place, the variables name ours."""
    return {"HOME": scratch.home, **dict.fromkeys(("TMPDIR", "TMP", "TEMP"), scratch.tmp)}


_KINDS: dict[Kind, Callable[[Policy, Mapping[str, str], Sequence[str]], Wall]] = {
    "bwrap": _Bubblewrap,
    "landlock": _Landlock,
    "seatbelt": _Seatbelt,
}


def open_wall(
    mode: Mode, policy: Policy, env: Mapping[str, str], *, readable: Sequence[str] = (), kind: Kind | None = None
) -> Wall:
    """The wall for these programs. `required`: one that keeps all it promises, or SandboxUnavailable."""
    if mode == "off":
        return Wall()
    found, why = best()
    for candidate in [kind] if kind else [found, "landlock" if found == "bwrap" else "none"]:
        if candidate in _KINDS:
            try:
                wall = _KINDS[candidate](policy, env, readable)
            except OSError as error:
                why = (*why, f"{candidate}: {error}")
                continue
            if mode == "required":
                _check(wall)
            return wall
    if mode == "required":
        raise SandboxUnavailable(
            f"runtime.sandbox.shell: required, but shells cannot be confined: {_list(why)}. {_FIX}"
        )
    return Wall(gaps=why)


def _check(wall: Wall) -> None:
    """A required wall may not have holes in what the agent file asked for."""
    holes = [gap for gap in wall.told.gaps if "can be read" in gap or "can be changed" in gap or "not counted" in gap]
    if holes:
        wall.close()
        raise SandboxUnavailable(f"runtime.sandbox.shell: required, but {_list(holes)} ({wall.kind}). {_FIX}")


def _list(parts: Sequence[str]) -> str:
    return "; ".join(parts) or "for a reason nobody told"


@contextlib.contextmanager
def _memory_file(data: bytes) -> Iterator[int]:
    """A descriptor of a file without a name, at its beginning."""
    if sys.platform != "linux":
        raise OSError(38, "Linux only")
    file = os.memfd_create("filter", os.MFD_CLOEXEC)
    try:
        os.write(file, data)
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)
