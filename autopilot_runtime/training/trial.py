"""A run of one state on training data: the figures, the feedback for each parameter, and what failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from autopilot_runtime.training.datum import Batch, EvalDatum, item_digest
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.fit import Fit
from autopilot_runtime.training.gradient import Gradient
from autopilot_runtime.training.measure import Measure
from autopilot_runtime.training.metric import results_in
from autopilot_runtime.training.record import Commit
from autopilot_runtime.training.replay import keep_batch, replay_batch


@dataclass(frozen=True, slots=True)
class Failure:
    """One item that did not come out well."""

    item: str
    input: Any
    output: Any
    feedback: str = ""
    error: str = ""


@dataclass(slots=True)
class Trial:
    """What was seen."""

    commit: str
    metrics: dict[str, float] = field(default_factory=dict)
    loss: float | None = None
    items: int = 0
    gradients: dict[str, Gradient] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


def tried(fit: Fit, commit: Commit, *, n: int | None = None, stop: Callable[[], bool] = bool) -> Trial:
    """Run the training step on `n` items (all of them), and send the feedback back. The parameters are as it says."""
    found = Trial(commit.id)
    was, outer = fit.module.training, fit.measure
    fit.module.train()
    fit.forget_feedback()
    total = fit.measure = Measure(fit.module.metrics(), fit.trainer.monitor)
    try:
        step = fit.module.training_step  # type: ignore[attr-defined]
        batches = enumerate(_first(fit.train, n))
        for done in fit.steps.many(step, batches, commit=commit.id, split="train", replicate=0, retry=True):
            if stop():
                raise TrainingError("the evaluation was stopped; nothing was changed")
            found.items += len(_items(done.batch))
            if done.error is not None:
                total.fail(done.batch, done.error)
                text = f"{type(done.error).__name__}: {done.error}"
                found.failures += [Failure(_name(one), one, None, error=text) for one in _items(done.batch)]
                continue
            if not replay_batch(fit, done):
                keep_batch(fit, done, [loss(done.output, done.batch) for loss in fit.losses])
            total.add(done.output, done.batch)
            found.failures += _failures(done.output, done.batch)
        for loss in fit.losses:
            loss.backward()
        found.loss = fit.losses[0].mean_score if fit.losses else None
        found.gradients = {name: one.grad for name, one in fit.parameters if one.grad is not None}
        found.metrics = total.result()
    finally:
        fit.forget_feedback()
        fit.measure = outer
        fit.module.train(was)
    return found


def _first(batches: Iterable[Any], n: int | None) -> Iterator[Any]:
    """Batches until n items are reached."""
    if n is not None and n < 1:
        raise TrainingError(f"n={n}: evaluate on at least one item")
    count = 0
    for batch in batches:
        if n is not None and count >= n:
            return
        count += len(_items(batch))
        yield batch


def _items(batch: Any) -> list[Any]:
    return list(batch) if isinstance(batch, (Batch, list, tuple)) else [batch]


def _failures(output: Any, batch: Any) -> Iterator[Failure]:
    items, results = _items(batch), results_in(output)
    for at, one in enumerate(results):
        if isinstance(one, EvalDatum) and (not one.success or one.error_message):
            item = items[at] if len(items) == len(results) else batch
            yield Failure(_name(item) or one.id, item, one, one.feedback, one.error_message)


def _name(item: Any) -> str:
    try:
        return str(getattr(item, "id", "") or item_digest(item)[:12])
    except TypeError:
        return ""
