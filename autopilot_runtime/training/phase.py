"""Measures a commit on data it was not trained on, or quickly on the data it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.fault import EvaluationFailed
from autopilot_runtime.training.fit import Fit, Measured
from autopilot_runtime.training.gate import Decision, number_in
from autopilot_runtime.training.graph import no_grad
from autopilot_runtime.training.measure import Measure
from autopilot_runtime.training.record import Commit
from autopilot_runtime.training.steps import Done

ONE_ITEM = "one item"
"""Under this name the noise of one measurement of one item stands beside that of the metrics."""


def validate(fit: Fit, commit: Commit, *, replicate: int = 0) -> Measured:
    """Measure the state that the parameters are in, on the held-out data, with the hooks around it."""
    if fit.held_out is None:
        return Measured(commit.id)
    fit.call("on_validation_start")
    fit.call("on_validation_epoch_start")
    measured = measure(fit, commit, fit.held_out, split="val", replicate=replicate, hook="validation")
    fit.trainer.callback_metrics.update(measured.metrics)
    fit.call("on_validation_epoch_end", measured.metrics)
    fit.emit(EventType.VALIDATION_END, commit, metrics=measured.metrics)
    fit.call("on_validation_end", measured.metrics)
    fit.known[commit.id] = measured
    return measured


def measure(
    fit: Fit, commit: Commit, batches: Iterable[Any], *, split: str, replicate: int = 0, hook: str = ""
) -> Measured:
    """Run the validation step on batches. What raises is told, and is no score; when all do, and did so before the
    change, too, it is raised."""
    was = fit.module.training
    fit.module.eval()
    total = Measure(fit.module.metrics(), fit.trainer.monitor)
    outer, fit.measure = fit.measure, total
    fit.emit(EventType.EVAL_START, commit, split=split, replicate=replicate)
    failures: list[Done] = []
    try:
        with no_grad():
            todo = _announced(fit, batches, hook)
            step = step_of(fit.module, split)
            for done in fit.steps.many(step, todo, commit=commit.id, split=split, replicate=replicate, retry=True):
                fit.steps.put(done)
                if done.error is None:
                    total.add(done.output, done.batch, done.logged)
                else:
                    failures.append(done)
                    total.fail(done.batch, done.error)
                fit.emit(
                    EventType.EVAL_ITEM,
                    commit,
                    split=split,
                    item=done.index,
                    cached=done.cached,
                    ok=done.error is None,
                    error=str(done.error or ""),
                )
                if hook:
                    fit.call(f"on_{hook}_batch_end", done.output, done.batch, done.index)
    finally:
        fit.measure = outer
        fit.module.train(was)
    if failures and not total.count and not worked_before(fit, commit, step, failures[0]):
        raise failures[0].error or EvaluationFailed("an evaluation gave nothing")
    found = Measured(commit.id, total.result(), total.scores, total.errors)
    fit.emit(EventType.EVAL_END, commit, split=split, metrics=found.metrics, errors=len(found.errors))
    return found


def worked_before(fit: Fit, commit: Commit, step: Callable[[Any, int], Any], broken: Done) -> bool:
    """Whether the state that the epoch began with can do what this one cannot: then the change is at fault, and the
    world is not."""
    parent = fit.parent
    if parent is None or parent.id == commit.id:
        return False
    fit.restore(parent)
    todo = [(broken.index, broken.batch)]
    done = list(fit.steps.many(step, todo, commit=parent.id, split="probe", replicate=fit.epoch, retry=True))
    fit.restore(commit)
    return done[0].error is None


def _announced(fit: Fit, batches: Iterable[Any], hook: str) -> Iterator[tuple[int, Any]]:
    for index, batch in enumerate(batches):
        if hook:
            fit.call(f"on_{hook}_batch_start", batch, index)
        yield index, batch


def step_of(module: Any, split: str) -> Callable[[Any, int], Any]:
    """What is run on a batch. A module that only says what training is, is measured by that."""
    from autopilot_runtime.training.autopilotmodule import AutoPilotModule

    kind = type(module)
    if split == "test":
        return module.test_step  # type: ignore[no-any-return]
    plain = (
        kind.validation_step is AutoPilotModule.validation_step
        and kind.training_step is not AutoPilotModule.training_step
    )
    return module.training_step if plain else module.validation_step  # type: ignore[no-any-return]


def better_on_minibatch(fit: Fit, candidate: Commit) -> tuple[Measured, Decision] | None:
    """None when the candidate may go on to validation; else why it is not worth it."""
    size, parent = fit.trainer.minibatch_check, fit.parent
    if not size or parent is None or candidate.id == parent.id:
        return None
    batches = list(fit.train)
    some = fit.rng.sample(batches, min(size, len(batches)))
    new = measure(fit, candidate, some, split="check", replicate=fit.epoch)
    fit.restore(parent)
    old = measure(fit, parent, some, split="check", replicate=fit.epoch)
    fit.restore(candidate)
    gain = _mean(new.scores) - _mean(old.scores)
    if gain > 0 or math.isnan(gain):
        return None
    figures = f"{_mean(old.scores):.6g} -> {_mean(new.scores):.6g}"
    reason = f"no better on {len(some)} training batches ({figures}): not validated"
    return Measured(candidate.id, {}, {}, new.errors), Decision("discard", reason)


def measure_noise(fit: Fit, commit: Commit, replicates: int) -> dict[str, float]:
    """How much each metric differs when the same state is measured again."""
    every = [fit.known[commit.id]]
    every += [measure(fit, commit, fit.held_out, split="val", replicate=at) for at in range(1, replicates)]
    found = [one.metrics for one in every]
    sigma = _noise_of_one([one.scores for one in every])
    for name in found[0]:
        values = [value for one in found if isinstance(value := number_in(one, name), float)]
        if len(values) > 1:
            mean = math.fsum(values) / len(values)
            sigma[name] = math.sqrt(math.fsum((one - mean) ** 2 for one in values) / (len(values) - 1))
    return sigma


def _noise_of_one(scores: list[dict[str, float]]) -> dict[str, float]:
    """Pooled over all items: two replicates of 40 items say much more than two values of their mean."""
    squares, freedom = 0.0, 0
    for item in scores[0]:
        values = [one[item] for one in scores if item in one]
        mean = math.fsum(values) / len(values)
        squares += math.fsum((one - mean) ** 2 for one in values)
        freedom += len(values) - 1
    return {ONE_ITEM: math.sqrt(squares / freedom)} if freedom else {}


def _mean(scores: dict[str, float]) -> float:
    return math.fsum(scores.values()) / len(scores) if scores else math.nan


def failed(measured: Measured) -> EvaluationFailed | None:
    """What stands against deciding on these figures."""
    if not measured.errors:
        return None
    return EvaluationFailed(f"{len(measured.errors)} evaluations failed, the first: {measured.errors[0]}")
