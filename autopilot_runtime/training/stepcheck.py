"""Tries a step at once on the batches it was made from, and takes back one that does not help."""

from __future__ import annotations

import math
from typing import Any, Protocol

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.acceptor import Acceptor, Scores, StrictAcceptor
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.fit import Fit
from autopilot_runtime.training.gate import Judged
from autopilot_runtime.training.loss import scores_of
from autopilot_runtime.training.measure import Measure, directions
from autopilot_runtime.training.phase import ONE_ITEM
from autopilot_runtime.training.record import Commit
from autopilot_runtime.training.replay import keep_batch, replay_batch
from autopilot_runtime.training.steps import Done

Window = list[tuple[int, Any]]


class StepCheck:
    """How steps are tried. A step that is not better by `acceptor` is taken back, and up to `tries` are made from the
    same feedback. After `keep` steps that helped, the epoch ends and its state is validated.

    Checking costs a training step on the window for each try; validation then meets states that mostly are better,
    and is needed once for several steps. With small batches this is the cheapest way to train by far.
    """

    def __init__(self, acceptor: Acceptor | None = None, *, tries: int = 1, keep: int | None = None) -> None:
        if tries < 1 or (keep is not None and keep < 1):
            raise TrainingError(f"StepCheck(tries={tries}, keep={keep}) would make no step: both are at least 1")
        self.acceptor: Acceptor = acceptor or StrictAcceptor()
        self.tries, self.keep = tries, keep


class Stepping(Protocol):
    """What is needed of an epoch's loop: send feedback back, and let the optimizers act on it."""

    def backward(self, fit: Fit, working: Commit) -> None: ...
    def act(self, fit: Fit, working: Commit) -> Commit: ...


def checked_steps(loop: Stepping, fit: Fit, window: Window, working: Commit, seen: list[Done]) -> tuple[Commit, int]:
    """Make steps from one window; gives the state after those that helped, and how many these were."""
    check: StepCheck = fit.trainer.step_check
    kept, refused, rows, feedback = 0, set[str](), {0: seen}, None
    for attempt in range(check.tries):
        if feedback is None:
            loop.backward(fit, working)
            feedback = [parameter.grad for _, parameter in fit.parameters]
            if attempt and not any(feedback):
                break  # the state has nothing left to learn here
        else:
            for (_, parameter), grad in zip(fit.parameters, feedback, strict=True):
                parameter.grad = grad
        stepped = loop.act(fit, working)
        if stepped.id == working.id:
            break
        if stepped.id in refused:
            fit.restore(working)
            break
        trial = _Trial(fit, window, working, rows, stepped)
        judged = trial.judge(check.acceptor)
        if judged.passed:
            working, rows, feedback, kept = stepped, trial.new, None, kept + 1
        else:
            refused.add(stepped.id)
            _take_back(fit, stepped, working, judged)
    for loss in fit.losses:  # what was said of a state that nobody steps from belongs to no later step
        loss.reset()
    return working, kept


def _take_back(fit: Fit, stepped: Commit, working: Commit, judged: Judged) -> None:
    fit.restore(working)
    for loss in fit.losses:
        loss.reset()
    fit.emit(EventType.STEP_REJECTED, stepped, error=judged.reason)
    for optimizer in fit.optimizers:
        optimizer.told("discard", judged.reason)
    fit.tell_why("trainer", f"step taken back: {judged.reason}", decision="discard", commit=stepped.id)


class _Trial:
    """One step against the state before it, on the same batches; more often where the acceptor asks for it."""

    def __init__(
        self, fit: Fit, window: Window, working: Commit, rows: dict[int, list[Done]], stepped: Commit
    ) -> None:
        self.fit, self.window, self.working, self.stepped = fit, window, working, stepped
        self.old, self.new = rows, dict[int, list[Done]]()

    def judge(self, acceptor: Acceptor) -> Judged:
        """Whether the step helped. One that cannot be evaluated did not."""
        self.new[0] = self._run(self.stepped, "train", self.fit.epoch)
        broken = next((one.error for one in self.new[0] if one.error is not None), None)
        if broken is not None:
            return Judged("StepCheck", False, f"{type(broken).__name__}: {broken}")
        for done in self.new[0]:
            if not replay_batch(self.fit, done):
                keep_batch(self.fit, done, [loss(done.output, done.batch) for loss in self.fit.losses])
        return acceptor.judge(
            self._scores(self.new, 1),
            self._scores(self.old, 1),
            more=self._more,
            noise=self.fit.noise.get(ONE_ITEM, 0.0),
        )

    def _more(self, replicates: int) -> tuple[Scores, Scores]:
        for at in range(1, replicates):
            if at not in self.new:
                self.new[at] = self._again(self.stepped, at)
        if any(at not in self.old for at in range(1, replicates)):
            self.fit.restore(self.working)
            for at in range(1, replicates):
                if at not in self.old:
                    self.old[at] = self._again(self.working, at)
            self.fit.restore(self.stepped)
        return self._scores(self.new, replicates), self._scores(self.old, replicates)

    def _again(self, commit: Commit, replicate: int) -> list[Done]:
        found = self._run(commit, "recheck", self.fit.epoch * 1_000 + replicate)
        for done in found:
            self.fit.steps.put(done)
            done.judged = [] if done.error is not None or _scored(self.fit, done) else self._judged(done)
        return found

    def _judged(self, done: Done) -> list[Any]:
        """What the losses say, where nothing else gives a score. They forget it: it is no feedback."""
        return [loss.forward(done.output, done.batch) for loss in self.fit.losses]

    def _run(self, commit: Commit, split: str, replicate: int) -> list[Done]:
        step: Any = self.fit.module.training_step  # type: ignore[attr-defined]
        return list(
            self.fit.steps.many(step, self.window, commit=commit.id, split=split, replicate=replicate, retry=True)
        )

    def _scores(self, rows: dict[int, list[Done]], replicates: int) -> Scores:
        found: dict[str, list[float]] = {}
        for at in range(replicates):
            for done in rows.get(at, ()):
                for item, score in _score(self.fit, done).items():
                    found.setdefault(item, []).append(score)
        if not found:
            raise TrainingError(
                "a step cannot be checked: training_step gives no EvalDatum, and the losses give no numbers"
            )
        return found


def _scored(fit: Fit, done: Done) -> dict[str, float]:
    measure = Measure({}, fit.trainer.monitor, rises=directions(fit.module.metrics()).get(fit.trainer.monitor))
    measure.add(done.output, done.batch)
    return measure.scores


def _score(fit: Fit, done: Done) -> dict[str, float]:
    """Item → score, higher is better; the losses' numbers, turned round, where results have no scores."""
    if done.error is not None:
        return {}
    numbers = [one for result in done.judged for one in scores_of(result)]
    fallback = {f"batch {done.index}": -math.fsum(numbers) / len(numbers)} if numbers else {}
    return _scored(fit, done) or fallback
