"""The batches of an epoch: in windows between two steps, worked on, and judged one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.fault import EvaluationFailed
from autopilot_runtime.training.fit import Fit
from autopilot_runtime.training.phase import worked_before
from autopilot_runtime.training.record import Commit
from autopilot_runtime.training.replay import keep_batch, replay_batch
from autopilot_runtime.training.steps import Done

Numbered = list[tuple[int, Any]]


class StepBroke(EvaluationFailed):
    """A step of the optimizers made a state in which the next batch fails."""


def windows(batches: Iterable[Any], size: int) -> Iterator[Numbered]:
    """The batches between two steps, no more of them than that at a time. The last window may be shorter: its
    feedback counts, too."""
    numbered = iter(enumerate(batches))
    while window := list(islice(numbered, size)):
        yield window


def work(fit: Fit, window: Numbered, working: Commit) -> Iterator[Done]:
    """The training step on each batch of a window."""

    def announced() -> Iterator[tuple[int, Any]]:
        for index, batch in window:
            fit.emit(EventType.BATCH_START, working, batch=index)
            fit.call("on_train_batch_start", batch, index)
            yield index, batch

    step = fit.module.training_step  # type: ignore[attr-defined]
    yield from fit.steps.many(step, announced(), commit=working.id, split="train", replicate=fit.epoch, retry=False)


def judged(fit: Fit, working: Commit, done: Done) -> Done:
    """Loss and metrics of one batch."""
    if done.error is not None:
        if worked_before(fit, working, fit.module.training_step, done):  # type: ignore[attr-defined]
            raise StepBroke(f"batch {done.index} worked before it: {done.error}") from done.error
        raise done.error
    if not replay_batch(fit, done):
        keep_batch(fit, done, [loss(done.output, done.batch) for loss in fit.losses])
    assert fit.measure is not None
    fit.measure.add(done.output, done.batch, done.logged)
    value = fit.losses[0].mean_score if fit.losses else None
    if value is not None:
        fit.emit(EventType.LOSS, value=value)
    fit.emit(EventType.BATCH_END, batch=done.index)
    fit.call("on_train_batch_end", done.output, done.batch, done.index)
    return done
