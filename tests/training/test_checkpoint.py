"""A checkpoint comes back byte for byte, or is refused; the callback keeps the best and never one too few."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot_runtime.core.errors import ObjectDamaged
from autopilot_runtime.training import CheckpointCallback, JSONCheckpointIO, Module, StoreCheckpointCallback, Trainer
from autopilot_runtime.training.fault import MetricMissing, TrainingError
from tests.training.systems import Vocabulary, loader

IO = JSONCheckpointIO()
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters()) | st.sampled_from(["$bytes", "$dict"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(state=st.dictionaries(st.text(st.characters()) | st.sampled_from(["$bytes", "$dict"]), VALUES, max_size=4))
def test_any_state_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("io") / "c.json"
    IO.save(state, path)
    assert IO.load(path) == state


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_or_cut_checkpoint_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("io") / "c.json"
    IO.save({"state_dict": {"prompt": b"\x00\xff be brief"}, "fit": {"epoch": 3}}, path)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 4))
    changed = whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :]
    path.write_bytes(data.draw(st.sampled_from([changed, whole[:at]])))
    with pytest.raises((ObjectDamaged, TrainingError), match=r"damaged|newer release"):
        IO.load(path)


def test_what_json_cannot_say_is_refused_with_its_place_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "c.json"
    IO.save({"a": 1}, path)
    with pytest.raises(TrainingError, match=r"state\['callbacks'\]\[1\]\['x'\] is object"):
        IO.save({"callbacks": [{}, {"x": object()}]}, path)
    with pytest.raises(TrainingError, match="has the key 3"):
        IO.save({"a": {3: 1}}, path)
    assert IO.load(path) == {"a": 1} and [one.name for one in path.parent.iterdir()] == ["c.json"]
    IO.remove(path)
    IO.remove(path)
    with pytest.raises(TrainingError, match="There is no checkpoint"):
        IO.load(path)


def test_a_checkpoint_that_is_not_there_says_which_may_be_meant(tmp_path: Path) -> None:
    IO.save({}, tmp_path / "epoch-3.json")
    with pytest.raises(TrainingError, match=r"Did you mean 'epoch-3\.json'"):
        IO.load(tmp_path / "epoch-4.json")


class Fitting:
    """As much of a trainer as a callback of this kind sees: where the fit is, and how to write it."""

    def __init__(self) -> None:
        self.current_epoch, self.global_step = 0, 0
        self.callback_metrics: dict[str, float] = {}

    def save_checkpoint(self, path: str | Path, *, io: Any = None) -> None:
        io.save({"epoch": self.current_epoch}, path)

    def run(self, callback: CheckpointCallback, scores: list[float | None], name: str = "accuracy") -> None:
        for score in scores:
            self.callback_metrics = {} if score is None else {name: score}
            callback.on_epoch_end(self, None)
            self.current_epoch += 1
            self.global_step += 2


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_the_best_are_kept_and_the_last(tmp_path: Path) -> None:
    callback = CheckpointCallback(tmp_path, monitor="accuracy", save_top_k=2)
    Fitting().run(callback, [0.5, 0.9, 0.1, math.nan, 0.7, None])
    assert names(tmp_path) == ["epoch-1.json", "epoch-4.json", "last.json"]
    assert callback.best_path == str(tmp_path / "epoch-1.json")
    assert IO.load(callback.last_path) == {"epoch": 5}


def test_of_a_loss_the_smallest_are_the_best(tmp_path: Path) -> None:
    callback = CheckpointCallback(tmp_path, monitor="loss", save_last=False)
    Fitting().run(callback, [0.5, 0.2, 0.4], "loss")
    assert names(tmp_path) == ["epoch-1.json"]


def test_without_a_metric_the_newest_are_kept(tmp_path: Path) -> None:
    Fitting().run(CheckpointCallback(tmp_path / "a", save_top_k=2), [None] * 4)
    Fitting().run(CheckpointCallback(tmp_path / "b", save_top_k=-1, every_n_epochs=2, save_last=False), [None] * 6)
    Fitting().run(CheckpointCallback(tmp_path / "c", save_top_k=0), [None] * 2)
    assert names(tmp_path / "a") == ["epoch-2.json", "epoch-3.json", "last.json"]
    assert names(tmp_path / "b") == ["epoch-1.json", "epoch-3.json", "epoch-5.json"]
    assert names(tmp_path / "c") == ["last.json"]


def test_a_name_takes_the_epoch_and_metrics(tmp_path: Path) -> None:
    callback = CheckpointCallback(tmp_path, filename="e{epoch:02d}-s{step}-{accuracy:.2f}", save_last=False)
    Fitting().run(callback, [0.456])
    assert names(tmp_path) == ["e00-s0-0.46.json"]
    with pytest.raises(TrainingError, match=r"Did you mean 'accuracy'"):
        Fitting().run(CheckpointCallback(tmp_path, filename="{acuracy}"), [0.5])


def test_a_metric_that_is_misspelt_is_an_error_at_the_first_epoch(tmp_path: Path) -> None:
    with pytest.raises(MetricMissing, match=r"monitor='acuracy'.*Did you mean 'accuracy'"):
        Fitting().run(CheckpointCallback(tmp_path, monitor="acuracy"), [0.5])
    with pytest.raises(TrainingError, match="save_top_k=-2"):
        CheckpointCallback(tmp_path, save_top_k=-2)


def test_after_a_resume_it_goes_on_with_what_is_still_there(tmp_path: Path) -> None:
    first = CheckpointCallback(tmp_path, monitor="accuracy", save_top_k=2)
    Fitting().run(first, [0.5, 0.9])
    (tmp_path / "epoch-0.json").unlink()
    second = CheckpointCallback(tmp_path, monitor="accuracy", save_top_k=2)
    second.load_state_dict(first.state_dict())
    assert second.kept == [(0.9, str(tmp_path / "epoch-1.json"))]


class Plain:
    """A store of a user's own, which knows epochs only."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def snapshot(self, epoch: int) -> str:
        self.seen.append(epoch)
        return f"s{epoch}"


