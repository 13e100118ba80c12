"""The workbench that a line of an agent file means: `./train.py:module`, or one that this process has offered."""

from __future__ import annotations

import atexit
import threading

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training.fault import meant
from autopilot_runtime.training.module import Module
from autopilot_runtime.training.projectfile import ProjectFile, read_project
from autopilot_runtime.training.workbench import Workbench

_SETTINGS = ("policy", "acceptor", "budget", "monitor", "experiment", "executor", "callbacks", "logger", "seed")
_lock = threading.RLock()
_open: dict[str, Workbench] = {}


def offer(bench: Workbench, name: str) -> str:
    """Let agents of this process work at a bench: give the name as `project` in their file."""
    with _lock:
        _open[name] = bench
    return name


def bench_of(project: str) -> Workbench:
    """The workbench of a project, opened once in a process however many tools use it."""
    with _lock:
        found = _open.get(project)
        if found is None or (found.closed and ".py" in project):
            found = _open[project] = _made(project)
            atexit.register(found.close)
        return found


def _made(project: str) -> Workbench:
    if ":" not in project and not project.endswith(".py"):
        raise SetupError(
            f"project: {project!r} is no project: give a Python file and a name in it, ./train.py:module, or the "
            f"name of a workbench that was offered.{meant(project, _open)}"
        )
    found = read_project(project)
    value = found.value
    if not isinstance(value, (Module, Workbench)) and callable(value):
        value = value()
    if isinstance(value, Workbench):
        return value
    if not isinstance(value, Module):
        kind = type(value).__name__
        raise SetupError(f"project: {project} gives {kind}; a Module or a Workbench is needed")
    return _bench(found, value)


def _bench(found: ProjectFile, module: Module) -> Workbench:
    given = {key: value for key, value in found.data.items() if key != "test_dataloaders"}
    settings = {key: value for key, value in found.settings.items() if key in _SETTINGS}
    if found.trainer is None:
        settings.setdefault("experiment", found.own_experiment())
        given.update(settings)
    elif settings.keys() - {"experiment"}:
        odd = ", ".join(sorted(settings.keys() - {"experiment"}))
        raise SetupError(f"project: {found.file} has a trainer and, beside it, {odd}: give these to the trainer")
    else:
        given["trainer"] = found.trainer
    return Workbench(module, **given)
