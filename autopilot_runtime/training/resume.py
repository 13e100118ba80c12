"""How far a fit is, kept after every epoch; and going on from there, in this process or another."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.datum import digest_of
from autopilot_runtime.training.fault import ResumeRefused
from autopilot_runtime.training.fingerprint import DatasetFingerprint
from autopilot_runtime.training.fit import Fit, Measured
from autopilot_runtime.training.ranking import standing_metrics
from autopilot_runtime.training.selector import Candidate


def save_state(fit: Fit) -> None:
    """Note how far it is; part of the transaction that ends an epoch."""
    fit.record.set_state(fit.slug, f"fit/{fit.epoch}", state_of(fit))
    fit.record.set_state(fit.slug, "fit", fit.epoch)


def state_of(fit: Fit) -> dict[str, Any]:
    """All that is needed to go on, ready for JSON."""
    assert fit.accepted is not None
    return {
        "epoch": fit.history[-1].epoch if fit.history else fit.epoch,
        "global_step": fit.global_step,
        "accepted": fit.accepted.id,
        "metrics": dict(fit.accepted_metrics),
        "best": fit.best,
        "best_value": fit.best_value,
        "noise": fit.noise,
        "optimizers": [one.state_dict() for one in fit.optimizers],
        "schedulers": [one.state_dict() for one in fit.schedulers],
        "callbacks": [one.state_dict() if hasattr(one, "state_dict") else {} for one in fit.trainer.callbacks],
        "budget": fit.budget.state_dict(),
        "stop": fit.stop,
        "fingerprint": fit.fingerprint,
    }


def gone_back(fit: Fit, newest: int, state: dict[str, Any]) -> dict[str, Any]:
    """The state to go on from, when somebody went back to an earlier commit after the last epoch."""
    back = fit.record.state(fit.slug, "went_back")
    if back is None or back["after"] != newest:
        return state
    return {**state, "accepted": back["commit"], "metrics": standing_metrics(fit.record, fit.slug)}


def go_on(fit: Fit, state: Mapping[str, Any], *, changed: bool) -> None:
    """Be where `state_of` was. With `changed`, other code, data or settings than then are allowed."""
    if not changed:
        compare(state["fingerprint"], fit.fingerprint, changes=data_changes(fit))
    fit.epoch, fit.global_step = int(state["epoch"]) + 1, int(state["global_step"])
    fit.accepted = fit.parent = fit.record.get_commit(state["accepted"])
    fit.accepted_metrics, fit.noise = dict(state["metrics"]), dict(state["noise"])
    fit.best, fit.best_value = state["best"], state["best_value"]
    fit.history = [row for row in fit.record.epochs(fit.slug) if row.epoch < fit.epoch]
    fit.pool = _pool(fit)
    fit.known = {one.commit: Measured(one.commit, dict(one.metrics), dict(one.scores)) for one in fit.pool}
    fit.restore(fit.accepted)
    for optimizer, kept in zip(fit.optimizers, state["optimizers"], strict=False):
        optimizer.load_state_dict(kept)
    for scheduler, kept in zip(fit.schedulers, state["schedulers"], strict=False):
        scheduler.load_state_dict(kept)
    for callback, kept in zip(fit.trainer.callbacks, state["callbacks"], strict=False):
        if hasattr(callback, "load_state_dict"):
            callback.load_state_dict(kept)
    fit.budget.load_state_dict(state["budget"])
    fit.resumed = True
    fit.emit(EventType.RESUMED, fit.accepted, run=fit.scope.run_id, status="running")


def _pool(fit: Fit) -> list[Candidate]:
    """Every state that was accepted, once, with what was measured of it."""
    found: dict[str, Candidate] = {}
    for row in fit.history:
        if row.verdict in ("seed", "accept"):
            scores = row.extra.get("scores", {})
            found.setdefault(row.commit, Candidate(row.commit, scores, row.metrics, row.epoch, row.parent))
    visits = Counter(row.extra.get("chosen", "") for row in fit.history) if fit.trainer.selector is not None else {}
    return [replace(one, visits=visits.get(one.commit, 0)) for one in found.values()]


def fingerprint(fit: Fit) -> dict[str, str]:
    """What must be the same for a resume to be the same fit."""
    trainer = fit.trainer
    fit.data = {"training data": _fingerprint_of(fit.train), "validation data": _fingerprint_of(fit.held_out)}
    settings: dict[str, Any] = {
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "monitor": trainer.monitor,
        "seed": trainer.seed,
        "selector": type(trainer.selector).__name__,
        "acceptor": type(trainer.acceptor).__name__,
        "policy": []
        if trainer.policy is None
        else getattr(trainer.policy, "explain", lambda: type(trainer.policy).__name__)(),
    }
    return {
        "code": fit.version,
        "settings": digest_of(settings),
        "parameters": digest_of(sorted(name for name, _ in fit.parameters)),
        **{name: found.digest for name, found in fit.data.items()},
    }


def compare(then: Mapping[str, str], now: Mapping[str, str], *, changes: Mapping[str, str]) -> None:
    """Raise when something is another than it was. `changes` says of some how."""
    differs = [name for name in now if then.get(name) != now[name]]
    other = [f"{name} ({changes[name]})" if changes.get(name) else name for name in differs]
    if other:
        raise ResumeRefused(
            f"this fit was begun with other {' and other '.join(other)}: the numbers would not compare. Begin a new "
            "experiment, or allow it with Trainer(resume_changed=True)"
        )


def keep_data(fit: Fit) -> None:
    """Note what the data is, so that a resume with other data can name what changed."""
    fit.record.set_state(fit.slug, "data", {name: found.to_dict() for name, found in fit.data.items()})


def data_changes(fit: Fit) -> dict[str, str]:
    """How the data differs from what it was when the fit was begun."""
    then = fit.record.state(fit.slug, "data") or {}
    kept = {name: DatasetFingerprint.from_dict(one) for name, one in then.items()}
    return {name: kept[name].changes(now) for name, now in fit.data.items() if name in kept}


def _fingerprint_of(loader: Any) -> DatasetFingerprint:
    """Of the items of a loader; of what cannot be looked at without using it up, one that says nothing."""
    try:
        return DatasetFingerprint.of(loader)
    except (TypeError, LookupError):
        return DatasetFingerprint(None, "")


def code_version(module: Any, losses: list[Any]) -> str:
    """Names the code an evaluation goes through, as far as it can be read."""
    kinds = {type(one) for one in (*module.modules(), *losses, *module.metrics().values())}
    sources = sorted(f"{kind.__qualname__}\n{_source(kind)}" for kind in kinds)
    own = getattr(module, "evaluator_version", None)
    return digest_of([sources, own() if callable(own) else ""])


def _source(kind: type) -> str:
    """The text of a class. The name of its module does not count: a project's file has another one where it is moved
    to, and where its own command imports it."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return kind.__module__
