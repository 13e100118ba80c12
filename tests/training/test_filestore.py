"""Snapshots by epoch and tag, and back: exactly, with a reason, and with nothing lost on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import ObjectDamaged
from autopilot_runtime.training.experiment import Experiment
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.filestore import FileStore, Store
from autopilot_runtime.training.module import Module
from autopilot_runtime.training.parameter import Parameter, TextParameter
from autopilot_runtime.training.pathparameter import PathParameter
from tests.store.trees import picture, plant

ROOT = Path(__file__).parents[2]


class Rules(Module):
    """A prompt, and the files beside it."""

    def __init__(self, work: Path) -> None:
        super().__init__()
        self.prompt = TextParameter("one")
        self.code = PathParameter(work)


@pytest.fixture
def module(tmp_path: Path) -> Rules:
    plant(tmp_path / "work")
    return Rules(tmp_path / "work")


def test_every_epoch_can_be_brought_back(module: Rules, tmp_path: Path) -> None:
    seen = {}
    with FileStore(tmp_path / "store", parameters=module) as store:
        for epoch in range(3):
            module.prompt.data = f"epoch {epoch}"
            module.code.write("a.txt", f"epoch {epoch}\n")
            (module.code.path / f"new{epoch}").write_text("new\n")
            seen[epoch] = picture(module.code.path)
            store.snapshot(epoch, why=f"after {epoch}")
        for epoch in (1, 0, 2, 1):
            store.checkout(epoch)
            assert (picture(module.code.path), module.prompt.data) == (seen[epoch], f"epoch {epoch}")
        assert [(one.names, one.why) for one in store.list()] == [
            (("epoch/0",), "after 0"),
            (("epoch/1", "head"), "after 1"),
            (("epoch/2", "tag/before-checkout"), "after 2"),
        ]
        assert [moved.why for moved in store.log()][:2] == ["checkout of 1", "checkout of 2"]
        assert sorted(one.name for one in store.diff(0, 2)) == ["code: a.txt", "code: new1", "code: new2", "prompt"]
        assert store.fsck() == []
    with FileStore(tmp_path / "store", parameters=module) as store:
        store.checkout(0)
    assert picture(module.code.path) == seen[0]


def test_what_a_checkout_replaces_is_kept(module: Rules, tmp_path: Path) -> None:
    with FileStore(tmp_path / "store", parameters=module) as store:
        good = store.snapshot("good")
        module.code.write("a.txt", "never snapshotted\n")
        module.prompt.data = "never snapshotted"
        assert store.checkout(good[:12]).id == good
        assert module.prompt.data == "one"
        store.checkout("before-checkout")
        assert (module.code.read("a.txt"), module.prompt.data) == (b"never snapshotted\n", "never snapshotted")


def test_roots_need_no_module(tmp_path: Path) -> None:
    plant(tmp_path / "work")
    (tmp_path / "rules.json").write_text("[]\n")
    before = picture(tmp_path / "work")
    with FileStore(tmp_path / "s.db", roots=[tmp_path / "work", tmp_path / "rules.json"]) as store:
        store.snapshot("first")
        (tmp_path / "work" / "a.txt").unlink()
        (tmp_path / "rules.json").write_text("[1]\n")
        store.checkout("first")
    assert (picture(tmp_path / "work"), (tmp_path / "rules.json").read_text()) == (before, "[]\n")
    assert (tmp_path / "s.db").exists()


def test_an_unknown_name_says_what_there_is(module: Rules, tmp_path: Path) -> None:
    with FileStore(tmp_path / "store", parameters=module) as store:
        store.snapshot("baseline")
        with pytest.raises(TrainingError, match="Did you mean 'baseline'"):
            store.checkout("baselin")
        with pytest.raises(TrainingError, match="has no snapshot 7"):
            store.checkout(7)
        with pytest.raises(TrainingError, match="two parameters are named 'a'"):
            store.snapshot(1, [TextParameter("x", name="a"), TextParameter("y", name="a")])
    with (
        FileStore(tmp_path / "other") as store,
        pytest.raises(TrainingError, match="does not know what to keep"),
    ):
        store.snapshot(1)


def test_a_damaged_snapshot_changes_nothing_and_is_found(module: Rules, tmp_path: Path) -> None:
    with FileStore(tmp_path / "store", parameters=module) as store:
        store.snapshot(1)
        module.code.write("a.txt", "now\n")
        module.prompt.data = "now"
        now = picture(module.code.path)
        with store.record.transaction() as link:
            link.execute("UPDATE objects SET data = zeroblob(size), packed = 0 WHERE size > 10000")
        with pytest.raises(ObjectDamaged, match=r"sub/big\.bin.*'code'.*epoch 1"):
            store.checkout(1)
        assert (picture(module.code.path), module.prompt.data) == (now, "now")
        assert ("code", 1) in [(one.parameter, one.epoch) for one in store.fsck()]


def test_it_is_the_record_of_an_experiment_too(module: Rules, tmp_path: Path) -> None:
    with FileStore(tmp_path / "store", parameters=module) as store:
        experiment = Experiment("one", store=store)
        assert experiment.record is store.record
        store.snapshot(1)
        assert [one.slug for one in store.record.experiments()] == ["one"]


def test_a_store_of_ones_own_needs_two_methods() -> None:
    class Mine(Store):
        def __init__(self, parameter: Parameter) -> None:
            self.parameter, self.kept = parameter, dict[int | str, bytes]()

        def snapshot(self, epoch: int | str) -> str:
            self.kept[epoch] = self.parameter.snapshot()
            return str(epoch)

        def checkout(self, epoch: int | str) -> None:
            self.parameter.restore(self.kept[epoch])

    text = TextParameter("one")
    mine = Mine(text)
    mine.snapshot(1)
    text.data = "two"
    mine.checkout(1)
    assert text.data == "one"
    with pytest.raises(TypeError):
        Store()  # type: ignore[abstract]


KILLED = """
import os, signal, sys
from autopilot_runtime.store.place import Placer
from autopilot_runtime.training.filestore import FileStore
put, count = Placer._put, 0
def dying(self, path, *rest):
    global count
    if count == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    put(self, path, *rest)
Placer._put = dying
with FileStore(sys.argv[1], roots=sys.argv[2:4]) as store:
    store.checkout(1)
"""


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_a_checkout_that_was_killed_is_finished_by_whoever_opens_the_store(tmp_path: Path, calls: int) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        plant(root)
    first = [picture(root) for root in roots]
    with FileStore(tmp_path / "store", roots=roots) as store:
        store.snapshot(1)
        for root in roots:
            (root / "a.txt").write_text("second\n")
            (root / "zero").unlink()
        second = [picture(root) for root in roots]
        store.snapshot(2)
    words = [sys.executable, "-c", KILLED, *map(str, (tmp_path / "store", *roots, calls))]
    done = subprocess.run(words, cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    names = [path.name for root in roots for path in root.iterdir()]
    assert any(name.startswith(".autopilot-restore") for name in names)
    with FileStore(tmp_path / "store", roots=roots) as store:
        assert [picture(root) for root in roots] == first
        assert store.log()[0].why == "a checkout that was cut off, finished"
        store.checkout(2)
        assert [picture(root) for root in roots] == second
