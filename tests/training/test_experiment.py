"""The life of an experiment: how it ends is written down, going back moves a ref, and reasons are kept."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import ObjectDamaged
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.upkeep import collect
from autopilot_runtime.training import ContextEntry, ContextLog, Experiment, Record, Trainer
from autopilot_runtime.training.fault import ExperimentBusy, ResumeRefused, TrainingError
from autopilot_runtime.training.module import Module
from autopilot_runtime.training.parameter import TextParameter
from autopilot_runtime.training.pathparameter import PathParameter
from autopilot_runtime.training.record import EpochRow
from tests.training.records import change, one_epoch
from tests.training.systems import Vocabulary, loader

ROOT = Path(__file__).parents[2]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with Record.open(tmp_path / "record.db") as opened:
        yield opened


def trained(record: Record, slug: str = "exp", epochs: int = 3, **options: object) -> Experiment:
    """One that has some epochs behind it."""
    experiment = Experiment(slug, record=record, **options)  # type: ignore[arg-type]
    for epoch in range(1, epochs + 1):
        one_epoch(experiment.record, slug, epoch, f"text {epoch}")
    return experiment


def test_it_begins_pending_runs_and_completes(record: Record) -> None:
    experiment = Experiment("exp", record=record, why="to see")
    assert experiment.status == "pending" and not experiment.entered
    with experiment as entered:
        assert entered is experiment and experiment.entered and experiment.status == "running"
    assert experiment.status == "completed" and record.holder("exp") is None
    (entry,) = experiment.context_log
    assert (entry.source, entry.decision) == ("trainer", "completed")


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ValueError("a bad rule"), "failed", "ValueError: a bad rule"),
        (KeyboardInterrupt(), "cancelled", "KeyboardInterrupt"),
        (SystemExit(143), "cancelled", "SystemExit: 143"),
        (asyncio.CancelledError(), "cancelled", "CancelledError"),
    ],
)
def test_what_ends_it_is_its_status_and_goes_on_up(
    record: Record, error: BaseException, status: str, reason: str
) -> None:
    experiment = Experiment("exp", record=record)
    with pytest.raises(type(error)), experiment:
        raise error
    assert (experiment.status, experiment.row.reason) == (status, reason)
    assert reason in list(experiment.context_log)[-1].text
    assert record.holder("exp") is None and not experiment.entered
    with experiment:
        pass
    assert (experiment.status, experiment.row.reason) == ("completed", "")


def test_an_invalidated_one_keeps_why_and_is_not_trained_again(record: Record) -> None:
    experiment = Experiment("exp", record=record)
    with experiment:
        experiment.invalidate("the test items had leaked into training")
    assert experiment.status == "invalidated"
    assert [entry.decision for entry in experiment.context_log] == ["invalidated"]
    with pytest.raises(TrainingError, match=r"was invalidated \(the test items had leaked"), experiment:
        pytest.fail("it was entered")
    assert record.holder("exp") is None


def test_two_do_not_train_it_at_once(record: Record) -> None:
    with Record.open(record.store.path) as other, Experiment("exp", record=record) as first:
        with pytest.raises(ExperimentBusy), Experiment("exp", record=other):
            pytest.fail("both are in it")
        assert first.status == "running"
        with pytest.raises(TrainingError, match="entered already"), first:
            pytest.fail("twice")
        assert first.entered


def test_one_that_was_killed_is_told_from_one_that_runs_and_goes_on(record: Record) -> None:
    code = """
import os, signal, sys
from autopilot_runtime.training import Experiment
with Experiment("exp", path=sys.argv[1]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    folder = record.store.path.parent
    child = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT)
    child.wait(timeout=60)
    experiment = Experiment("exp", record=record)
    assert experiment.status == "running" and record.is_interrupted("exp")
    with experiment:
        assert not record.is_interrupted("exp")
        (entry,) = experiment.context_log
        assert f"process {child.pid} on " in entry.text and "ended in the middle" in entry.text
    assert experiment.status == "completed" and not record.is_interrupted("exp")


def test_a_fit_completes_an_experiment_that_was_killed_before(record: Record) -> None:
    experiment = Experiment("exp", record=record)
    experiment.record.set_status("exp", "running")
    Trainer(experiment=experiment).fit(Vocabulary(), loader(), loader(), max_epochs=1)
    assert experiment.status == "completed" and not experiment.entered


