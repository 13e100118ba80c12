"""How far a fit is, kept after every epoch; and going on from there, in this process or another."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.datum import digest_of, item_digest
from autopilot_runtime.training.fault import ResumeRefused
from autopilot_runtime.training.fit import Fit, Measured
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


def go_on(fit: Fit, state: Mapping[str, Any], *, changed: bool) -> None:
    """Be where `state_of` was. With `changed`, other code, data or settings than then are allowed."""
    if not changed:
        compare(state["fingerprint"], fit.fingerprint)
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
    visits = Counter(row.extra.get("began", "") for row in fit.history) if fit.trainer.selector is not None else {}
    return [replace(one, visits=visits.get(one.commit, 0)) for one in found.values()]


def fingerprint(fit: Fit) -> dict[str, str]:
    """What must be the same for a resume to be the same fit."""
    trainer = fit.trainer
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
        "training data": data_fingerprint(fit.train),
        "validation data": data_fingerprint(fit.held_out),
    }


def compare(then: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise when something is another than it was."""
    other = [name for name in now if then.get(name) != now[name]]
    if other:
        raise ResumeRefused(
            f"this fit was begun with other {' and other '.join(other)}: the numbers would not compare. Begin a new "
            "experiment, or allow it with Trainer(resume_changed=True)"
        )


def data_fingerprint(loader: Any) -> str:
    """Names the items of a loader; "" when it cannot be looked at without using it up."""
    dataset = getattr(loader, "dataset", loader)
    if dataset is None or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        return ""
    found = getattr(dataset, "fingerprint", None)
    if isinstance(found, str):
        return found
    try:
        return digest_of([item_digest(dataset[at]) for at in range(len(dataset))])
    except (TypeError, LookupError):
        return ""


def code_version(module: Any, losses: list[Any]) -> str:
    """Names the code an evaluation goes through, as far as it can be read."""
    kinds = {type(one) for one in (*module.modules(), *losses, *module.metrics().values())}
    sources = sorted(f"{kind.__module__}.{kind.__qualname__}\n{_source(kind)}" for kind in kinds)
    own = getattr(module, "evaluator_version", None)
    return digest_of([sources, own() if callable(own) else ""])


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""
