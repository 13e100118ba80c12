"""What a user writes without a second thought works, or says what is wrong before anything is spent."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import EventType
from autopilot_runtime.training import (
    Callback,
    EvalDatum,
    Experiment,
    FileStore,
    Loss,
    Metric,
    MetricCollection,
    Module,
    Optimizer,
    PairedAcceptor,
    ParetoSelector,
    Policy,
    QualityFirstPolicy,
    StoreCheckpointCallback,
    TextGradient,
    Trainer,
    TrainingError,
)
from tests.training.systems import Vocabulary, loader

UP = QualityFirstPolicy("accuracy")


@pytest.mark.parametrize("limits", [{"calls": 0}, {"calls": 3}, {"seconds": 0.0}])
def test_a_budget_too_small_for_the_first_measurement_is_a_result(limits: dict[str, float]) -> None:
    module = Vocabulary("ab")
    result = Trainer(policy=UP, budget=limits).fit(module, loader(), loader(), max_epochs=3)
    assert (result.status, result.epochs, module.known.data) == ("budget", 0, "ab")


def test_an_optimizer_that_counts_goes_on_counting_after_a_resume(tmp_path: Path) -> None:
    class Counting(Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params)
            self.at = 0

        def step(self) -> None:
            self.at += 1
            self.parameters[0].data = " ".join(["ab", "cd", "ef", "gh"][: self.at])

    class Counted(Vocabulary):
        def configure_optimizers(self) -> Any:
            return Counting(self.parameters())

    for epochs in (1, 3):
        module = Counted()
        trainer = Trainer(policy=UP, experiment=Experiment("e", path=tmp_path))
        trainer.fit(module, loader(batch_size=4), loader(), max_epochs=epochs, ckpt_path="last")
    assert module.known.data == "ab cd ef"


def test_a_hook_may_call_that_of_its_parent() -> None:
    seen = []

    class Mine(Callback):
        def on_fit_start(self, trainer: Any, module: Any) -> None:
            super().on_fit_start(trainer, module)
            seen.append("mine")

    Trainer(Mine()).fit(Vocabulary(), loader(), max_epochs=1)
    assert seen == ["mine"]


def test_a_snapshot_of_a_callback_is_told(tmp_path: Path) -> None:
    told: list[Any] = []
    trainer = Trainer(StoreCheckpointCallback(FileStore(tmp_path / "store.db")), policy=UP)
    trainer.stream.listen(told.append)
    trainer.fit(Vocabulary(), loader(batch_size=4), loader(), max_epochs=2)
    assert [event.data["tag"] for event in told if event.type is EventType.SNAPSHOT] == ["epoch-0", "epoch-1"]


def test_a_step_that_takes_too_long_is_left_behind_without_an_executor_too() -> None:
    never = threading.Event()

    class Hangs(Vocabulary):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 1 and self.known.data:
                never.wait(60)
            return self(batch)

    try:
        trainer = Trainer(policy=UP, timeout_s=0.3, retries=0)
        result = trainer.fit(Hangs(script=["ab cd"]), loader(batch_size=4), loader(), max_epochs=1)
    finally:
        never.set()
    assert [row.verdict for row in result.history] == ["seed", "discard"]
    assert "1 evaluations failed" in result.history[1].reason


def test_metrics_in_a_collection_take_as_many_arguments_as_they_want() -> None:
    class Short(Metric):
        def reset(self) -> None:
            self.seen = 0

        def update(self, data: Any) -> None:  # type: ignore[override]
            self.seen += 1

        def compute(self) -> float:
            return float(self.seen)

    several = MetricCollection({"short": Short()})
    several.update([EvalDatum()], None)
    assert several.compute() == {"short": 1.0}


def test_a_loss_may_keep_its_score_and_value() -> None:
    class Mine(Loss):
        def forward(self, data: Any, targets: Any = None) -> Any:
            self.score = self.value = 0.5
            return TextGradient("unknown ab")

    module = Vocabulary()
    module.loss = Mine()  # type: ignore[assignment]
    Trainer().fit(module, loader(batch_size=4), max_epochs=1)
    assert module.known.data == "ab"


def test_a_hook_of_a_module_is_taken_away_in_both_ways() -> None:
    class Same(Module):
        def forward(self, value: Any) -> Any:
            return value

    module, seen = Same(), []
    first = module.register_forward_hook(lambda *_: seen.append(1))
    second = module.register_forward_hook(lambda *_: seen.append(2))
    module("a")
    first.remove()
    second()
    module("b")
    assert seen == [1, 2]


def test_strategies_have_short_names() -> None:
    trainer = Trainer(selector="pareto", acceptor="paired")
    assert isinstance(trainer.selector, ParetoSelector)
    assert isinstance(trainer.acceptor, PairedAcceptor)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Trainer(selector="parto"), "Did you mean 'pareto'"),
        (lambda: Trainer(acceptor=7), "int is no acceptor"),
        (lambda: Trainer(fast_dev_run=-1), "fast_dev_run=-1"),
        (lambda: Trainer(overfit_batches=0.5), "overfit_batches=0.5"),  # type: ignore[arg-type]
        (lambda: Trainer(max_epochs=-1), "max_epochs=-1"),
        (lambda: Policy([], on_fail="bogus"), "is no verdict"),  # type: ignore[arg-type]
        (lambda: Trainer("print").fit(Vocabulary(), loader()), "is no callback"),
        (lambda: Trainer().fit(Module(), loader()), "derive it from AutoPilotModule"),
    ],
)
def test_a_wrong_argument_is_told_by_name(make: Any, told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        make()


def test_sigterm_ends_a_fit_whole_and_the_process_as_it_would(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from autopilot_runtime.training import Experiment, Trainer
from tests.training.systems import Vocabulary, loader

class Killed(Vocabulary):
    def training_step(self, batch, batch_idx):
        if self.trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return self(batch)

Trainer(experiment=Experiment("e", path=sys.argv[1])).fit(Killed(), loader(batch_size=4), loader(), max_epochs=3)
"""
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGTERM, ended.stderr
    experiment = Experiment("e", path=tmp_path)
    assert experiment.status == "cancelled"
    assert [row.epoch for row in experiment.epochs] == [-1, 0]
