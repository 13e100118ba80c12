"""Begins an epoch from the right state, and ends it: what was decided is on disk before anything else happens."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.fit import Fit, Measured
from autopilot_runtime.training.gate import Decision, direction_of, number_in
from autopilot_runtime.training.measure import Measure, directions
from autopilot_runtime.training.record import Commit, EpochRow
from autopilot_runtime.training.resume import save_state
from autopilot_runtime.training.selector import Candidate

_TOLD = {
    "accept": EventType.ACCEPTED,
    "discard": EventType.DISCARDED,
    "rollback": EventType.ROLLBACK,
    "stop": EventType.DISCARDED,
}


def begin(fit: Fit) -> Commit:
    """Choose what this epoch starts from, and be it."""
    assert fit.accepted is not None
    parent = fit.accepted
    selector = fit.trainer.selector
    if selector is not None and fit.pool:
        chosen = selector.select(fit.pool, rng=fit.rng)
        parent = fit.record.get_commit(chosen.commit)
        fit.pool[fit.pool.index(chosen)] = replace(chosen, visits=chosen.visits + 1)
    if fit.parent is None or parent.id != fit.parent.id:
        fit.restore(parent)
    fit.parent, fit.step_in_epoch, fit.began, fit.merging = parent, 0, parent.id, ()
    fit.forget_feedback()
    if hasattr(fit.train, "set_epoch"):
        fit.train.set_epoch(fit.epoch)
    fit.measure = Measure(fit.module.metrics(), fit.trainer.monitor)
    fit.emit(EventType.EPOCH_START, parent)
    return parent


def settle(fit: Fit, candidate: Commit, measured: Measured, decision: Decision) -> None:
    """Do what was decided, write it down in one transaction, then show it: refs, bytes, hooks, optimizers."""
    assert fit.parent is not None and fit.accepted is not None and fit.measure is not None
    fit.tell_decision(decision, candidate)
    train = fit.measure.result()
    fit.trainer.callback_metrics.update({f"train_{name}": value for name, value in train.items()})
    if decision.accepted:
        _accept(fit, candidate, measured)
    elif candidate.id != fit.accepted.id:
        fit.restore(fit.accepted)
        fit.parent = fit.accepted
    if decision.verdict == "stop":
        fit.stop = decision.reason
    cost = dict(fit.budget.spent)
    told: dict[str, Any] = {"metrics": measured.metrics, "why": decision.reason, "source": "policy", "cost": cost}
    if decision.verdict == "rollback":
        told["to"] = fit.accepted.id
    fit.emit(_TOLD[decision.verdict], candidate, **told)
    row = _row(fit, candidate, measured, decision, train)
    fit.history.append(row)
    _ask_stoppers(fit)
    _warn_of_budget(fit)
    fit.emit(EventType.EPOCH_END, candidate, metrics=measured.metrics, verdict=decision.verdict, cost=cost)
    _write(fit, row, candidate, decision)
    fit.tell_loggers(row)


def _write(fit: Fit, row: EpochRow, candidate: Commit, decision: Decision) -> None:
    with fit.record.transaction():
        fit.record.put_epoch(row)
        if decision.accepted:
            fit.record.point(fit.slug, "last_accepted", candidate.id, why=decision.reason)
        if fit.best:
            fit.record.point(fit.slug, "best", fit.best, why=f"epoch {fit.epoch}")
        for optimizer in fit.optimizers:
            if row.metrics:
                optimizer.measured(row.metrics)
            optimizer.told(decision.verdict, decision.reason)
        fit.tell_why("policy", decision.reason, decision=decision.verdict, commit=candidate.id)
        save_state(fit)
        fit.record.put_events(fit.slug, fit.events)
    fit.events.clear()
    if decision.accepted:
        publish(fit)
    fit.call(f"on_{decision.verdict}", decision)
    if decision.error is not None:
        raise decision.error


def publish(fit: Fit) -> None:
    """Let the files that the world sees be the accepted ones. Noted when it is done, so a kill has it done again."""
    if fit.environment is not None and fit.accepted is not None:
        theirs = fit.environment.publish(fit.parameters)
        if theirs:
            fit.tell_why("trainer", f"somebody else changed {', '.join(theirs)} meanwhile: left as they are")
        fit.record.set_state(fit.slug, "live", fit.accepted.id)


def _accept(fit: Fit, candidate: Commit, measured: Measured) -> None:
    fit.accepted, fit.accepted_metrics = candidate, dict(measured.metrics)
    parent = fit.parent.id if fit.parent is not None else ""
    fit.parent = candidate
    add_to_pool(fit, candidate, measured, parent)


def add_to_pool(fit: Fit, commit: Commit, measured: Measured, parent: str) -> None:
    """From now on it may be chosen as what an epoch starts from; the best of all is remembered."""
    if all(one.commit != commit.id for one in fit.pool):
        fit.pool.append(Candidate(commit.id, measured.scores, measured.metrics, fit.epoch, parent))
    value = number_in(measured.metrics, fit.trainer.monitor)
    if isinstance(value, float):
        rises = direction_of(fit.trainer.monitor, directions(fit.module.metrics()))
        if fit.best_value is None or (value > fit.best_value if rises else value < fit.best_value):
            fit.best, fit.best_value = commit.id, value
    elif not fit.trainer.monitor:
        fit.best = commit.id


def _row(fit: Fit, candidate: Commit, measured: Measured, decision: Decision, train: dict[str, float]) -> EpochRow:
    assert fit.accepted is not None
    gates: list[dict[str, Any]] = [
        {
            "gate": one.gate,
            "passed": one.passed,
            "reason": one.reason,
            "value": one.value,
            "bound": one.bound,
            "warning": one.warning,
        }
        for one in decision.gates
    ]
    return EpochRow(
        experiment=fit.slug,
        epoch=fit.epoch,
        commit=candidate.id,
        parent=candidate.parents[0] if candidate.parents else "",
        verdict=decision.verdict,
        reason=decision.reason,
        metrics=measured.metrics,
        train=train,
        gates=gates,
        spent=dict(fit.budget.state_dict()["spent"]),
        at=time.time(),
        extra={
            "scores": measured.scores,
            "errors": measured.errors,
            "why": candidate.why,
            **fit.judged_by,
            "merged": list(fit.merging),
            # what it was compared with: an epoch of several steps has states between that and the candidate
            "began": fit.merging[0] if fit.merging else fit.began,
            "chosen": fit.began,
        },
    )


def _warn_of_budget(fit: Fit) -> None:
    """Tell once of each limit that four fifths of it are spent."""
    for kind, spent, limit in fit.budget.warnings():
        if kind not in fit.warned:
            fit.warned.add(kind)
            fit.emit(EventType.BUDGET_WARNING, what=kind, spent=spent, limit=limit)


def _ask_stoppers(fit: Fit) -> None:
    for stopper in fit.trainer.stoppers:
        reason = stopper.should_stop(fit.history, spent=fit.budget.spent)
        if reason:
            fit.stop = fit.stop or reason
            if "plateau" in type(stopper).__name__.lower():
                fit.emit(EventType.PLATEAU, why=reason)
