"""The gates we ship, each under the contract that one of a user's own would be."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

import pytest

from autopilot_runtime.training.gate import (
    BudgetGate,
    Case,
    CustomGate,
    Gate,
    MaxGate,
    MinGate,
    MonotonicGate,
    RangeGate,
    direction_of,
)
from autopilot_runtime.training.policy import Policy, QualityFirstPolicy, ThresholdPolicy
from tests.contracts.gate_contract import GateContract, MetricGateContract


def cases(metric: str, *values: float, **more: Any) -> list[Case]:
    return [Case(metrics={metric: value, "other": 1.0}, **more) for value in values]


class TestMinGate(MetricGateContract):
    metric: ClassVar[str] = "accuracy"
    good: ClassVar[list[Case]] = cases("accuracy", 0.9, 0.91, 5)
    bad: ClassVar[list[Case]] = cases("accuracy", 0.8999, -1)

    def make(self, **options: Any) -> Gate:
        return MinGate("accuracy", 0.9, **options)


class TestMaxGate(MetricGateContract):
    metric: ClassVar[str] = "loss"
    good: ClassVar[list[Case]] = cases("loss", 0.1, 0.0, -3)
    bad: ClassVar[list[Case]] = cases("loss", 0.1001)

    def make(self, **options: Any) -> Gate:
        return MaxGate("loss", 0.1, **options)


class TestRangeGate(MetricGateContract):
    metric: ClassVar[str] = "length"
    good: ClassVar[list[Case]] = cases("length", 1, 5, 10)
    bad: ClassVar[list[Case]] = cases("length", 0.99, 10.01)

    def make(self, **options: Any) -> Gate:
        return RangeGate("length", 1, 10, **options)


class TestMonotonicGate(MetricGateContract):
    metric: ClassVar[str] = "accuracy"
    good: ClassVar[list[Case]] = cases("accuracy", 0.5, 0.6, accepted={"accuracy": 0.5}) + cases("accuracy", 0.1)
    bad: ClassVar[list[Case]] = cases("accuracy", 0.49, accepted={"accuracy": 0.5})

    def make(self, **options: Any) -> Gate:
        return MonotonicGate("accuracy", **options)


class TestStrictlyMonotonicLoss(MetricGateContract):
    metric: ClassVar[str] = "loss"
    good: ClassVar[list[Case]] = cases("loss", 0.4, accepted={"loss": 0.5})
    bad: ClassVar[list[Case]] = cases("loss", 0.5, 0.6, accepted={"loss": 0.5})

    def make(self, **options: Any) -> Gate:
        return MonotonicGate("loss", strict=True, **options)


class TestCustomGate(GateContract):
    good: ClassVar[list[Case]] = cases("a", 2)
    bad: ClassVar[list[Case]] = cases("a", 1)

    def make(self, **options: Any) -> Gate:
        return CustomGate(lambda metrics: metrics["a"] > 1, **options)


class TestCustomGateWithReasonAndCase(GateContract):
    good: ClassVar[list[Case]] = cases("a", 2, epoch=1)
    bad: ClassVar[list[Case]] = cases("a", 2, epoch=9)

    def make(self, **options: Any) -> Gate:
        return CustomGate(lambda metrics, case: (case.epoch < 5, f"epoch {case.epoch}"), **options)


class TestBudgetGate(GateContract):
    good: ClassVar[list[Case]] = cases("a", 1, spent={"usd": 0.99, "calls": 5})
    bad: ClassVar[list[Case]] = cases("a", 1, spent={"usd": 1.0})

    def make(self, **options: Any) -> Gate:
        return BudgetGate(usd=1.0, **options)


class Even(Gate):
    """As a user would write one."""

    def holds(self, value: float, case: Case) -> bool:
        return value % 2 == 0


class TestAUsersOwn(MetricGateContract):
    metric: ClassVar[str] = "steps"
    good: ClassVar[list[Case]] = cases("steps", 2, 0)
    bad: ClassVar[list[Case]] = cases("steps", 1)

    def make(self, **options: Any) -> Gate:
        return Even("steps", **options)


class Single(float):
    """A number of another library's own kind."""


def test_a_number_of_another_kind_is_a_number() -> None:
    assert MinGate("a", 0.5).check(Case(metrics={"a": Fraction(1, 2)})).passed
    assert MinGate("a", 0.5).check(Case(metrics={"a": Single(0.5)})).passed


def test_a_gate_that_raises_is_a_no_and_the_error_is_kept() -> None:
    decision = Policy([CustomGate(lambda metrics: metrics["typo"] > 1)]).judge(Case(metrics={"a": 1.0}))
    assert decision.verdict == "discard"
    assert "KeyError" in decision.reason
    assert isinstance(decision.error, KeyError)


@pytest.mark.parametrize("answer", [None, "yes", 1.0001, float("nan"), []])
def test_an_answer_that_is_neither_true_nor_false_is_a_no(answer: Any) -> None:
    judged = CustomGate(lambda metrics: answer).check(Case(metrics={}))
    assert judged.passed is False
    assert "neither true nor false" in judged.reason


def test_the_worst_verdict_of_those_that_fail_wins_and_all_reasons_are_told() -> None:
    gates = [MinGate("a", 2, on_fail="discard"), MinGate("a", 3, on_fail="stop"), MinGate("a", 4, on_fail="rollback")]
    decision = Policy(gates).judge(Case(metrics={"a": 1.0}))
    assert decision.verdict == "stop"
    assert decision.reason.count("does not meet") == 3


def test_the_policies_with_names_are_gates_put_together() -> None:
    case = Case(metrics={"accuracy": 0.85, "recall": 0.5}, accepted={"accuracy": 0.8})
    assert QualityFirstPolicy("accuracy").judge(case).accepted
    assert not QualityFirstPolicy("accuracy", gates=[MinGate("recall", 0.6)]).judge(case).accepted
    assert ThresholdPolicy(accuracy=0.8).judge(case).accepted
    assert not ThresholdPolicy({"accuracy": 0.8, "recall": 0.6}).judge(case).accepted
    assert ThresholdPolicy(accuracy=0.9).explain() == ["MinGate(accuracy): >= 0.9, else discard"]


def test_which_way_is_better_is_said_by_the_metric_or_guessed_from_its_name() -> None:
    assert direction_of("accuracy", {}) is True
    assert direction_of("val_loss", {}) is False
    assert direction_of("val_loss", {"loss": True}) is True
