"""All data of a project in one object: how it is had, how it is split, and the loaders of each stage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from autopilot_runtime.training.dataloader import DataLoader
from autopilot_runtime.training.fault import TrainingError, meant

_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader")
_MISSPELT = re.compile(r"(train|training|val|valid|validation|test|predict)_(data_?)?loaders?")
_SYNONYMS = {"train": "fit", "training": "fit", "val": "validate", "validation": "validate", "testing": "test"}


class Stage(StrEnum):
    """What the data is for. The same as its word: `Stage.FIT == "fit"`."""

    FIT = "fit"
    VALIDATE = "validate"
    TEST = "test"
    PREDICT = "predict"

    @classmethod
    def _missing_(cls, value: object) -> Stage:
        if isinstance(value, str) and value in _SYNONYMS:
            return cls(_SYNONYMS[value])
        raise TrainingError(f"there is no stage {value!r}.{meant(str(value), [one.value for one in cls])}")


class DataModule:
    """Override `setup` to make the datasets of a stage, and the loaders that the stage needs.

    `prepare_data` comes first and once (download, generate), `teardown` last. A loader of another epoch may be asked
    for at any time: make it from what `setup` kept.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in vars(cls):
            if _MISSPELT.fullmatch(name) and name not in _LOADERS:
                raise TrainingError(f"{cls.__name__}.{name} would never be called.{meant(name, _LOADERS)}")

    @classmethod
    def from_datasets(
        cls, train: Any = None, val: Any = None, *, test: Any = None, predict: Any = None, **options: Any
    ) -> DataModule:
        """One that has these datasets. `options` are those of `DataLoader`; `shuffle` is for training alone."""
        if train is None and val is None and test is None and predict is None:
            raise TrainingError("a DataModule of no dataset at all: give train=, val=, test= or predict=")
        return _Given({"train": train, "val": val, "test": test, "predict": predict}, options)

    def prepare_data(self) -> None:
        """Once, before anything else: download, generate."""

    def setup(self, stage: str) -> None:
        """Make the datasets that `stage` needs."""

    def teardown(self, stage: str) -> None:
        """After a stage."""

    def train_dataloader(self) -> Any:
        """What is learned from."""
        raise TrainingError(f"{type(self).__name__} has no train_dataloader(), and a fit needs one")

    def val_dataloader(self) -> Any:
        """What a candidate is judged by; None for no validation."""
        return None

    def test_dataloader(self) -> Any:
        """What nothing was decided by."""
        return None

    def predict_dataloader(self) -> Any:
        """What answers are wanted for."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What goes into a checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What a checkpoint said."""


class _Given(DataModule):
    def __init__(self, datasets: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.datasets, self.options = dict(datasets), dict(options)

    def _made(self, name: str) -> DataLoader | None:
        dataset = self.datasets[name]
        plain = {key: value for key, value in self.options.items() if key != "shuffle"}
        return None if dataset is None else DataLoader(dataset, **(self.options if name == "train" else plain))

    def train_dataloader(self) -> Any:
        loader = self._made("train")
        return super().train_dataloader() if loader is None else loader

    def val_dataloader(self) -> Any:
        return self._made("val")

    def test_dataloader(self) -> Any:
        return self._made("test")

    def predict_dataloader(self) -> Any:
        return self._made("predict")
