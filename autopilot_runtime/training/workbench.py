"""A fit whose epochs somebody runs by hand, an agent above all: read, propose, evaluate, submit.

What it may do is what a trainer does, and no more: candidates are commits made from the accepted state, only declared
parameters can be changed, of held-out data only figures come out, and what is accepted is decided by the policy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, cast

from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.training.course import closing
from autopilot_runtime.training.decide import decide
from autopilot_runtime.training.fault import BudgetSpent, ParameterRefused, TrainingError, meant
from autopilot_runtime.training.fit import Fit, Measured
from autopilot_runtime.training.gate import Decision
from autopilot_runtime.training.measure import Measure
from autopilot_runtime.training.merge import ComponentMerger, Merged
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.phase import better_on_minibatch, validate
from autopilot_runtime.training.policy import QualityFirstPolicy
from autopilot_runtime.training.record import Commit
from autopilot_runtime.training.resume import save_state
from autopilot_runtime.training.settle import publish, settle
from autopilot_runtime.training.start import open_fit
from autopilot_runtime.training.trainer import Trainer
from autopilot_runtime.training.trial import Trial, tried

_MANY = 1_000_000  # epochs: what limits an agent is the budget
_STATE = "workbench"


@dataclass
class Submitted:
    """What became of a candidate."""

    commit: str
    decision: Decision
    metrics: Mapping[str, float] = field(default_factory=dict)
    epoch: int = 0


class Workbench:
    """`Workbench(module, train, val, monitor='accuracy')`, or with a `Trainer` that has all its settings.

    It is opened when it is first used, and is then the only one who trains that experiment until `close`. What
    `stop` or a gate has ended can be read, and changed no more.
    """

    def __init__(
        self,
        module: Any,
        train_dataloaders: Iterable[Any] | None = None,
        val_dataloaders: Iterable[Any] | None = None,
        *,
        datamodule: Any = None,
        trainer: Trainer | None = None,
        **settings: Any,
    ) -> None:
        self.trainer = trainer or Trainer(**settings)
        if self.trainer.policy is None and self.trainer.acceptor is None:
            if not self.trainer.monitor:
                raise TrainingError(
                    "a workbench needs to know what better means: give it monitor='accuracy', a policy or an acceptor"
                )
            self.trainer.policy = QualityFirstPolicy(self.trainer.monitor)
        self._given = (module, train_dataloaders, val_dataloaders, datamodule)
        self._lock = threading.RLock()
        self._stack = ExitStack()
        self._fit: Fit | None = None
        self._trials: dict[str, Trial] = {}
        self._kept: dict[str, Any] = {"bases": {}, "blocked": {}}
        self.closed = False

    # ------------------------------------------------------------ its life

    @contextmanager
    def at_work(self, hear: Callable[[Event], None] | None = None) -> Iterator[Fit]:
        """The fit, opened, for one caller at a time; `hear` gets every event meanwhile. In the end the parameters are
        the accepted state."""
        with self._lock, ExitStack() as stack:
            if hear is not None:
                stack.callback(self.trainer.stream.listen(hear))
            fit = self._opened()
            try:
                yield fit
            finally:
                if fit.accepted is not None and fit.parameters:
                    fit.restore(fit.accepted)
                    fit.parent = fit.accepted
                self._flush(fit)

    def _opened(self) -> Fit:
        if self.closed:
            raise TrainingError("this workbench was closed; make a new one to go on")
        if self._fit is None:
            module, train, val, data = self._given
            trainer = self.trainer
            last = "last" if trainer.experiment is not None else None
            fit = open_fit(trainer, module, train, val, data, trainer.max_epochs or _MANY, last, bare=True)
            self._stack.enter_context(closing(fit))
            self._kept = {**self._kept, **(fit.record.state(fit.slug, _STATE) or {})}
            self._fit = fit
        return self._fit

    def _flush(self, fit: Fit) -> None:
        if fit.events:
            with fit.record.transaction():
                fit.record.put_events(fit.slug, fit.events)
            fit.events.clear()

    def close(self) -> None:
        """End the fit: the accepted state stands, the experiment is completed, others may train it again."""
        with self._lock:
            self.closed = True
            self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ what there is

    @property
    def blocked(self) -> dict[str, str]:
        """Strategies that must not be tried again, with the reason."""
        return cast("dict[str, str]", self._kept["blocked"])

    def parameter(self, fit: Fit, name: str) -> Parameter:
        """One parameter by its name."""
        known = dict(fit.parameters)
        if name not in known:
            raise TrainingError(f"There is no parameter {name!r}.{meant(name, known)}")
        return known[name]

    def commit(self, fit: Fit, wanted: str | None) -> Commit:
        """A commit by its id, the beginning of it, a ref or `epoch-N`; None and "accepted": the one that stands."""
        assert fit.accepted is not None
        if wanted in (None, "", "accepted", "last_accepted"):
            return fit.accepted
        return fit.record.get_commit(str(wanted), fit.slug)

    @contextmanager
    def state(self, fit: Fit, commit: Commit) -> Iterator[None]:
        """The parameters as they are in a commit, for a moment."""
        assert fit.accepted is not None
        fit.restore(commit)
        try:
            yield
        finally:
            fit.restore(fit.accepted)

    def trial(self, commit: Commit) -> Trial | None:
        """What the newest run on training data has shown of a commit."""
        return self._trials.get(commit.id)

    # ------------------------------------------------------------ what can be done

    def acting(self, fit: Fit, why: str) -> None:
        """Raise unless something may be changed now, and it is said why."""
        if not why.strip():
            raise TrainingError("Say why: every act carries its reason, and the journal keeps it. Nothing was done.")
        if fit.stop:
            raise TrainingError(f"This fit has ended: {fit.stop}. Nothing was done.")
        assert fit.accepted is not None
        stands = fit.record.ref(fit.slug, "last_accepted")
        if stands != fit.accepted.id:
            # Somebody moved it from outside (a checkout, say): what was read of the old one does not count any more.
            fit.accepted = fit.parent = fit.record.get_commit(str(stands), fit.slug)
            fit.accepted_metrics = dict(fit.known[fit.accepted.id].metrics) if fit.accepted.id in fit.known else {}
            raise TrainingError(
                f"The accepted state was moved to {fit.accepted.id[:12]} meanwhile. Nothing was done: read it again, "
                "then propose on it."
            )

    def propose(
        self, fit: Fit, name: str, change: Callable[[Any], object], *, why: str, on: str | None = None
    ) -> Commit:
        """The state after `change(parameter)`, as a commit made from the accepted one, or from the candidate `on`."""
        self.acting(fit, why)
        parameter, base = self.parameter(fit, name), self.commit(fit, on)
        if not parameter.requires_grad:
            raise ParameterRefused(f"Parameter {name!r} is frozen: it can be read, and not changed.")
        fit.budget.require(proposals=1)
        with self.state(fit, base):
            change(parameter)
            if parameter.digest == base.parameters[name]:
                raise ParameterRefused(f"{name!r} is the same as in {base.id[:12]}: nothing was proposed.")
            candidate = fit.keep([base.id], why=why, source="agent")
        fit.budget.add(proposals=1)
        self.found(fit, candidate, base, changed=[name], why=why)
        return candidate

    def merge(self, fit: Fit, a: str, b: str, why: str) -> tuple[Commit, Merged]:
        """A candidate with what both have changed since the accepted state, and where they disagreed."""
        self.acting(fit, why)
        base, one, other = self.commit(fit, None), self.commit(fit, a), self.commit(fit, b)
        for side in (one, other):
            self._fresh(fit, side)
        fit.budget.require(proposals=1)
        merger = fit.trainer.merger or ComponentMerger()
        made: Merged = merger.merge(
            base.parameters, one.parameters, other.parameters, parameters=fit.parameters, store=fit.record.store
        )
        with self.state(fit, one):
            for name, digest in made.states.items():
                if digest != one.parameters[name]:
                    self.parameter(fit, name).bring(fit.record.store, bytes.fromhex(digest))
            candidate = fit.keep([one.id, other.id], why=why, source="agent")
        fit.budget.add(proposals=1)
        fit.emit(EventType.MERGED, candidate, of=[one.id, other.id], why=why, source="agent")
        changed = sorted(name for name, digest in candidate.parameters.items() if digest != base.parameters[name])
        self.found(fit, candidate, base, changed=changed, why=why)
        return candidate, made

    def found(self, fit: Fit, candidate: Commit, base: Commit, *, changed: list[str], why: str) -> None:
        """Remember what a candidate was made from, and tell of it."""
        with fit.record.transaction():
            self._kept["bases"][candidate.id] = base.id
            fit.record.set_state(fit.slug, _STATE, self._kept)
            fit.emit(EventType.PROPOSED, candidate, changed=changed, why=why, source="agent")
            fit.tell_why("agent", why, decision="propose", commit=candidate.id)
        fit.call("on_proposed", candidate, why)

    def evaluate(
        self, fit: Fit, commit: Commit, split: str, *, n: int | None = None, stop: Callable[[], bool] = bool
    ) -> Trial | Measured:
        """Run a commit on training data, where all can be seen, or measure it on held-out data."""
        fit.steps.look_again()
        with self.state(fit, commit):
            if split == "train":
                self._trials[commit.id] = found = tried(fit, commit, n=n, stop=stop)
                return found
            if split != "val":
                raise TrainingError(
                    f"split={split!r}: an agent evaluates on 'train' or 'val'; test data is not for it."
                )
            if fit.held_out is None:
                raise TrainingError("There is no held-out data to measure on.")
            return fit.known.get(commit.id) or validate(fit, commit)

    def submit(self, fit: Fit, wanted: str, why: str) -> Submitted:
        """Let a candidate be measured and judged; accepted, it is the state that stands. That is one epoch."""
        self.acting(fit, why)
        candidate = self.commit(fit, wanted)
        self._fresh(fit, candidate)
        fit.tell_why("agent", why, decision="submit", commit=candidate.id)
        fit.steps.look_again()
        fit.parent, fit.measure = fit.accepted, Measure(fit.module.metrics(), fit.trainer.monitor)
        fit.forget_feedback()
        fit.emit(EventType.EPOCH_START, fit.parent or "")
        fit.call("on_epoch_start")
        try:
            fit.restore(candidate)
            measured, decision = self._judged(fit, candidate)
        except BaseException:
            fit.restore(fit.accepted)  # type: ignore[arg-type]
            raise
        epoch = fit.epoch
        try:
            settle(fit, candidate, measured, decision)  # raises what a gate has raised, after it is all written down
        finally:
            fit.epoch = epoch + 1
            fit.measure = None
        fit.call("on_epoch_end")
        return Submitted(candidate.id, decision, measured.metrics, epoch)

    def _fresh(self, fit: Fit, candidate: Commit) -> None:
        assert fit.accepted is not None
        if candidate.id == fit.accepted.id:
            raise TrainingError(f"{candidate.id[:12]} is the accepted state already: there is nothing to submit.")
        below = self._below(candidate.id)
        if fit.accepted.id not in below:
            made = f"was made from {below[-1][:12]}" if below else "was not proposed here"
            raise TrainingError(
                f"Candidate {candidate.id[:12]} {made}, and {fit.accepted.id[:12]} is accepted now. Nothing was "
                "done: propose the change on that, or merge the two."
            )

    def _below(self, commit: str) -> list[str]:
        """What a candidate was made from, and that from, and so on."""
        bases, found = self._kept["bases"], list[str]()
        while (commit := bases.get(commit, "")) and commit not in found:
            found.append(commit)
        return found

    def _judged(self, fit: Fit, candidate: Commit) -> tuple[Measured, Decision]:
        try:
            worse = better_on_minibatch(fit, candidate)
            if worse is not None:
                return worse
            measured = fit.known.get(candidate.id) or validate(fit, candidate)
            return measured, decide(fit, candidate, measured)
        except BudgetSpent:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            return Measured(candidate.id, errors=[text]), Decision("discard", f"it could not be measured: {text}")

    def rollback(self, fit: Fit, wanted: str, why: str) -> Commit:
        """Go back to a state that was accepted before."""
        self.acting(fit, why)
        target = self.commit(fit, wanted)
        allowed = {moved.commit for moved in fit.record.ref_history(fit.slug, "last_accepted")}
        if target.id not in allowed:
            raise TrainingError(
                f"{target.id[:12]} was never accepted: submit() it instead. Accepted were: "
                + ", ".join(sorted(one[:12] for one in allowed))
            )
        fit.restore(target)
        fit.accepted = fit.parent = target
        fit.accepted_metrics = dict(fit.known[target.id].metrics) if target.id in fit.known else {}
        fit.emit(EventType.ROLLBACK, target, to=target.id, why=why, source="agent")
        with fit.record.transaction():
            fit.record.point(fit.slug, "last_accepted", target.id, why=why)
            fit.tell_why("agent", why, decision="rollback", commit=target.id)
            save_state(fit)
        publish(fit)
        fit.call("on_rollback", Decision("rollback", why))
        return target

    def point(self, fit: Fit, name: str, commit: Commit, why: str, *, event: EventType, **data: Any) -> None:
        """Give a commit a name."""
        self.acting(fit, why)
        if not name.partition("/")[2].strip() or name != name.strip():
            raise TrainingError(f"{name!r} is no name: give a short text.")
        fit.emit(event, commit, why=why, source="agent", **data)
        with fit.record.transaction():
            fit.record.point(fit.slug, name, commit.id, why=why)
            fit.tell_why("agent", why, decision=name, commit=commit.id)

    def block(self, fit: Fit, name: str, why: str) -> None:
        """Do not try this strategy again, in this fit or a later one of the experiment."""
        self.acting(fit, why)
        self.blocked[name] = why
        with fit.record.transaction():
            fit.record.set_state(fit.slug, _STATE, self._kept)
            fit.tell_why("agent", why, decision=f"block {name}")

    def stop(self, fit: Fit, reason: str) -> None:
        """Let nothing more be changed."""
        self.acting(fit, reason)
        fit.stop = reason
        fit.tell_why("agent", reason, decision="stop")
