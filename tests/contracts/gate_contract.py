"""What every `Gate` must do. Subclass the contract and say which cases it lets through and which it does not.

`GateContract` is for all; `MetricGateContract` for those that look at one metric.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import pytest

from autopilot_runtime.training.gate import VERDICTS, Case, Gate, Judged
from autopilot_runtime.training.policy import Policy

ODD: list[Any] = [math.nan, math.inf, -math.inf, None, "0.9", True, [0.9], 10**400]


class GateContract:
    """`good` and `bad` are cases that pass and that do not."""

    good: ClassVar[list[Case]]
    bad: ClassVar[list[Case]]

    def make(self, **options: Any) -> Gate:
        """One of them."""
        raise NotImplementedError

    def test_it_is_a_gate_with_a_name(self) -> None:
        gate = self.make()
        assert isinstance(gate, Gate)
        assert gate.name
        assert self.make(name="mine").name == "mine"

    def test_what_is_good_passes_and_the_reason_says_so(self) -> None:
        for case in self.good:
            judged = self.make().check(case)
            assert isinstance(judged, Judged)
            assert judged.passed is True, judged
            assert bool(judged)
            assert judged.reason
            assert judged.gate == self.make().name

    def test_what_is_bad_does_not_and_the_reason_says_why(self) -> None:
        for case in self.bad:
            judged = self.make().check(case)
            assert judged.passed is False, judged
            assert judged.reason

    def test_asking_changes_nothing(self) -> None:
        for case in (*self.good, *self.bad):
            gate, before = self.make(), dataclasses.replace(case, metrics=dict(case.metrics))
            assert gate.check(case) == gate.check(case)
            assert case == before

    @pytest.mark.parametrize("verdict", VERDICTS)
    def test_its_own_verdict_counts_in_a_policy(self, verdict: Any) -> None:
        gate = self.make(on_fail=verdict)
        assert Policy([gate]).judge(self.bad[0]).verdict == verdict
        assert Policy([gate]).judge(self.good[0]).verdict == "accept"

    def test_without_one_of_its_own_the_policys_counts(self) -> None:
        gate = self.make(on_fail=None)
        assert Policy([gate], on_fail="rollback").judge(self.bad[0]).verdict == "rollback"

    def test_a_warning_is_told_and_stops_nothing(self) -> None:
        decision = Policy([self.make(warn=True)]).judge(self.bad[0])
        assert decision.verdict == "accept"
        assert [one.warning for one in decision.gates] == [True]

    def test_a_verdict_that_is_none_is_refused(self) -> None:
        with pytest.raises(Exception, match="Did you mean 'discard'"):
            self.make(on_fail="discrad")


class MetricGateContract(GateContract):
    """For gates that look at one metric: what cannot be looked at does not pass."""

    metric: ClassVar[str]

    def test_what_is_missing_fails_closed_with_the_name_that_was_meant(self) -> None:
        near = self.metric + "s"
        judged = self.make().check(dataclasses.replace(self.good[0], metrics={near: 0.5}))
        assert judged.passed is False
        assert f"Did you mean {near!r}" in judged.reason

    @pytest.mark.parametrize("odd", ODD, ids=[type(one).__name__ + str(at) for at, one in enumerate(ODD)])
    def test_what_is_no_finite_number_fails_closed(self, odd: Any) -> None:
        judged = self.make().check(dataclasses.replace(self.good[0], metrics={self.metric: odd}))
        assert judged.passed is False
        assert judged.reason

    def test_a_prefix_of_the_phase_is_understood(self) -> None:
        for case in self.good:
            plain = case.metrics[self.metric]
            gate = self.make()
            gate.metric = f"val_{self.metric}"
            assert gate.check(dataclasses.replace(case, metrics={self.metric: plain})).passed
