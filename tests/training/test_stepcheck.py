"""A step is tried at once on what it was made from, and taken back when it does not help."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training import (
    AutoPilotModule,
    DataLoader,
    Datum,
    EvalDatum,
    Experiment,
    ListDataset,
    Loss,
    Optimizer,
    PairedAcceptor,
    QualityFirstPolicy,
    RandomSampler,
    ScriptedOptimizer,
    StepCheck,
    StrictAcceptor,
    TextGradient,
    TextParameter,
    Trainer,
    TreeSelector,
)
from autopilot_runtime.training.fault import TrainingError
from tests.training.systems import Vocabulary, loader

UP = QualityFirstPolicy("accuracy")


def events(trainer: Trainer, *types: EventType) -> list[Any]:
    seen: list[Any] = []
    for type in types:
        trainer.hooks.register(type, lambda **data: seen.append(data))
    return seen


def test_a_step_that_does_not_help_is_taken_back_and_the_next_begins_before_it() -> None:
    module = Vocabulary("", script=["zz", "ab cd"])
    trainer = Trainer(step_check=True, monitor="accuracy", policy=UP)
    rejected = events(trainer, EventType.STEP_REJECTED)
    result = trainer.fit(module, loader("ab", "cd", batch_size=1), loader(), max_epochs=1)
    assert [row.verdict for row in result.history[1:]] == ["accept"]
    assert module.known.data == "ab cd"
    assert len(rejected) == 1
    assert "gain +0 over 1 items" in rejected[0]["error"]


def test_several_steps_are_tried_from_the_same_feedback() -> None:
    module = Vocabulary("", script=["zz", "yy", "ab", "never"])
    trainer = Trainer(step_check=StepCheck(tries=4), monitor="accuracy", policy=UP)
    trainer.fit(module, loader("ab", batch_size=1), loader(), max_epochs=1)
    # the batch once, and three states that were tried; with "ab" known nothing is left to learn
    assert [split for split, _ in module.calls].count("train") == 4
    assert module.known.data == "ab"


def test_without_a_check_the_same_steps_spoil_the_epoch() -> None:
    module = Vocabulary("ab", script=["ab cd", "zz"])
    result = Trainer(policy=UP).fit(module, loader("cd", "ef", batch_size=1), loader(), max_epochs=1)
    assert result.history[-1].verdict == "discard"
    module = Vocabulary("ab", script=["ab cd", "zz"])
    result = Trainer(policy=UP, step_check=True, monitor="accuracy").fit(
        module, loader("cd", "ef", batch_size=1), loader(), max_epochs=1
    )
    assert result.history[-1].verdict == "accept"
    assert module.known.data == "ab cd"


def test_the_epoch_ends_when_enough_steps_have_helped() -> None:
    module = Vocabulary()
    trainer = Trainer(step_check=StepCheck(keep=2), monitor="accuracy", policy=UP)
    result = trainer.fit(module, loader(batch_size=1), loader(), max_epochs=1)
    assert result.metrics["accuracy"] == 0.5
    assert trainer.global_step == 2


def test_the_journal_says_why_and_the_optimizer_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []

    class Listening(ScriptedOptimizer):
        def told(self, verdict: str, reason: str) -> None:
            told.append((verdict, reason))

    class Listened(Vocabulary):
        def configure_optimizers(self) -> Any:
            return Listening(self.parameters(), ["zz", "ab"])

    experiment = Experiment("e", path=tmp_path)
    trainer = Trainer(step_check=StepCheck(tries=2), monitor="accuracy", policy=UP, experiment=experiment)
    trainer.fit(Listened(), loader("ab", batch_size=1), loader(), max_epochs=1)
    assert [verdict for verdict, _ in told] == ["discard", "accept"]
    entries = experiment.record.context("e", source="trainer", contains="step taken back")
    assert len(entries) == 1
    assert entries[0].decision == "discard"


def test_an_evaluation_that_raises_is_a_step_that_did_not_help() -> None:
    class Brittle(Vocabulary):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if "boom" in self.known.data:
                raise ValueError("boom")
            return self(batch)

    module = Brittle("", script=["boom", "ab"])
    trainer = Trainer(step_check=StepCheck(tries=2), monitor="accuracy", policy=UP)
    rejected = events(trainer, EventType.STEP_REJECTED)
    trainer.fit(module, loader("ab", batch_size=1), loader(), max_epochs=1)
    assert module.known.data == "ab"
    assert "boom" in rejected[0]["error"]


def test_the_same_refused_state_is_not_measured_again() -> None:
    module = Vocabulary("", script=["zz", "zz", "zz", "zz"])
    Trainer(step_check=StepCheck(tries=4), monitor="accuracy", policy=UP).fit(
        module, loader("ab", batch_size=1), loader(), max_epochs=1
    )
    assert [split for split, _ in module.calls].count("train") == 2


class Number(Loss):
    def forward(self, data: Any, targets: Any = None) -> float:
        return float(abs(len(data) - 3))


class Plain(AutoPilotModule):
    """Gives texts; only its loss says how good they are."""

    def __init__(self, script: list[str], loss: Loss | None) -> None:
        self.text, self.script = TextParameter(""), script
        if loss is not None:
            self.loss = loss

    def forward(self, batch: Any) -> str:
        return str(self.text.data)

    def configure_optimizers(self) -> Any:
        return ScriptedOptimizer(self.parameters(), self.script)


def test_where_results_have_no_scores_the_numbers_of_the_losses_count() -> None:
    module = Plain(["aa", "aaaaaa", "aaa"], Number())
    Trainer(step_check=StepCheck(tries=3)).fit(module, loader("ab", batch_size=1), max_epochs=1)
    assert module.text.data == "aa"  # three tries, and "aa" left nothing to feed back
    module = Plain(["a", "aa", "aaa"], Number())
    Trainer(step_check=True).fit(module, loader("ab", "cd", "ef", batch_size=1), max_epochs=1)
    assert module.text.data == "aaa"


def test_where_nothing_gives_a_score_a_check_is_refused() -> None:
    with pytest.raises(TrainingError, match="cannot be checked"):
        Trainer(step_check=True).fit(Plain(["a"], None), loader("ab", batch_size=1), max_epochs=1)


def test_settings_that_make_no_step_are_refused() -> None:
    for settings in ({"tries": 0}, {"keep": 0}):
        with pytest.raises(TrainingError, match="at least 1"):
            StepCheck(**settings)


class Wild(Loss):
    def forward(self, data: Any, targets: Any = None) -> Any:
        return [TextGradient("better", items=(one.id,)) for one in data]


class Drifting(Optimizer):
    """Makes the number better or worse by chance; what it remembers is only how often it was asked."""

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self.asked = 0

    def step(self) -> None:
        self.asked += 1
        change = random.Random(self.asked).choice((-0.3, -0.1, 0.2, 0.3))
        self.parameters[0].data = f"{float(self.parameters[0].data) + change:.6f}"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "asked": self.asked}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.asked = state["asked"]


class Cut(BaseException):
    """The plug is pulled."""


class Noisy(AutoPilotModule):
    """Scores a number under noise that hangs on state, item and how often that was measured."""

    def __init__(self, cut_at: int | None = None, calls: list[Any] | None = None) -> None:
        self.text, self.loss = TextParameter("0.0"), Wild()
        self.cut_at, self.calls = cut_at, [] if calls is None else calls

    def forward(self, batch: Any) -> Any:
        if self.cut_at is not None and len(self.calls) >= self.cut_at:
            raise Cut
        found = []
        for one in batch:
            mode = "train" if self.training else "val"
            key = (self.text.data, one.id, mode)
            self.calls.append(key)
            noise = random.Random(f"{key} {self.calls.count(key)}").gauss(0, 0.1)
            found.append(EvalDatum(id=one.id, success=True, metrics={"q": float(self.text.data) + noise}))
        return found

    def configure_optimizers(self) -> Any:
        return Drifting(self.parameters())


def noisy_fit(folder: Path, module: Noisy, *, resume: bool = False) -> Any:
    items = ListDataset([Datum(id=f"train-{at}") for at in range(6)])
    train = DataLoader(items, batch_size=2, sampler=RandomSampler(items, seed=1))
    val = DataLoader(ListDataset([Datum(id=f"val-{at}") for at in range(8)]), batch_size=2)

    trainer = Trainer(
        acceptor=PairedAcceptor(max_replicates=4),
        step_check=StepCheck(PairedAcceptor(max_replicates=4), tries=2, keep=2),
        selector=TreeSelector(),
        monitor="q",
        noise_replicates=2,
        experiment=Experiment("e", path=folder),
    )
    result = trainer.fit(module, train, val, max_epochs=3, ckpt_path="last" if resume else None)
    return trainer, result


def test_the_noise_of_one_item_is_known_and_a_doubtful_step_is_measured_again(tmp_path: Path) -> None:
    module = Noisy()
    _, result = noisy_fit(tmp_path, module)
    assert 0.05 < result.history[0].extra["noise"]["one item"] < 0.2
    train = Counter((state, item) for state, item, mode in module.calls if mode == "train")
    assert max(train.values()) > 1
    assert float(module.text.data) > 0.3


@pytest.mark.parametrize("part", [1, 2, 3, 4, 5, 6, 7])
def test_a_fit_cut_off_among_checks_ends_as_one_that_never_was(tmp_path: Path, part: int) -> None:
    whole = Noisy()
    _, expected = noisy_fit(tmp_path / "whole", whole)
    calls: list[Any] = []
    cut_at = 16 + (len(whole.calls) - 18) // 2 * part // 7 * 2  # after the first measurements, between two batches
    with pytest.raises(Cut):
        noisy_fit(tmp_path / "cut", Noisy(cut_at, calls))
    assert len(calls) == cut_at
    again = Noisy(None, calls)
    _, result = noisy_fit(tmp_path / "cut", again, resume=True)
    assert result.commit == expected.commit
    assert [row.metrics for row in result.history] == [row.metrics for row in expected.history]
    assert Counter(calls) == Counter(whole.calls)  # nothing was measured twice


def test_the_tree_knows_how_often_a_state_was_started_from_also_after_a_resume(tmp_path: Path) -> None:
    trainer, _ = noisy_fit(tmp_path, Noisy())
    visits = {one.commit: one.visits for one in trainer._fit.pool}  # type: ignore[union-attr]
    assert sum(visits.values()) == 3
    again = Trainer(
        acceptor=PairedAcceptor(max_replicates=4),
        selector=TreeSelector(),
        monitor="q",
        experiment=Experiment("e", path=tmp_path),
        resume_changed=True,
    )
    again.fit(Noisy(), loader(), loader(), max_epochs=3, ckpt_path="last")
    assert {one.commit: one.visits for one in again._fit.pool} == visits  # type: ignore[union-attr]


def test_strict_is_what_a_check_goes_by_unless_told_otherwise() -> None:
    assert isinstance(StepCheck().acceptor, StrictAcceptor)
