"""The zygote: preloads the standard library, confines itself, then forks one worker per request.

Run as a script, isolated and without site-packages, with one descriptor: a socket to the host. It has no threads
and runs no code of a block; its forks do. It ends when the host ends, and they end with it.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import importlib.abc
import importlib.util
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

_PACKAGE = "autopilot_runtime"
_ADVICE = {
    "open": "open() sees no files here: call read_file() or write_file()",
    "breakpoint": "there is no debugger here",
}


def main() -> None:
    """Get ready, say so, serve."""
    control = socket.socket(fileno=int(sys.argv[1]))
    host = os.pidfd_open(int(sys.argv[2]))
    if os.getppid() != int(sys.argv[2]):
        return
    try:
        for name in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        private("preload").preload()
        cell, guest, reads = private("cell"), private("guest"), private("reads").Reads()
        private("sources").install(reads)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        furnish()
        cell.lock_zygote()
        prove()
    except BaseException as error:
        # The host must hear why, whatever it was; nothing has been run yet.
        control.send(json.dumps({"ok": False, "why": f"{type(error).__name__}: {error}"}).encode())
        return
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"ok": True, "size": size}).encode())
    Zygote(control, host, cell=cell, serve=lambda fd: guest.Guest(fd, reads).serve()).serve()


def private(name: str) -> ModuleType:
    """A module of our package (without running its `__init__`), with builtins no block can patch."""
    root = Path(__file__).resolve().parent.parent
    if _PACKAGE not in sys.modules:
        sys.meta_path.insert(0, _Private(root, dict(vars(builtins))))
        package = ModuleType(_PACKAGE)
        package.__path__ = [str(root)]
        sys.modules[_PACKAGE] = package
    return importlib.import_module(f"{_PACKAGE}.sandbox.{name}")


class _Private(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads our own few modules from their files, each with a private copy of the builtins."""

    def __init__(self, root: Path, names: dict[str, Any]) -> None:
        self._root, self._names = root, names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if not name.startswith(f"{_PACKAGE}."):
            return None
        file = self._root.joinpath(*name.split(".")[1:])
        if file.is_dir():
            spec = importlib.util.spec_from_loader(name, self, is_package=True)
            assert spec is not None
            spec.submodule_search_locations = [str(file)]
            return spec
        return importlib.util.spec_from_loader(name, self, origin=str(file.with_suffix(".py")))

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is None or spec.origin is None:
            return
        module.__dict__["__builtins__"] = self._names
        exec(compile(Path(spec.origin).read_bytes(), spec.origin, "exec", dont_inherit=True), module.__dict__)


class _Nowhere(importlib.abc.MetaPathFinder):
    """Imports of what is not preloaded: there is nothing to load it from."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        raise ModuleNotFoundError(f"No module named {name!r} in a control block (standard library only)", name=name)


def furnish() -> None:
    """Make the interpreter a room for blocks: no paths, no environment, advice instead of dead ends."""
    for name, advice in _ADVICE.items():
        setattr(builtins, name, _advising(name, advice))
    for name in ("exit", "quit"):
        setattr(builtins, name, sys.exit)
    for name in ("ctypes", "_ctypes", "__main__", "socket", "multiprocessing"):
        sys.modules.pop(name, None)
    inside = ("BuiltinImporter", "FrozenImporter")
    keep = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") in inside]
    sys.meta_path[:] = [*keep, _Nowhere()]
    sys.path[:], sys.path_hooks[:], sys.argv[:] = [], [], [""]
    sys.path_importer_cache.clear()
    sys.dont_write_bytecode = True
    os.environ.clear()


def _advising(name: str, advice: str) -> Any:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise PermissionError(advice)

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


def prove() -> None:
    """Try what must not work. A wall that lets one of these through is no wall."""
    attempts: dict[str, Callable[[], object]] = {
        "a file could be opened": lambda: os.open("/", os.O_RDONLY),
        "a file could be looked at": lambda: Path("/").stat(),
        "a socket could be made": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "a program could be started": lambda: os.execv("/bin/true", ["true"]),
    }
    for what, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        raise PermissionError(f"confinement does not hold: {what}")


class Zygote:
    """Forks workers on request, tells their hosts how they ended."""

    def __init__(
        self, control: socket.socket, host: int, *, cell: ModuleType, serve: Callable[[int], NoReturn]
    ) -> None:
        self._control, self._host, self._cell, self._serve = control, host, cell, serve
        self._children: dict[int, tuple[int, socket.socket]] = {}

    def serve(self) -> None:
        """Until the host is gone."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._host, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._host:
                    return
                if fd != self._control.fileno():
                    poll.unregister(fd)
                    self._reap(fd)
                    continue
                message, fds, _, _ = socket.recv_fds(self._control, 64, 2)
                if not message:
                    return
                poll.register(self._fork(*fds), select.POLLIN)

    def _fork(self, channel: int, status: int) -> int:
        pid = os.fork()
        if pid == 0:
            self._become_worker(channel, status)
        os.close(channel)
        pidfd = os.pidfd_open(pid)
        report = socket.socket(fileno=status)
        report.setblocking(False)
        self._children[pidfd] = (pid, report)
        with contextlib.suppress(OSError):  # the host has lost interest: the worker will read its end of file
            socket.send_fds(report, [json.dumps({"pid": pid}).encode()], [pidfd])
        return pidfd

    def _reap(self, pidfd: int) -> None:
        pid, report = self._children.pop(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):
            report.send(json.dumps({"exit": code}).encode())
        report.close()
        os.close(pidfd)

    def _become_worker(self, channel: int, status: int) -> NoReturn:
        code = 1
        try:
            zygote = os.getppid()
            for pidfd, (_, report) in self._children.items():
                os.close(pidfd)
                report.close()
            for fd in (self._host, status):
                os.close(fd)
            self._control.close()
            self._cell.lock_worker(os.getpid())
            if os.getppid() == zygote:
                self._serve(channel)
            code = 0
        finally:
            os._exit(code)


if __name__ == "__main__":
    main()
