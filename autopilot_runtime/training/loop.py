"""ONE EPOCH, top to bottom: begin, train, propose, measure, decide, settle. Replace it to train in another way."""

from __future__ import annotations

from typing import Protocol

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.batching import StepBroke, judged, windows, work
from autopilot_runtime.training.decide import decide
from autopilot_runtime.training.fault import ParameterRefused
from autopilot_runtime.training.fit import Fit, Measured
from autopilot_runtime.training.gate import Decision
from autopilot_runtime.training.merging import merged
from autopilot_runtime.training.phase import better_on_minibatch, validate
from autopilot_runtime.training.record import Commit
from autopilot_runtime.training.settle import begin, settle
from autopilot_runtime.training.stepcheck import checked_steps
from autopilot_runtime.training.stepping import step_optimizers


class Loop(Protocol):
    """Runs one epoch of a fit."""

    def run(self, fit: Fit) -> None: ...


class EpochLoop:
    """Trains on every batch, proposes the state that came of it, and lets it be judged on held-out data."""

    def run(self, fit: Fit) -> None:
        """One epoch; `fit.stop` says whether there is to be another."""
        parent = begin(fit)
        fit.call("on_epoch_start")
        fit.call("on_train_epoch_start")
        try:
            candidate = merged(fit) or self.train(fit, parent)
        except (ParameterRefused, StepBroke) as error:
            fit.restore(parent)
            fit.emit(EventType.STEP_REJECTED, parent, error=str(error))
            candidate, measured = parent, Measured(parent.id)
            decision = Decision("discard", f"the step was refused: {error}", error=None)
        else:
            assert fit.measure is not None
            fit.measure.close()
            fit.call("on_train_epoch_end")
            measured, decision = self.judge(fit, candidate)
        settle(fit, candidate, measured, decision)
        fit.call("on_epoch_end")

    # ------------------------------------------------------------ train

    def train(self, fit: Fit, parent: Commit) -> Commit:
        """Every batch; the optimizers step at each accumulation boundary. Gives the state after the last."""
        working, check, kept = parent, fit.trainer.step_check, 0
        fit.module.train()
        for window in windows(fit.train, fit.trainer.accumulate_grad_batches):
            seen = [judged(fit, working, done) for done in work(fit, window, working)]
            if fit.trains and check is not None:
                working, helped = checked_steps(self, fit, window, working, seen)
                kept += helped
                if check.keep is not None and kept >= check.keep:
                    break
            elif fit.trains:
                working = self.step(fit, working)
        return working

    def step(self, fit: Fit, working: Commit) -> Commit:
        """Send the feedback back, and let the optimizers act on it."""
        self.backward(fit, working)
        return self.act(fit, working)

    def backward(self, fit: Fit, working: Commit) -> None:
        """Send the feedback back to the parameters that had a part in the results."""
        fit.call("on_before_backward", fit.losses)
        for loss in fit.losses:
            loss.backward()
        fit.emit(EventType.BACKWARD, working)
        fit.call("on_after_backward")
        fit.tell_gradients(working)

    def act(self, fit: Fit, working: Commit) -> Commit:
        """Let the optimizers act on the feedback that there is."""
        fit.call("on_before_optimizer_step", fit.optimizers)
        stepped = step_optimizers(fit, working)
        fit.call("on_after_optimizer_step", fit.optimizers)
        fit.call("on_before_zero_grad", fit.optimizers)
        for optimizer in fit.optimizers:
            optimizer.zero_grad()
        return stepped

    # ------------------------------------------------------------ judge

    def judge(self, fit: Fit, candidate: Commit) -> tuple[Measured, Decision]:
        """Measure the state after the step, and decide what becomes of it."""
        worse = better_on_minibatch(fit, candidate)
        if worse is not None:
            return worse
        measured = validate(fit, candidate)
        return measured, decide(fit, candidate, measured)
