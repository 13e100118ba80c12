"""What becomes of a measured candidate: the gates first, then whether it is really better than what it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autopilot_runtime.training.fit import Fit, Measured
from autopilot_runtime.training.gate import VERDICTS, Case, Decision
from autopilot_runtime.training.measure import directions
from autopilot_runtime.training.phase import ONE_ITEM, failed, measure
from autopilot_runtime.training.record import Commit


def decide(fit: Fit, candidate: Commit, measured: Measured) -> Decision:
    """The verdict, with every number it rests on. Whatever cannot be told is a no."""
    broken = failed(measured)
    if broken is not None:
        return Decision("discard", str(broken))
    policy = fit.trainer.policy
    case = Case(
        metrics=measured.metrics,
        accepted=_before(fit),
        epoch=fit.epoch,
        directions=directions(fit.module.metrics()),
        noise=fit.noise,
        spent=fit.budget.spent,
    )
    decision = Decision("accept", "no policy forbids it") if policy is None else as_decision(policy.judge(case))
    if decision.accepted and fit.trainer.acceptor is not None and fit.parent is not None:
        return _compared(fit, candidate, decision)
    if decision.accepted and fit.trains and fit.parent is not None and candidate.id == fit.parent.id:
        return replace(decision, reason=f"nothing was changed; {decision.reason}")
    return decision


def _before(fit: Fit) -> Mapping[str, float]:
    """The figures of what the candidate was made from."""
    if fit.parent is not None and fit.parent.id in fit.known:
        return fit.known[fit.parent.id].metrics
    return fit.accepted_metrics


def _compared(fit: Fit, candidate: Commit, decision: Decision) -> Decision:
    parent = fit.parent
    assert parent is not None
    if candidate.id == parent.id:
        return Decision("discard", "nothing was changed", decision.gates)

    def more(replicates: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """The scores of both, each measured this many times."""
        new = _scores(fit, candidate, replicates)
        fit.restore(parent)
        old = _scores(fit, parent, replicates)
        fit.restore(candidate)
        return new, old

    new, old = more(1)
    judged = fit.trainer.acceptor.judge(new, old, more=more, noise=fit.noise.get(ONE_ITEM, 0.0))
    gates = [*decision.gates, judged]
    return Decision("accept" if judged.passed else "discard", judged.reason, gates)


def _scores(fit: Fit, commit: Commit, replicates: int) -> dict[str, list[float]]:
    """Item → its score in each replicate. The parameters are in that state."""
    found: dict[str, list[float]] = {}
    for at in range(replicates):
        first = fit.known.get(commit.id) if at == 0 else None
        one = first or measure(fit, commit, fit.held_out, split="val", replicate=at)
        for item, score in one.scores.items():
            found.setdefault(item, []).append(score)
    return found


def as_decision(answer: Any) -> Decision:
    """What a policy of a user's own gave: a decision, a verdict, true or false, or one of these and why."""
    if isinstance(answer, Decision):
        return answer
    first, reason = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, "")
    if isinstance(first, bool):
        first = "accept" if first else "discard"
    for verdict in VERDICTS:
        if isinstance(first, str) and first == verdict:
            return Decision(verdict, str(reason) or f"the policy says {verdict}")
    return Decision("discard", f"the policy gave {answer!r}, which is no decision")