def test_every_epoch_is_snapshotted_into_any_store() -> None:
    store, fitting = Plain(), Fitting()
    callback = StoreCheckpointCallback(store)
    for _ in range(3):
        callback.on_epoch_end(fitting, Module())
        fitting.current_epoch += 1
    again = StoreCheckpointCallback(store)
    again.load_state_dict(callback.state_dict())
    assert store.seen == [0, 1, 2] and again.snapshots == {0: "s0", 1: "s1", 2: "s2"}


class Asking(Plain):
    """One that has to be told what to keep."""

    def snapshot(self, epoch: int, parameters: Any = None, *, why: str = "") -> str:  # type: ignore[override]
        if parameters is None:
            raise TrainingError("what is to be kept?")
        self.seen.append(epoch)
        return f"{why}: {dict(parameters)['known'].data}"


def test_a_store_that_knows_of_no_parameters_is_given_those_of_the_module() -> None:
    callback = StoreCheckpointCallback(Asking(), accepted_only=True)
    Trainer(callbacks=callback).fit(Vocabulary(), loader(batch_size=4), loader(), max_epochs=2)
    assert [said.rpartition(": ")[2] for said in callback.snapshots.values()] == ["ab", "ab cd"]
    assert callback.snapshots[0].startswith("epoch 0: accept, ")


def test_a_trainer_writes_checkpoints_that_another_goes_on_from(tmp_path: Path) -> None:
    keeps = CheckpointCallback(tmp_path, monitor="accuracy", save_top_k=1, filename="e{epoch}-{accuracy:.2f}")
    store = StoreCheckpointCallback(Plain())
    Trainer(callbacks=[keeps, store]).fit(Vocabulary(), loader(batch_size=4), loader(), max_epochs=2)
    assert names(tmp_path) == ["e1-0.50.json", "last.json"] and store.snapshots == {0: "s0", 1: "s1"}
    module = Vocabulary()
    result = Trainer().fit(module, loader(batch_size=4), loader(), max_epochs=4, ckpt_path=keeps.best_path)
    assert module.known.data.split() == ["ab", "cd", "ef", "gh"] and result.metrics["accuracy"] == 1.0
