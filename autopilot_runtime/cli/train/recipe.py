"""What a training command runs: a module with its data and a trainer, as a project file describes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training.listed import listed
from autopilot_runtime.training.module import Module
from autopilot_runtime.training.projectfile import read_project
from autopilot_runtime.training.trainer import Trainer


@dataclass
class Recipe:
    """Everything for one fit but the experiment."""

    module: Any
    train: Any = None
    val: Any = None
    test: Any = None
    datamodule: Any = None
    settings: dict[str, Any] = field(default_factory=dict)
    own: Trainer | None = None

    def trainer(self, **changes: Any) -> Trainer:
        """A trainer with these settings, and what the command line adds."""
        wanted = {key: value for key, value in changes.items() if value is not None}
        if self.own is not None:
            return _changed(self.own, wanted)
        callbacks = [*listed(self.settings.get("callbacks")), *wanted.pop("callbacks", [])]
        return Trainer(**{**self.settings, **wanted, "callbacks": callbacks})


def load_recipe(project: str) -> Recipe:
    """What a project file describes."""
    found = read_project(project)
    value = found.value
    if not isinstance(value, (Module, Trainer)) and callable(value):
        value = value()
    if not isinstance(value, Module):
        kind = type(value).__name__
        raise SetupError(f"{project} gives {kind}; name a Module, or what makes one: autopilot train train.py:module")
    data = found.data
    for split in ("train", "val", "test"):  # as Lightning has it: methods of the module
        method = getattr(value, f"{split}_dataloader", None)
        if callable(method):
            data.setdefault(f"{split}_dataloaders", method())
    return Recipe(
        value,
        data.get("train_dataloaders"),
        data.get("val_dataloaders"),
        data.get("test_dataloaders"),
        data.get("datamodule"),
        found.settings,
        found.trainer,
    )


def _changed(trainer: Trainer, changes: dict[str, Any]) -> Trainer:
    trainer.callbacks = [*trainer.callbacks, *changes.pop("callbacks", [])]
    for name, value in changes.items():
        setattr(trainer, name, value)
    return trainer