def test_it_takes_a_folder_a_record_or_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = Experiment(name="one")
    assert list(tmp_path.iterdir()) == []  # nothing is made before it is needed
    assert one.status == "pending" and (tmp_path / ".autopilot" / "record.db").exists()
    one.close()
    two = Experiment("two", path=tmp_path / "elsewhere")
    assert two.record.store.path == tmp_path / "elsewhere" / "record.db"
    two.close()
    with Store(tmp_path / "s.db") as store:
        three = Experiment("three", store=store)
        assert three.record.store is store
        three.close()
        assert Experiment("three", store=Record(store)).status == "pending"  # the store is its owner's


def test_one_that_is_there_goes_on_and_another_config_is_refused_by_key(record: Record) -> None:
    Experiment("exp", record=record, config={"lr": 1, "k": 2}).record.experiment("exp")
    assert Experiment("exp", record=record).config == {"lr": 1, "k": 2}
    assert Experiment("exp", record=record, config={"k": 2, "lr": 1}).status == "pending"
    with pytest.raises(ResumeRefused, match=r"another config \(extra, lr differ\)"):
        Experiment("exp", record=record, config={"lr": 3, "k": 2, "extra": 0}).record.where  # noqa: B018
    with pytest.raises(TrainingError, match="no experiment 'exq'"):
        Experiment("child", record=record, parent="exq").record.where  # noqa: B018
    assert Experiment("child", record=record, parent=Experiment("exp", record=record)).row.parent == "exp"


def test_it_knows_its_best_its_last_accepted_and_its_metrics(record: Record) -> None:
    fresh = Experiment("fresh", record=record)
    assert (fresh.best, fresh.last_accepted_commit, fresh.last_accepted_epoch, fresh.metrics) == (
        None,
        None,
        None,
        {},
    )
    experiment = trained(record)
    record.point("exp", "best", record.get_commit("epoch-2", "exp").id)
    assert experiment.best is not None and experiment.best.epoch == 2
    assert experiment.last_accepted_epoch == 3
    assert experiment.last_accepted_commit == record.get_commit("epoch-3", "exp").id
    assert experiment.metrics == {"score": 0.3}
    experiment.on_validation_complete(4, {"score": 0.1})
    assert experiment.metrics == {"score": 0.1}


def test_a_state_accepted_again_later_counts_for_the_later_epoch(record: Record) -> None:
    experiment = trained(record)
    first = record.get_commit("epoch-1", "exp")
    record.put_epoch(EpochRow("exp", 4, first.id, "", "accept"))
    record.put_epoch(EpochRow("exp", 5, first.id, "", "discard"))
    record.point("exp", "last_accepted", first.id)
    assert experiment.last_accepted_epoch == 4


@pytest.mark.parametrize("target", [1, "epoch-1", "tag/good", "good"])
def test_going_back_restores_moves_the_ref_and_keeps_the_history(record: Record, target: int | str) -> None:
    experiment = trained(record)
    record.point("exp", "tag/good", record.get_commit("epoch-1", "exp").id)
    prompt = TextParameter("text 3", name="prompt")
    commit = experiment.bind([("prompt", prompt)]).rollback(target, why="3 broke the hard cases")
    assert prompt.data == "text 1" and commit.epoch == experiment.last_accepted_epoch == 1
    assert len(record.commits("exp")) == len(experiment.epochs) == 3
    last = list(experiment.context_log)[-1]
    assert (last.text, last.decision, last.epoch, last.commit) == ("3 broke the hard cases", "rollback", 1, commit.id)
    assert record.ref_history("exp", "last_accepted")[0].why == "3 broke the hard cases"


def test_what_somebody_had_written_by_hand_is_kept_before_going_back(record: Record) -> None:
    experiment = trained(record)
    prompt = TextParameter("a day of work by hand", name="prompt")
    experiment.bind([("prompt", prompt)]).rollback(1)
    assert prompt.data == "text 1"
    (tag,) = [name for name in record.refs("exp") if name.startswith("tag/found-")]
    assert any(tag in entry.text for entry in experiment.context_log)
    experiment.rollback(3)
    assert [name for name in record.refs("exp") if name.startswith("tag/")] == [tag]
    experiment.rollback(tag, why="mine was better")
    assert prompt.data == "a day of work by hand"


