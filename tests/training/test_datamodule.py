"""The data of a project in one object."""

from __future__ import annotations

from typing import Any

import pytest

from autopilot_runtime.training import DataLoader, DataModule, ListDataset, Stage
from autopilot_runtime.training.fault import TrainingError


def test_a_stage_is_the_same_as_its_word() -> None:
    assert Stage.FIT == "fit" and Stage("predict") is Stage.PREDICT and f"{Stage.TEST}" == "test"
    assert Stage("train") is Stage.FIT and Stage("val") is Stage.VALIDATE
    with pytest.raises(TrainingError, match=r"there is no stage 'validte'. Did you mean 'validate'\?"):
        Stage("validte")


def test_datasets_become_loaders_and_only_training_is_shuffled() -> None:
    data = DataModule.from_datasets(ListDataset(range(30)), range(30), batch_size=10, shuffle=True)
    train, val = data.train_dataloader(), data.val_dataloader()
    assert len(train) == len(val) == 3
    assert [one for batch in val for one in batch] == list(range(30))
    assert [one for batch in train for one in batch] != list(range(30))
    assert data.test_dataloader() is None and data.predict_dataloader() is None


def test_a_fit_without_training_data_says_so() -> None:
    for data in (DataModule(), DataModule.from_datasets(val=[1])):
        with pytest.raises(TrainingError, match=r"has no train_dataloader\(\), and a fit needs one"):
            data.train_dataloader()
    assert DataModule().val_dataloader() is None
    with pytest.raises(TrainingError, match="of no dataset at all"):
        DataModule.from_datasets()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("val_dataloaders", "val_dataloader"),
        ("train_loader", "train_dataloader"),
        ("predict_data_loader", "predict_dataloader"),
    ],
)
def test_a_misspelt_loader_is_an_error_and_not_a_fit_without_validation(name: str, meant: str) -> None:
    with pytest.raises(TrainingError, match=rf"Mine.{name} would never be called. Did you mean '{meant}'"):
        type("Mine", (DataModule,), {name: lambda self: DataLoader([1])})


def test_a_module_may_have_loaders_of_its_own_beside_those_of_the_stages() -> None:
    class Mine(DataModule):
        def image_loader(self) -> Any:
            return DataLoader([1])

        def train_dataloader(self) -> Any:
            return self.image_loader()

    assert len(Mine().train_dataloader()) == 1


def test_a_module_of_the_users_own_is_set_up_by_stage() -> None:
    class Mine(DataModule):
        def setup(self, stage: str) -> None:
            self.items = [1, 2, 3] if stage == Stage.FIT else [9]

        def train_dataloader(self) -> Any:
            return DataLoader(self.items, 2)

    data = Mine()
    data.prepare_data()
    data.setup("fit")
    assert [list(batch) for batch in data.train_dataloader()] == [[1, 2], [3]]
    data.teardown("fit")
    data.load_state_dict(data.state_dict())
