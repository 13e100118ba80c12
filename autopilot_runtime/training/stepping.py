"""One step of the optimizers: asked once, kept at once, so that a resume has what they answered."""

from __future__ import annotations

from typing import Any

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.fit import Fit
from autopilot_runtime.training.record import Commit


def step_optimizers(fit: Fit, working: Commit) -> Commit:
    """Let every optimizer act on the feedback; gives the state after it."""
    fit.global_step += 1
    fit.step_in_epoch += 1
    fit.emit(EventType.STEP_START, working, optimizer=type(fit.optimizers[0]).__name__)
    place = f"step/{fit.step_in_epoch}"
    kept = fit.record.state(fit.slug, place) if fit.resumed else None
    if kept is not None and (kept["epoch"], kept["base"]) == (fit.epoch, working.id):
        commit = _again(fit, kept)
    else:
        commit = _asked(fit, working, place)
    if commit.id == working.id:
        return working
    changed = sorted(name for name in commit.parameters if working.parameters.get(name) != commit.parameters[name])
    fit.emit(EventType.PROPOSED, commit, changed=changed, why=commit.why, source=commit.source)
    fit.emit(EventType.STEP_APPLIED, commit, changed=changed)
    fit.call("on_proposed", commit, commit.why)
    return commit


def _asked(fit: Fit, working: Commit, place: str) -> Commit:
    fit.budget.reserve(proposals=1)
    before = _usage(fit)
    for optimizer in fit.optimizers:
        optimizer.step()
    cost = {name: value - before[name] for name, value in _usage(fit).items()}
    fit.budget.add(**cost)
    why = "; ".join(one.why for one in fit.optimizers if one.why)
    source = "+".join(type(one).__name__ for one in fit.optimizers)
    with fit.record.transaction():
        commit = fit.keep([working.id], why=why, source=source)
        state = {
            "epoch": fit.epoch,
            "base": working.id,
            "commit": commit.id,
            "why": why,
            "cost": cost,
            "optimizers": [one.state_dict() for one in fit.optimizers],
        }
        fit.record.set_state(fit.slug, place, state)
        if why and commit.id != working.id:
            fit.tell_why("optimizer", why, commit=commit.id)
    return commit


def _again(fit: Fit, kept: dict[str, Any]) -> Commit:
    commit = fit.record.get_commit(kept["commit"])
    fit.restore(commit)
    for optimizer, state in zip(fit.optimizers, kept["optimizers"], strict=True):
        optimizer.load_state_dict(state)
        optimizer.why = kept["why"]
    fit.budget.add(proposals=1, **kept["cost"])
    return commit


def _usage(fit: Fit) -> dict[str, float]:
    """What the optimizers' models have cost so far."""
    total = {"tokens": 0.0, "usd": 0.0}
    for optimizer in fit.optimizers:
        usage = getattr(optimizer, "usage", None)
        if usage is not None:
            total["tokens"] += (usage.input_total or 0) + (usage.output or 0)
            total["usd"] += usage.cost_usd or 0.0
    return total
