"""Decides what becomes of a candidate: accept, discard, roll back or stop. What raises or cannot tell is a no."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from autopilot_runtime.training.fault import TrainingError, meant
from autopilot_runtime.training.gate import VERDICTS, Case, Decision, Gate, Judged, MinGate, MonotonicGate, Verdict


class Policy:
    """All gates must hold. When one does not, its own verdict counts, else `on_fail`; the worst of them wins."""

    def __init__(self, gates: Iterable[Gate] | Gate = (), *, on_fail: Verdict = "discard") -> None:
        if on_fail not in VERDICTS:
            raise TrainingError(f"on_fail={on_fail!r} is no verdict.{meant(str(on_fail), VERDICTS)}")
        self.gates = [gates] if isinstance(gates, Gate) else list(gates)
        self.on_fail: Verdict = on_fail

    def judge(self, case: Case) -> Decision:
        """Ask every gate."""
        asked = [(gate, *_asked(gate, case)) for gate in self.gates]
        said = [answer for _, answer, _ in asked]
        raised = next((error for _, _, error in asked if error is not None), None)
        failed = [
            (gate.on_fail or self.on_fail, answer)
            for gate, answer, _ in asked
            if not (answer.passed or answer.warning)
        ]
        if not failed:
            return Decision("accept", "; ".join(one.reason for one in said) or "nothing forbids it", said)
        verdict = max((one for one, _ in failed), key=_WEIGHT.__getitem__)
        return Decision(verdict, "; ".join(one.reason for _, one in failed), said, raised)

    def explain(self) -> list[str]:
        """The conditions in words."""
        return [f"{gate.name}: {gate.bound}, else {gate.on_fail or self.on_fail}" for gate in self.gates]


def _asked(gate: Gate, case: Case) -> tuple[Judged, BaseException | None]:
    try:
        answer = gate.check(case)
        if gate.warn and not answer.passed:
            answer = replace(answer, warning=True)
        return answer, None
    except Exception as error:
        return Judged(gate.name, False, f"{gate.name} raised {type(error).__name__}: {error}"), error


_WEIGHT: Mapping[str, int] = {"accept": 0, "discard": 1, "rollback": 2, "stop": 3}


class ThresholdPolicy(Policy):
    """Each metric reaches a minimum: `ThresholdPolicy({'accuracy': 0.9})`, or `ThresholdPolicy(accuracy=0.9)`."""

    def __init__(
        self, thresholds: Mapping[str, float] | None = None, *, on_fail: Verdict = "discard", **named: float
    ) -> None:
        super().__init__(
            [MinGate(name, bound) for name, bound in {**(thresholds or {}), **named}.items()], on_fail=on_fail
        )


class QualityFirstPolicy(Policy):
    """The metric never gets worse; what comes on top of that are further gates."""

    def __init__(
        self,
        metric: str = "accuracy",
        *,
        higher_is_better: bool | None = None,
        tolerance: float = 0.0,
        gates: Iterable[Gate] = (),
        on_fail: Verdict = "discard",
    ) -> None:
        first = MonotonicGate(metric, higher_is_better=higher_is_better, tolerance=tolerance)
        super().__init__([first, *gates], on_fail=on_fail)
