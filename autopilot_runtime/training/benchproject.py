"""The workbench that a line of an agent file means: `./train.py:module`, or one that this process has offered."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import os
import sys
import threading
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training.experiment import FOLDER, Experiment
from autopilot_runtime.training.fault import meant
from autopilot_runtime.training.module import Module
from autopilot_runtime.training.workbench import Workbench

# What a project file may hold beside the module, under any of these names.
_NAMES = {
    "train_dataloaders": ("train_dataloaders", "train_loader", "train"),
    "val_dataloaders": ("val_dataloaders", "val_loader", "val"),
    "datamodule": ("datamodule", "data"),
    "trainer": ("trainer",),
}
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
    path, _, name = project.rpartition(":")
    if not path.endswith(".py"):
        path, name = project, "module"
    if not path.endswith(".py"):
        raise SetupError(
            f"project: {project!r} is no project: give a Python file and a name in it, ./train.py:module, or the "
            f"name of a workbench that was offered.{meant(project, _open)}"
        )
    file = Path(path).expanduser()
    if not file.is_file():
        raise SetupError(f"project: there is no file {file}")
    loaded = _loaded(file.resolve())
    if not hasattr(loaded, name):
        names = [one for one in vars(loaded) if not one.startswith("_")]
        raise SetupError(f"project: {file} has no {name!r}.{meant(name, names)}")
    value = getattr(loaded, name)
    if not isinstance(value, (Module, Workbench)) and callable(value):
        value = value()
    if isinstance(value, Workbench):
        return value
    if not isinstance(value, Module):
        raise SetupError(f"project: {name} in {file} is {type(value).__name__}; a Module or a Workbench is needed")
    return _bench(loaded, value, file.resolve())


def _bench(loaded: ModuleType, module: Module, file: Path) -> Workbench:
    given: dict[str, Any] = {}
    for key, names in _NAMES.items():
        found = next((getattr(loaded, name) for name in names if hasattr(loaded, name)), None)
        if found is not None:
            given[key] = found() if callable(found) and key != "trainer" and not hasattr(found, "__iter__") else found
    settings = {key: getattr(loaded, key) for key in _SETTINGS if hasattr(loaded, key)}
    if "trainer" not in given:
        settings.setdefault("experiment", Experiment(file.stem, path=file.parent / FOLDER))
        given.update(settings)
    elif settings.keys() - {"experiment"}:
        odd = ", ".join(sorted(settings.keys() - {"experiment"}))
        raise SetupError(f"project: {file} has a trainer and, beside it, {odd}: give these to the trainer")
    return Workbench(module, **given)


def _loaded(file: Path) -> ModuleType:
    """The file, run as a module of its own; files beside it can be imported by it."""
    name = f"autopilot_project_{hashlib.sha256(os.fsencode(file)).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise SetupError(f"project: {file} cannot be loaded as Python")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(loaded)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        where = f"{file}:{lines[-1]}" if lines else str(file)
        raise SetupError(f"project: {where}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.parent))
    return loaded
