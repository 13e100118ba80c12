"""When it is enough."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from autopilot_runtime.training.fault import MetricMissing, TrainingError
from autopilot_runtime.training.stopper import BudgetStopper, PlateauStopper, Stopper, TargetStopper


@dataclass
class Row:
    epoch: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    verdict: str = "accept"


def rows(*values: float, metric: str = "accuracy", verdict: str = "accept") -> list[Row]:
    return [Row(epoch, {metric: value}, verdict) for epoch, value in enumerate(values, start=1)]


def test_all_are_stoppers() -> None:
    for one in (PlateauStopper("a"), TargetStopper("a", 1), BudgetStopper(calls=1)):
        assert isinstance(one, Stopper)
        assert one.should_stop([], spent={}) is None


def test_a_plateau_is_left_after_so_many_epochs_and_the_reason_names_the_best() -> None:
    stopper = PlateauStopper("accuracy", patience=3)
    assert stopper.should_stop(rows(0.1, 0.5, 0.5, 0.4), spent={}) is None
    reason = stopper.should_stop(rows(0.1, 0.5, 0.5, 0.4, 0.5), spent={})
    assert reason == "accuracy has not got better for 3 epochs (best 0.5 in epoch 2)"


def test_steps_too_small_to_count_add_up() -> None:
    assert PlateauStopper("accuracy", 3, 0.05).should_stop(rows(0.50, 0.52, 0.54, 0.56, 0.58), spent={}) is None
    assert PlateauStopper("accuracy", 3, 0.05).should_stop(rows(0.50, 0.51, 0.52, 0.53), spent={})


def test_a_discarded_candidate_is_no_progress() -> None:
    history = [*rows(0.5), *rows(0.9, 0.9, 0.9, verdict="discard")]
    assert PlateauStopper("accuracy", 3).should_stop(history, spent={})
    assert TargetStopper("accuracy", 0.9).should_stop(history, spent={}) is None


def test_a_loss_gets_better_by_falling() -> None:
    assert PlateauStopper("loss", 2).should_stop(rows(3, 2, 1, metric="loss"), spent={}) is None
    assert PlateauStopper("loss", 2).should_stop(rows(1, 2, 3, metric="loss"), spent={})
    assert TargetStopper("loss", 0.5).should_stop(rows(0.6, 0.4, metric="loss"), spent={}) == (
        "loss 0.4 in epoch 2 reaches the target <= 0.5"
    )
    assert (
        PlateauStopper("loss", 2, higher_is_better=True).should_stop(rows(1, 2, 3, metric="loss"), spent={}) is None
    )


def test_nan_is_never_the_best() -> None:
    assert PlateauStopper("accuracy", 2).should_stop(rows(0.5, float("nan"), float("inf")), spent={})
    assert TargetStopper("accuracy", 0.4).should_stop(rows(float("nan"), float("inf")), spent={}) is None


def test_a_misspelt_metric_is_said_instead_of_waited_for() -> None:
    for stopper in (PlateauStopper("acuracy"), TargetStopper("acuracy", 0.9)):
        with pytest.raises(MetricMissing, match="Did you mean 'accuracy'"):
            stopper.should_stop(rows(0.5), spent={})


def test_the_budget_stops_at_its_limit_and_not_before() -> None:
    stopper = BudgetStopper(calls=10, usd=1.0)
    assert stopper.should_stop([], spent={"calls": 9, "usd": 0.99, "tokens": 1e9}) is None
    assert stopper.should_stop([], spent={"calls": 10}) == "the budget is spent: calls 10 of 10"


@pytest.mark.parametrize(
    "make",
    [
        BudgetStopper,
        lambda: BudgetStopper(calls=-1),
        lambda: BudgetStopper(usd=float("nan")),
        lambda: PlateauStopper("a", 0),
        lambda: PlateauStopper("a", min_delta=-1),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(TrainingError):
        make()  # type: ignore[operator]