def test_files_are_gone_back_to_byte_for_byte(record: Record, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    (work / "run.sh").write_bytes(b"#!/bin/sh\r\n")
    (work / "run.sh").chmod(0o755)
    (work / "sub" / "empty").write_bytes(b"")
    (work / "link").symlink_to("run.sh")
    files = [("rules", PathParameter(work, name="rules"))]
    experiment = Experiment("exp", record=record).bind(files)
    first = record.commit(files, experiment="exp")
    record.point("exp", "last_accepted", first.id)
    (work / "sub" / "empty").unlink()
    (work / "run.sh").chmod(0o644)
    (work / "link").unlink()
    (work / "new").write_bytes(b"\x00\xff")
    experiment.rollback()
    assert sorted(str(path.relative_to(work)) for path in work.rglob("*")) == ["link", "run.sh", "sub", "sub/empty"]
    assert (work / "run.sh").read_bytes() == b"#!/bin/sh\r\n" and (work / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (work / "link").is_symlink() and collect(record.store) == 0
    (found,) = [name for name in record.refs("exp") if name.startswith("tag/found-")]
    experiment.rollback(found)
    assert (work / "new").read_bytes() == b"\x00\xff" and not (work / "link").exists()


def test_a_fit_that_is_resumed_begins_where_one_went_back_to(record: Record) -> None:
    def fit(epochs: int) -> str:
        module = Vocabulary()
        trainer = Trainer(experiment=Experiment("exp", record=record))
        trainer.fit(module, loader(batch_size=4), loader(), max_epochs=epochs, ckpt_path="last")
        return module.known.data  # type: ignore[no-any-return]

    assert fit(3) == "ab cd ef"
    Experiment("exp", record=record).rollback(0, why="cd was a mistake")
    assert fit(3) == "ab"
    assert fit(4) == "ab cd"
    assert fit(5) == "ab cd ef"
    assert [row.epoch for row in record.epochs("exp")] == [-1, 0, 1, 2, 3, 4]


def test_without_a_target_it_goes_back_to_the_last_accepted(record: Record) -> None:
    experiment = trained(record)
    module = Module()
    module.prompt = TextParameter("a bad try", name="prompt")
    experiment.bind(module).rollback()
    assert module.prompt.data == "text 3"


def test_going_back_to_what_is_damaged_changes_nothing(record: Record) -> None:
    experiment = trained(record)
    digest = bytes.fromhex(record.get_commit("epoch-1", "exp").parameters["prompt"])
    change(record.store.path, "UPDATE objects SET data = x'00' WHERE digest = ?", digest)
    prompt = TextParameter("stays", name="prompt")
    experiment.bind([("prompt", prompt)])
    with pytest.raises(ObjectDamaged, match="epoch 1 of experiment 'exp'"):
        experiment.rollback(1)
    assert prompt.data == "stays" and experiment.last_accepted_epoch == 3
    experiment.bind([("prompt", prompt)])
    assert prompt.data == "stays"


def test_a_checkpoint_of_it_is_json_and_puts_the_refs_back(record: Record) -> None:
    experiment = trained(record)
    state = json.loads(json.dumps(experiment.state_dict()))
    experiment.rollback(1)
    experiment.load_state_dict(state)
    assert experiment.last_accepted_epoch == 3 and experiment.metrics == {"score": 0.3}
    assert len(experiment.epochs) == 3
    with pytest.raises(ResumeRefused, match="of experiment 'exp', not of 'other'"):
        Experiment("other", record=record).load_state_dict(state)


def test_reasons_are_kept_with_their_source_and_what_else_was_said(record: Record) -> None:
    experiment = Experiment("exp", record=record)
    experiment.add_context("try shorter prompts", ticket=7)
    experiment.add_context("worse on val", source="policy", decision="discard", epoch=2, commit="c")
    log = experiment.context_log
    assert [entry.source for entry in log] == ["user", "policy"] and len(log) == 2
    assert log.entries(source="policy")[0].reason == "worse on val"
    assert log.to_dicts()[0]["data"] == {"ticket": 7}
    assert [entry.text for entry in log.entries(limit=1)] == ["worse on val"]
    json.dumps(log.to_dicts())


def test_the_journal_takes_entries_and_gives_them_their_time(record: Record) -> None:
    log = ContextLog(record, "exp")
    made = log.add(ContextEntry("agent", "a strategy is blocked", data={"name": "grow"}))
    assert made.at > 0 and log.append("why not").source == "user"
    assert [entry.text for entry in log] == ["a strategy is blocked", "why not"]
    assert not hasattr(log, "remove") and not hasattr(log, "clear")
