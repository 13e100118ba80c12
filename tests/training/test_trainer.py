"""A fit, seen from outside: what is kept, what is not, and what callbacks see."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import EventType
from autopilot_runtime.training import (
    AutoPilotModule,
    Callback,
    CustomGate,
    EvalDatum,
    MaxGate,
    MinGate,
    Policy,
    QualityFirstPolicy,
    RuleOptimizer,
    StrictAcceptor,
    TextParameter,
    ThresholdPolicy,
    Trainer,
    TrainingError,
)
from autopilot_runtime.training.callback import HOOKS
from tests.training.systems import Vocabulary, learn_one, loader

UP = QualityFirstPolicy("accuracy")


def verdicts(result: Any) -> list[str]:
    return [row.verdict for row in result.history if row.epoch >= 0]


def test_a_rule_learns_all_words_from_the_feedback() -> None:
    module = Vocabulary()
    result = Trainer(policy=UP).fit(module, loader(batch_size=1), loader(), max_epochs=1)
    assert result.metrics["accuracy"] == 1.0
    assert module.known.data == "ab cd ef gh"
    assert verdicts(result) == ["accept"]


def test_the_manual_loop_and_the_trainer_give_the_same_result() -> None:
    by_hand, trained = Vocabulary(), Vocabulary()
    optimizer = by_hand.configure_optimizers()
    by_hand.train()
    for _ in range(2):
        for batch in loader():
            by_hand.loss(by_hand(batch), batch)
            by_hand.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    Trainer().fit(trained, loader(), max_epochs=2)
    assert trained.known.data == by_hand.known.data
    assert trained.state_dict() == by_hand.state_dict()


def test_what_makes_it_worse_is_discarded_and_the_state_restored() -> None:
    module = Vocabulary("ab cd", script=["ab", "ab cd ef"])
    result = Trainer(policy=UP).fit(module, loader(batch_size=4), loader(), max_epochs=2)
    assert verdicts(result) == ["discard", "accept"]
    assert "0.5 -> 0.25 (worse)" in result.history[1].reason
    assert module.known.data == "ab cd ef"
    # Metrics belong to the commit they were measured on.
    assert [row.metrics["accuracy"] for row in result.history] == [0.5, 0.25, 0.75]


def test_the_state_that_the_next_epoch_sees_after_a_discard_is_the_accepted_one() -> None:
    seen = []

    class Look(Callback):
        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            seen.append(module.known.data)

    Trainer(Look(), policy=UP).fit(Vocabulary("ab", script=["x", "y"]), loader(batch_size=4), loader(), max_epochs=3)
    assert seen == ["ab", "ab", "ab"]


@pytest.mark.parametrize(("verdict", "epochs"), [("discard", 3), ("rollback", 3), ("stop", 1)])
def test_a_gate_may_say_what_its_failure_means(verdict: Any, epochs: int) -> None:
    module = Vocabulary("ab", script=["", "", ""])
    gate = MinGate("accuracy", 0.2, on_fail=verdict)
    result = Trainer(policy=Policy([gate])).fit(module, loader(batch_size=4), loader(), max_epochs=3)
    assert verdicts(result) == [verdict] * epochs
    assert module.known.data == "ab"
    assert result.status == ("stopped" if verdict == "stop" else "completed")


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "high", True])
def test_a_metric_that_is_no_number_fails_closed(value: Any) -> None:
    class Strange(Vocabulary):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch)

    module = Strange("ab", script=["cd"])
    gate = CustomGate(lambda metrics: True, name="open")
    policy = Policy([gate, MinGate("quality", 0.1)])
    module.accuracy.compute = lambda: {"quality": value, "accuracy": 1.0}  # type: ignore[method-assign]
    result = Trainer(policy=policy).fit(module, loader(batch_size=4), loader(), max_epochs=1)
    assert verdicts(result) == ["discard"]
    assert "quality" in result.history[-1].reason
    assert module.known.data == "ab"


def test_a_metric_nobody_measures_is_named_with_the_one_that_was_meant() -> None:
    result = Trainer(policy=ThresholdPolicy(acuracy=0.1)).fit(
        Vocabulary(script=["ab"]), loader(batch_size=4), loader(), max_epochs=1
    )
    assert "Did you mean 'accuracy'?" in result.history[-1].reason


def test_a_gate_that_raises_rejects_the_epoch_and_ends_the_fit_with_the_error() -> None:
    def broken(metrics: Any) -> bool:
        raise ZeroDivisionError("in the gate")

    module, seen = Vocabulary("ab", script=["cd"]), []

    class Look(Callback):
        def on_exception(self, trainer: Any, module: Any, error: BaseException) -> None:
            seen.append(error)

    trainer = Trainer(Look(), policy=Policy(CustomGate(broken)))
    with pytest.raises(ZeroDivisionError, match="in the gate"):
        trainer.fit(module, loader(batch_size=4), loader(), max_epochs=2)
    assert module.known.data == "ab"
    assert len(seen) == 1
    assert trainer.history[-1].verdict == "discard"
    assert "broken raised ZeroDivisionError" in trainer.history[-1].reason


def test_an_error_in_a_step_is_raised_and_nothing_is_left_half_applied() -> None:
    class Breaks(Vocabulary):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 1:
                raise RuntimeError("no more")
            return self(batch)

    module = Breaks("ab", script=["cd", "ef"])
    with pytest.raises(RuntimeError, match="no more"):
        Trainer().fit(module, loader(), max_epochs=1)
    assert module.known.data == "ab"


def test_an_evaluation_that_fails_is_tried_again_then_counts_as_failed_not_as_zero() -> None:
    tries: list[str] = []

    class Flaky(Vocabulary):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            tries.append(f"{self.known.data}:{batch_idx}")
            if batch_idx == 1 and (self.known.data == "cd" or tries.count(f"{self.known.data}:1") < 2):
                raise OSError("out of reach")
            return self(batch)

    module = Flaky("ab", script=["cd", "ab cd"])
    result = Trainer(policy=UP).fit(module, loader(batch_size=4), loader(), max_epochs=2)
    assert verdicts(result) == ["discard", "accept"]
    assert "1 evaluations failed" in result.history[1].reason
    assert tries.count("cd:1") == 2
    assert result.metrics["accuracy"] == 0.5


def test_the_figures_of_training_are_those_of_training_and_not_of_validation() -> None:
    result = Trainer().fit(
        Vocabulary("ab", script=["ab cd"]), loader("ab", "zz", "yy", "xx"), loader("ab", "cd"), max_epochs=1
    )
    assert result.history[-1].metrics["accuracy"] == 1.0
    assert result.history[-1].train["accuracy"] == 0.25


class Fragile(Vocabulary):
    """Cannot work at all once it has learned the wrong word."""

    def forward(self, batch: Any) -> Any:
        if "zz" in self.known.data:
            raise ZeroDivisionError("zz")
        return super().forward(batch)


def test_a_change_that_breaks_everything_is_discarded_and_the_fit_goes_on() -> None:
    module = Fragile("ab", script=["zz", "ab cd"])
    result = Trainer(policy=UP).fit(module, loader(batch_size=4), loader(), max_epochs=2)
    assert verdicts(result) == ["discard", "accept"]
    assert "2 evaluations failed" in result.history[1].reason and "zz" in result.history[1].reason
    assert module.known.data == "ab cd"


def test_a_step_in_mid_epoch_that_breaks_the_next_batch_is_refused_and_undone() -> None:
    module = Fragile("ab", script=["zz", "ab cd", "ab cd ef"])
    result = Trainer(policy=UP).fit(module, loader(), loader(), max_epochs=2)
    assert verdicts(result) == ["discard", "accept"]
    assert "batch 1 worked before it" in result.history[1].reason
    assert module.known.data == "ab cd ef"


def test_a_refused_step_leaves_nothing_of_the_steps_before_it() -> None:
    module = Vocabulary("ab", script=["ab cd", 5, None, None])
    result = Trainer(policy=UP).fit(module, loader(), loader(), max_epochs=2)
    assert verdicts(result)[0] == "discard" and "takes a text" in result.history[1].reason
    assert module.known.data == "ab"


def test_an_evaluator_that_always_fails_ends_the_fit() -> None:
    class Dead(Vocabulary):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            raise OSError("nobody there")

    with pytest.raises(OSError, match="nobody there"):
        Trainer(policy=UP).fit(Dead(), loader(), loader(), max_epochs=1)


def test_a_misspelt_hook_is_an_error_with_the_one_that_was_meant() -> None:
    class Typo(Callback):
        def on_epoch_ends(self, trainer: Any, module: Any) -> None: ...

    with pytest.raises(TrainingError, match="Did you mean 'on_epoch_end'"):
        Typo()


def test_feedback_is_gathered_until_the_boundary_and_the_last_step_takes_the_rest() -> None:
    steps = []

    class Look(Callback):
        def on_before_optimizer_step(self, trainer: Any, module: Any) -> None:
            steps.append(module.known.grad.render().count("unknown"))

    Trainer(Look(), accumulate_grad_batches=3).fit(Vocabulary(script=[]), loader(batch_size=1), max_epochs=1)
    assert steps == [3, 1]


def test_callbacks_see_one_fit_in_exactly_this_order() -> None:
    seen: list[str] = []

    def named(name: str) -> Any:
        return lambda self, *_: seen.append(name)

    every = type("Every", (Callback,), {name: named(name) for name in HOOKS - {"on_context"}})

    class Module(Vocabulary):
        def prepare_data(self) -> None:
            seen.append("prepare_data")

        def setup(self, stage: str) -> None:
            seen.append(f"module setup {stage}")

        def configure_optimizers(self) -> Any:
            seen.append("configure_optimizers")
            return super().configure_optimizers()

    Trainer(every(), policy=UP).fit(Module(), loader(batch_size=4), loader(batch_size=4), max_epochs=1)
    validation = [
        "on_validation_start", "on_validation_epoch_start", "on_validation_batch_start", "on_validation_batch_end",
        "on_validation_epoch_end", "on_validation_end",
    ]  # fmt: skip
    assert seen == [
        "prepare_data", "module setup fit", "setup", "configure_optimizers", "on_fit_start",
        "on_sanity_check_start", *validation, "on_sanity_check_end",
        "on_epoch_start", "on_train_epoch_start", "on_train_batch_start", "on_train_batch_end",
        "on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_proposed",
        "on_after_optimizer_step", "on_before_zero_grad", "on_train_epoch_end",
        *validation, "on_accept", "on_epoch_end", "on_fit_end", "teardown",
    ]  # fmt: skip


def test_fast_dev_run_goes_through_everything_once() -> None:
    module = Vocabulary()
    result = Trainer(fast_dev_run=True, policy=UP).fit(
        module, loader(batch_size=1), loader(batch_size=1), max_epochs=9
    )
    assert result.epochs == 1
    assert {item for _, item in module.calls} == {"item-ab"}


def test_overfitting_uses_the_first_batches_for_both() -> None:
    module = Vocabulary()
    Trainer(overfit_batches=1, policy=UP).fit(module, loader(), loader("zz"), max_epochs=3)
    assert {item for _, item in module.calls} == {"item-ab", "item-cd"}


def test_validate_test_and_predict_measure_what_is() -> None:
    module, trainer = Vocabulary("ab cd"), Trainer()
    assert trainer.validate(module, loader())["accuracy"] == 0.5
    assert trainer.test(module, loader("ab"))["accuracy"] == 1.0
    assert [[bool(one) for one in batch] for batch in trainer.predict(module, loader())] == [
        [True, True],
        [False, False],
    ]
    assert module.training


def test_a_budget_is_set_aside_before_it_is_spent() -> None:
    module = Vocabulary()
    trainer = Trainer(policy=UP, budget={"calls": 19})  # 4 to begin with, then 8 an epoch
    result = trainer.fit(module, loader(), loader(), max_epochs=9)
    assert result.status == "budget"
    assert result.epochs == 1
    assert len(module.calls) <= 19
    assert module.known.data == "ab ef"  # what the unfinished epoch had proposed is gone


def test_proposals_can_be_limited() -> None:
    result = Trainer(budget={"proposals": 3}).fit(Vocabulary(), loader(batch_size=4), max_epochs=9)
    assert result.status == "budget"
    assert result.epochs == 3


def test_a_strict_acceptor_keeps_only_what_is_better() -> None:
    module = Vocabulary("ab", script=["cd", "ab cd"])
    trainer = Trainer(acceptor=StrictAcceptor(), monitor="accuracy")
    result = trainer.fit(module, loader(batch_size=4), loader(), max_epochs=2)
    assert verdicts(result) == ["discard", "accept"]


def test_a_candidate_no_better_on_a_few_batches_is_not_validated() -> None:
    module = Vocabulary("ab", script=["zz", "ab cd ef gh"])
    trainer = Trainer(policy=UP, minibatch_check=2)
    result = trainer.fit(module, loader(), loader(), max_epochs=1)
    assert result.history[-1].verdict == "accept"
    module = Vocabulary("ab", script=["zz"])
    result = trainer.fit(module, loader(batch_size=4), loader(), max_epochs=1)
    assert "not validated" in result.history[-1].reason
    assert result.history[-1].metrics == {}


def test_noise_is_measured_on_what_was_given() -> None:
    values = iter([0.5, 0.7, 0.6])

    class Noisy(Vocabulary):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("quality", next(values))
            return self(batch)

    trainer = Trainer(policy=MaxGate("quality", 1.0), noise_replicates=2)
    result = trainer.fit(Noisy(script=["ab"]), loader(batch_size=4), loader(batch_size=4), max_epochs=1)
    assert result.history[0].extra["noise"]["quality"] == pytest.approx(math.sqrt(0.02))


def test_a_step_that_a_parameter_refuses_is_a_discarded_epoch() -> None:
    class Strict(Vocabulary):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.known = TextParameter("ab", check=lambda text: int("boom") if "!" in text else None)

    module = Strict(script=["cd!", "ab cd"])
    result = Trainer(policy=UP).fit(module, loader(batch_size=4), loader(), max_epochs=2)
    assert verdicts(result) == ["discard", "accept"]
    assert "refused" in result.history[1].reason


def test_every_happening_is_one_event_in_order() -> None:
    trainer = Trainer(policy=UP)
    seen: list[EventType] = []
    trainer.stream.listen(lambda event: seen.append(event.type))
    trainer.fit(Vocabulary(), loader(batch_size=4), loader(batch_size=4), max_epochs=1)
    kinds = [kind for at, kind in enumerate(seen) if at == 0 or seen[at - 1] != kind]
    assert kinds == [
        EventType.FIT_START, EventType.EVAL_START, EventType.EVAL_ITEM, EventType.EVAL_END, EventType.VALIDATION_END,
        EventType.EPOCH_START, EventType.BATCH_START, EventType.BATCH_END, EventType.BACKWARD,
        EventType.GRADIENT_READY, EventType.STEP_START, EventType.PROPOSED, EventType.STEP_APPLIED,
        EventType.EVAL_START, EventType.EVAL_ITEM, EventType.EVAL_END, EventType.VALIDATION_END,
        EventType.GATE_PASSED, EventType.ACCEPTED, EventType.EPOCH_END, EventType.FIT_END,
    ]  # fmt: skip


def test_a_hook_registered_as_on_a_runtime_hears_of_an_accepted_candidate() -> None:
    trainer, heard = Trainer(policy=UP), []
    trainer.hooks.register(
        EventType.ACCEPTED, lambda commit, metrics, **_: heard.append((commit, metrics["accuracy"]))
    )
    result = trainer.fit(Vocabulary(), loader(batch_size=4), loader(), max_epochs=1)
    assert heard == [(result.commit, 0.25)]


def test_a_hook_takes_as_many_arguments_as_it_wants(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Short(Callback):
        def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
            seen.append(trainer.callback_metrics["accuracy"])

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append((len(outputs), len(batch), batch_idx))

    Trainer(Short(), policy=UP).fit(Vocabulary(), loader(batch_size=4), loader(), max_epochs=1)
    assert seen == [0.0, (4, 4, 0), 0.25]


def test_the_forecast_says_how_many_proposals_fit_and_a_nearly_spent_budget_is_told_once() -> None:
    trainer = Trainer(policy=UP, budget={"calls": 4 + 8 * 5})
    told: list[Any] = []
    trainer.stream.listen(told.append)
    trainer.fit(Vocabulary(), loader(batch_size=4), loader(), max_epochs=9)
    start = next(event for event in told if event.type is EventType.FIT_START)
    assert start.forecast == "about 5 proposals fit"
    warnings = [event.data["what"] for event in told if event.type is EventType.BUDGET_WARNING]
    assert warnings == ["calls"]
    assert sum(event.type is EventType.BUDGET_EXCEEDED for event in told) == 1


def test_a_module_without_a_loss_is_trained_by_what_its_results_say() -> None:
    class Plain(AutoPilotModule):
        def __init__(self) -> None:
            self.known = TextParameter("ab")

        def forward(self, batch: Any) -> Any:
            words = [one.metadata["word"] for one in batch]
            return [EvalDatum(success=word in self.known.data, feedback=f"unknown {word}") for word in words]

        def configure_optimizers(self) -> Any:
            return RuleOptimizer(self.parameters(), learn_one)

    module = Plain()
    Trainer().fit(module, loader(batch_size=4), max_epochs=3)
    assert module.known.data == "ab cd ef gh"
