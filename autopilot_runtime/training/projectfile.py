"""A file that says what is trained: a module, its data, and how it is judged, under names that are looked for."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training.experiment import FOLDER, Experiment
from autopilot_runtime.training.fault import meant
from autopilot_runtime.training.module import Module

# What a project file may hold beside the module, under any of these names.
_DATA = {
    "train_dataloaders": ("train_dataloaders", "train_loader", "train"),
    "val_dataloaders": ("val_dataloaders", "val_loader", "val"),
    "test_dataloaders": ("test_dataloaders", "test_loader", "test"),
    "datamodule": ("datamodule", "data"),
}
SETTINGS = (
    "policy", "acceptor", "budget", "monitor", "experiment", "executor", "callbacks", "logger", "seed", "selector",
    "stoppers", "max_epochs", "accumulate_grad_batches", "minibatch_check", "noise_replicates",
)  # fmt: skip


@dataclass
class ProjectFile:
    """What was found: `data` and `settings` by the names that `Trainer.fit` and `Trainer` have for them."""

    file: Path
    value: Any
    data: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    trainer: Any = None
    loaded: Any = None

    def own_experiment(self) -> Experiment:
        """The one that is used when the file names none."""
        return Experiment(self.file.stem, path=self.file.parent / FOLDER)


def read_project(project: str, default: str = "module") -> ProjectFile:
    """Load `./train.py:module`: the name (or what it gives when it is called) and the data and settings beside it."""
    file, name = _named(project, default)
    loaded = _loaded(file.resolve())
    if not hasattr(loaded, name):
        names = [one for one in vars(loaded) if not one.startswith("_")]
        raise SetupError(f"project: {file} has no {name!r}.{meant(name, names)}")
    value = getattr(loaded, name)
    if isinstance(value, type) and issubclass(value, Module):
        value = value()
    found = ProjectFile(file.resolve(), value, loaded=loaded, trainer=getattr(loaded, "trainer", None))
    for key, spellings in _DATA.items():
        one = next((getattr(loaded, name) for name in spellings if hasattr(loaded, name)), None)
        if one is not None:
            found.data[key] = one() if callable(one) and not hasattr(one, "__iter__") else one
    found.settings = {key: getattr(loaded, key) for key in SETTINGS if hasattr(loaded, key)}
    return found


def _named(project: str, default: str) -> tuple[Path, str]:
    """The file and the name in it."""
    path, _, name = project.rpartition(":")
    if not path.endswith(".py"):
        path, name = project, default
    if not path.endswith(".py"):
        raise SetupError(
            f"project: {project!r} is no project: give a Python file and a name in it, ./train.py:module"
        )
    file = Path(path).expanduser()
    if not file.is_file():
        raise SetupError(f"project: there is no file {file}")
    return file, name


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
