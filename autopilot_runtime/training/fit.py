"""Everything one fit holds while it runs: the module, its parameters, where they are kept, and how far it is."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.training.budget import Budget
from autopilot_runtime.training.contextlog import ContextEntry
from autopilot_runtime.training.dispatch import Dispatch
from autopilot_runtime.training.fingerprint import DatasetFingerprint
from autopilot_runtime.training.gate import Decision
from autopilot_runtime.training.loss import Loss
from autopilot_runtime.training.measure import Measure, directions
from autopilot_runtime.training.module import Module
from autopilot_runtime.training.optimizer import Optimizer, Scheduler
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.record import Commit, EpochRow, Record
from autopilot_runtime.training.selector import Candidate
from autopilot_runtime.training.steps import Steps
from autopilot_runtime.training.tracking import Tracking

# What happens for every batch is told, and not kept: the record has the evaluations themselves.
_PASSING = frozenset(
    {EventType.BATCH_START, EventType.BATCH_END, EventType.LOSS, EventType.BACKWARD, EventType.EVAL_ITEM}
)
_SHOWN = 2_000


@dataclass(slots=True)
class Measured:
    """What was found out about one commit."""

    commit: str
    metrics: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


@dataclass
class Fit:
    """One fit. The loop reads and moves it; the trainer sets it up and takes it down."""

    trainer: Any  # its settings; the trainer knows its fit, not the other way round
    module: Module
    record: Record
    slug: str
    scope: Scope
    call: Dispatch
    steps: Steps
    budget: Budget
    parameters: list[tuple[str, Parameter]]
    optimizers: list[Optimizer]
    schedulers: list[Scheduler]
    losses: list[Loss]
    train: Any
    held_out: Any
    tracking: Tracking = field(default_factory=Tracking)
    environment: Any = None
    experiment: Any = None
    ckpt: Any = None
    version: str = ""
    max_epochs: int = 1
    epoch: int = 0
    global_step: int = 0
    step_in_epoch: int = 0
    parent: Commit | None = None
    accepted: Commit | None = None
    accepted_metrics: Mapping[str, float] = field(default_factory=dict)
    best: str = ""
    best_value: float | None = None
    noise: dict[str, float] = field(default_factory=dict)
    measure: Measure | None = None
    known: dict[str, Measured] = field(default_factory=dict)
    pool: list[Candidate] = field(default_factory=list)
    history: list[EpochRow] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    began: str = ""  # the state that was chosen for this epoch to start from
    merging: tuple[str, ...] = ()  # the two that this epoch puts together
    resumed: bool = False
    warned: set[str] = field(default_factory=set)  # limits that are nearly spent, and told
    data: dict[str, DatasetFingerprint] = field(default_factory=dict)
    fingerprint: dict[str, str] = field(default_factory=dict)
    stop: str = ""  # why there is to be no further epoch
    ended: str = ""  # how it ended, when not by itself

    @property
    def rng(self) -> random.Random:
        """Chance for this epoch: the same again after a resume."""
        return random.Random(f"{self.trainer.seed}:{self.epoch}")

    # ------------------------------------------------------------ what is told

    def emit(self, type: EventType, commit: Commit | str = "", **data: Any) -> Event:
        """Tell what happened, about a commit."""
        parent = commit.parents[0] if isinstance(commit, Commit) and commit.parents else ""
        span = commit.id if isinstance(commit, Commit) else commit
        scope = Scope(self.scope.stream, self.slug, self.scope.run_id, span, parent)
        event = scope.emit(
            type, **{"run": scope.run_id, "epoch": self.epoch, "step": self.global_step, "commit": span, **data}
        )
        if type not in _PASSING:
            self.events.append(event)
            self.tracking.log_event(event)
        return event

    def tell_why(self, source: str, text: str, *, decision: str = "", commit: str = "", **data: Any) -> None:
        """Write into the journal of why."""
        entry = ContextEntry(source=source, text=text, decision=decision, epoch=self.epoch, commit=commit, data=data)
        entry = self.record.add_context(self.slug, entry)
        self.tracking.log_context(entry)
        self.call("on_context", entry)

    def tell_loggers(self, row: EpochRow) -> None:
        """Give an epoch's figures to the loggers."""
        for phase, metrics in (("train", row.train), ("val", row.metrics)):
            if metrics:
                self.tracking.log_metrics(metrics, step=row.epoch, phase=phase)

    # ------------------------------------------------------------ states

    def keep(self, parents: Sequence[str], *, why: str = "", source: str = "") -> Commit:
        """The parameters as they are, as a commit."""
        return self.record.commit(
            self.parameters,
            experiment=self.slug,
            parents=tuple(parents),
            epoch=self.epoch,
            step=self.global_step,
            why=why,
            source=source,
        )

    def restore(self, commit: Commit) -> None:
        """Make the parameters be that commit."""
        self.record.bring(commit, self.parameters)

    def forget_feedback(self) -> None:
        """Nothing of an epoch reaches into the next."""
        for _, parameter in self.parameters:
            parameter.grad = None
        for loss in self.losses:
            loss.reset()

    def tell_gradients(self, commit: Commit | str) -> None:
        """Tell the feedback that has reached each parameter."""
        for name, parameter in self.parameters:
            if parameter.grad is not None:
                text = parameter.grad.render()
                shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
                self.emit(EventType.GRADIENT_READY, commit, parameter=name, text=shown)

    def tell_decision(self, decision: Decision, commit: Commit) -> None:
        """Tell what each gate said."""
        for one in decision.gates:
            kind = (
                EventType.GATE_PASSED
                if one.passed
                else EventType.GATE_WARNED
                if one.warning
                else EventType.GATE_FAILED
            )
            self.emit(kind, commit, gate=one.gate, value=one.value, bound=one.bound, why=one.reason)

    @property
    def judged_by(self) -> dict[str, Any]:
        """What the figures of an epoch are to be read by."""
        told = directions(self.module.metrics())
        return {"noise": self.noise, "monitor": self.trainer.monitor, "directions": told}

    @property
    def trains(self) -> bool:
        """Whether anything is to be changed."""
        return bool(self.optimizers)
