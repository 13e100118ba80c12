"""The walls that can be built on Linux and macOS, one class for each kind."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from autopilot_runtime.confine import bwrap, cover, entry, kernel, landlock, seatbelt, seccomp
from autopilot_runtime.confine.calls import program_rules
from autopilot_runtime.confine.cgroup import ControlGroup, open_group
from autopilot_runtime.confine.limits import ResourceLimits, processes_of_user
from autopilot_runtime.confine.network import PrivateNetwork
from autopilot_runtime.confine.places import within
from autopilot_runtime.confine.policy import Policy
from autopilot_runtime.confine.proxy import AllowList, Proxy
from autopilot_runtime.confine.scratch import Scratch
from autopilot_runtime.confine.view import View, view
from autopilot_runtime.confine.wall import Kind, Launch, Told, Wall, has_own_tmp
from autopilot_runtime.core.bridge import bridge, threads

_NO_NETWORK = re.compile(
    r"could not resolve|name resolution|name or service not known|network is unreachable|ENOTFOUND|EAI_AGAIN"
    r"|blocked-by-sandbox|not among the hosts|failed to lookup address",
    re.IGNORECASE,
)
# Where nobody can answer, asking again only takes time.
_NO_RETRIES = {"PIP_RETRIES": "0", "NPM_CONFIG_FETCH_RETRIES": "0", "CARGO_NET_RETRY": "0", "UV_HTTP_RETRIES": "0"}
_ABI_WITH_SCOPES = 6
_OWN_FOLDER = re.compile(r"XDG_(?!CONFIG_DIRS|DATA_DIRS)\w+|TMPDIR|TMP|TEMP|HISTFILE")
_NO_WRITING = re.compile(r"read-only file system|EROFS")


class _Built(Wall):
    """A wall with a view, folders, limits and a network of its own."""

    def __init__(self, kind: Kind, policy: Policy, env: Mapping[str, str], readable: Sequence[str]) -> None:
        self.kind = kind
        self._policy = policy
        self.view: View = view(policy, env, also=readable)
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._closing.close)
            self._scratch = Scratch(self.view.home, away_from=self.view.writable)
            self._closing.callback(self._scratch.close)
            self._group = self._counted()
            self._network = self._reached()
            self._prepare()
            on_failure.pop_all()
        self.leftovers = (
            *self._scratch.folders,
            *(str(folder) for folder in (self._group.folders if self._group else ())),
        )
        self.told = Told(kind, self._network_told(), self._limits_told(), tuple(self._gaps()))

    def hint(self, output: str) -> str:
        if self._policy.network != "on" and _NO_NETWORK.search(output):
            return f"network of this sandbox: {self.told.network}; runtime.sandbox.network in the agent file decides"
        if _NO_WRITING.search(output):
            places = ", ".join(self.view.writable)
            return f"this sandbox can write {places}, the temporary folder and HOME, nothing else"
        return ""

    def expect(self, pid: int) -> None:
        def admit() -> None:
            with contextlib.suppress(OSError):  # closed meanwhile: nobody comes any more
                self.admit([pid])

        if self._group is not None:
            threads().start(admit)

    def admit(self, pids: Iterable[int]) -> None:
        if self._group is not None:
            self._group.admit(pids)

    def members(self) -> set[int]:
        return self._group.members() if self._group is not None else set()

    def close(self) -> None:
        self._closing.close()

    def _prepare(self) -> None:
        """What a kind needs besides, before it is asked what it does."""

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
        # Where these lead on the machine there is nothing, or nothing that may be written.
        child = {name: value for name, value in env.items() if not _OWN_FOLDER.fullmatch(name)}
        child["HOME"] = self.view.home
        if self._policy.network == "off":
            child |= _NO_RETRIES
        if self._network is not None and self._network.listener is not None:
            address = f"http://127.0.0.1:{self._network.port}"
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                child |= {name: address, name.upper(): address}
            # A listed neighbour is reached through the proxy; all else of that name is their own loopback.
            listed = AllowList(self._policy.network)
            own = [host for host in ("localhost", "127.0.0.1", "::1") if not listed.mentions(host)]
            child |= dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(own))
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
        how = "in all" if self._group is not None else "a process"
        return f"{memory} and {self._policy.max_processes} processes {how}"

    def _gaps(self) -> Iterator[str]:
        if self._network is None and isinstance(self._policy.network, tuple):
            yield "no host can be reached: a network for the allowed ones needs user namespaces"
        if self._group is None and os.geteuid() == 0:
            yield "processes are not counted: root without a writable control group"
        if self._group is None and self.kind == "landlock":
            yield "without a writable control group, a program that leaves its terminal may outlive it"


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
    def launch(self, argv: Sequence[str], *, cwd: str, waits: bool = False, leads: bool = False) -> Iterator[Launch]:
        with _memory_file(self._filter) as filter:
            # Where no network of their own could be made, they get none: never that of the machine.
            alone = self._network is None and self._policy.network != "on"
            words = bwrap.command(
                self._program, self.view, scratch=self._scratch, cwd=cwd, seccomp=filter, alone=alone
            )
            fds = (*self._entry.descriptors, filter)
            leader = bwrap.leader() if leads else ()
            door = self._entry.door(joins=not waits, inherited=filter, leaves_terminal=bool(leader))
            stdin = bwrap.LEADERS_STDIN if leader else 0
            yield Launch((*words, *leader, *argv), "/", fds, door, relayed=True, stdin=stdin)

    def has_folder(self, path: str) -> bool:
        there = bwrap.host_path(path, self.view, self._scratch)
        return there is not None and os.path.isdir(there)


class _Landlock(_Built):
    """The machine as it is, with a short list of what may be touched; a /tmp of its own where mounts can be made."""

    def __init__(self, policy: Policy, env: Mapping[str, str], readable: Sequence[str]) -> None:
        self._covers: Sequence[cover.Cover] | None = None
        super().__init__("landlock", policy, env, readable)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)
            reachable = self._network is not None or policy.network == "on"
            rules = entry.path_rules(self.view, self._scratch)
            ruleset = kernel.out_of_the_way(landlock.ruleset(rules, ports=None if reachable else ()))
            self._closing.callback(os.close, ruleset)
            calls = program_rules(internet=reachable, named_sockets=False, shared=True)
            keep = os.geteuid() == 0 and os.stat(self.view.work_dir).st_uid != 0
            self._entry = entry.Entry(
                self._group, self._network, self._limits(), self._covers, ruleset,
                seccomp.compiled(calls, default=seccomp.ALLOW), entry.OWNERSHIP if keep else frozenset(),
            )  # fmt: skip
            on_failure.pop_all()

    def _prepare(self) -> None:
        if has_own_tmp("landlock", network=self._policy.network) and (os.geteuid() == 0 or self._network is not None):
            self._covers = cover.covers(self.view, self._scratch)

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        child = super().env(env) | {"HOME": self._scratch.home}
        toolchains = os.path.join(self.view.home, ".rustup")
        if self.view.shows(toolchains):  # looked for below HOME, which has another name here
            child.setdefault("RUSTUP_HOME", toolchains)
        return child if self._covers is not None else child | _temporary(self._scratch)

    @contextlib.contextmanager
    def launch(self, argv: Sequence[str], *, cwd: str, waits: bool = False, leads: bool = False) -> Iterator[Launch]:
        # A folder that only programs can see is not there before they have passed the door.
        outside = cwd if os.path.isdir(cwd) else "/"
        door = self._entry.door(joins=not waits, folder=cwd)
        yield Launch(tuple(argv), outside, self._entry.descriptors, door)

    def has_folder(self, path: str) -> bool:
        own = any(within(path, folder) for folder in self._scratch.folders)
        if self._covers is None:
            return (own or self.view.shows(path)) and os.path.isdir(path)
        seen = (*self.view.readable, *self.view.writable, *self._scratch.folders)
        there = cover.host_path(path, self._scratch, seen)
        return (own or there != path or self.view.shows(path)) and os.path.isdir(there)

    def _gaps(self) -> Iterator[str]:
        yield from super()._gaps()
        yield "the names of other processes can be seen, and the modes and times of files outside can be changed"
        yield "no program can open a socket by its file name"
        if landlock.abi() < _ABI_WITH_SCOPES:
            yield "this kernel's Landlock is old: programs can signal this user's others, and empty files outside"
        if self._covers is not None:
            return
        yield "/tmp is not writable; TMPDIR names a folder that is"
        for what, paths in (("read", self.view.hidden), ("changed", self.view.protected)):
            if paths:
                yield f"{', '.join(paths)} can be {what}: work_dir holds them, and nothing can be taken out of it"


class _Seatbelt(_Built):
    """macOS: a profile."""

    def __init__(self, policy: Policy, env: Mapping[str, str], readable: Sequence[str]) -> None:
        super().__init__("seatbelt", policy, env, readable)
        self._profile = seatbelt.profile(self.view, scratch=self._scratch, network=policy.network)

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        return super().env(env) | {"HOME": self._scratch.home} | _temporary(self._scratch)

    @contextlib.contextmanager
    def launch(self, argv: Sequence[str], *, cwd: str, waits: bool = False, leads: bool = False) -> Iterator[Launch]:
        yield Launch((seatbelt.PROGRAM, "-p", self._profile, *argv), cwd)


def _temporary(scratch: Scratch) -> dict[str, str]:
    """Where no folder can be put in the place of /tmp, the variables name ours."""
    return {**dict.fromkeys(("TMPDIR", "TMP", "TEMP"), scratch.tmp), "TMPPREFIX": f"{scratch.tmp}/zsh"}


KINDS: Mapping[Kind, Callable[[Policy, Mapping[str, str], Sequence[str]], Wall]] = {
    "bwrap": _Bubblewrap,
    "landlock": _Landlock,
    "seatbelt": _Seatbelt,
}


@contextlib.contextmanager
def _memory_file(data: bytes) -> Iterator[int]:
    """A descriptor of a file without a name, at its beginning."""
    if sys.platform != "linux":
        raise OSError(38, "Linux only")
    file = kernel.out_of_the_way(os.memfd_create("filter", os.MFD_CLOEXEC))
    try:
        os.write(file, data)
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)
