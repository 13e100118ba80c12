"""Runs a fit: sets everything up, lets the loop run epoch by epoch, and leaves everything whole, whatever happens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from autopilot_runtime.core.bridge import bridge
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.hooks import HookSystem
from autopilot_runtime.core.stream import Scope, Stream
from autopilot_runtime.training.budget import Budget
from autopilot_runtime.training.byname import named
from autopilot_runtime.training.course import calls_of, closing
from autopilot_runtime.training.executor import Executor
from autopilot_runtime.training.experiment import Experiment
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.fit import Fit
from autopilot_runtime.training.gate import Gate
from autopilot_runtime.training.listed import listed
from autopilot_runtime.training.loop import EpochLoop, Loop
from autopilot_runtime.training.policy import Policy
from autopilot_runtime.training.record import EpochRow
from autopilot_runtime.training.standing import evaluate
from autopilot_runtime.training.start import open_fit
from autopilot_runtime.training.stepcheck import StepCheck
from autopilot_runtime.training.tracking import Tracking, log

Status = Literal["completed", "stopped", "budget", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a fit ended. `metrics` are those of the last accepted state, `best` is the commit that measured best."""

    status: Status
    epochs: int
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    commit: str = ""
    best: str = ""
    history: Sequence[EpochRow] = ()


class Trainer:
    """Improves a module: trains, measures, and keeps only what its policy accepts.

    Without an `experiment` nothing is kept after the fit; with one, a `JSONLLogger` beside its record is the default
    `logger` (False: none). `monitor` is the metric that "best" goes by.
    """

    def __init__(
        self,
        callbacks: Iterable[Any] | Any | None = None,
        policy: Policy | Gate | Iterable[Gate] | None = None,
        experiment: Any = None,
        logger: Any = None,
        accumulate_grad_batches: int = 1,
        fast_dev_run: bool | int = False,
        overfit_batches: int = 0,
        budget: Budget | Mapping[str, float] | None = None,
        executor: Executor | None = None,
        *,
        max_epochs: int | None = None,
        monitor: str = "",
        selector: Any = None,
        acceptor: Any = None,
        minibatch_check: int | None = None,
        step_check: StepCheck | bool | None = None,
        merger: Any = None,
        stoppers: Iterable[Any] | Any = (),
        noise_replicates: int = 0,
        environment: Any = None,
        loop: Loop | None = None,
        retries: int = 1,
        timeout_s: float | None = None,
        seed: int = 0,
        resume_changed: bool = False,
        stream: Stream | None = None,
    ) -> None:
        _count("accumulate_grad_batches", accumulate_grad_batches, least=1)
        for name, count in (("fast_dev_run", fast_dev_run), ("overfit_batches", overfit_batches)):
            _count(name, count)
        _count("max_epochs", max_epochs or 0)
        self.callbacks = listed(callbacks)
        self.policy: Any = _policy(policy)
        self.experiment: Any = Experiment.given(experiment)
        self.loggers = None if logger is None else [] if logger is False else listed(logger)
        Tracking(self.loggers)  # what is no logger is told of here, not in the middle of a fit
        self.accumulate_grad_batches = accumulate_grad_batches
        self.fast_dev_run = int(fast_dev_run)
        self.overfit_batches = overfit_batches
        self.budget = Budget.given(budget)
        self.executor = executor
        self.max_epochs = max_epochs
        self.selector, self.acceptor, self.merger = named(selector, "selector"), named(acceptor, "acceptor"), merger
        self.minibatch_check = minibatch_check
        self.step_check = (StepCheck() if step_check else None) if isinstance(step_check, bool) else step_check
        self.stoppers = listed(stoppers)
        self.noise_replicates = noise_replicates
        self.environment = environment
        self.loop: Loop = loop or EpochLoop()
        self.retries, self.timeout_s = retries, timeout_s
        self.seed, self.resume_changed = seed, resume_changed
        self.monitor = monitor or _monitored(self.policy)
        self.stream = stream or Stream()
        self.callback_metrics: dict[str, float] = {}
        self.should_stop = False
        self.sanity_checking = False
        self._fit: Fit | None = None
        self._hooks: HookSystem | None = None

    # ------------------------------------------------------------ what it does

    def fit(
        self,
        module: Any,
        train_dataloaders: Iterable[Any] | None = None,
        val_dataloaders: Iterable[Any] | None = None,
        datamodule: Any = None,
        max_epochs: int | None = None,
        ckpt_path: str | Path | None = None,
    ) -> FitResult:
        """Train for this many epochs. `ckpt_path`: go on from "last", from "best", or from a file."""
        epochs = 1 if self.fast_dev_run else max_epochs if max_epochs is not None else self.max_epochs or 1
        self.should_stop = False
        with closing(
            open_fit(self, module, train_dataloaders, val_dataloaders, datamodule, epochs, ckpt_path)
        ) as fit:
            while fit.epoch < fit.max_epochs and not self._ended(fit):
                self.loop.run(fit)
                for scheduler in fit.schedulers:
                    scheduler.step()
                fit.epoch += 1
        return result_of(fit)

    def adopt(self, fit: Fit) -> None:
        """This is the fit that runs now."""
        self._fit = fit

    def _ended(self, fit: Fit) -> bool:
        if self.should_stop and not fit.stop:
            fit.stop = "a callback asked for it"
        return bool(fit.stop)

    def validate(
        self, module: Any, dataloaders: Iterable[Any] | None = None, datamodule: Any = None
    ) -> dict[str, float]:
        """Measure the module as it is, with its validation step."""
        return evaluate(self, module, dataloaders, datamodule, "val").metrics

    def test(self, module: Any, dataloaders: Iterable[Any] | None = None, datamodule: Any = None) -> dict[str, float]:
        """Measure the module as it is, with its test step."""
        return evaluate(self, module, dataloaders, datamodule, "test").metrics

    def predict(self, module: Any, dataloaders: Iterable[Any] | None = None, datamodule: Any = None) -> list[Any]:
        """What the module gives for each batch."""
        return evaluate(self, module, dataloaders, datamodule, "predict").outputs

    def save_checkpoint(self, path: str | Path, *, io: Any = None) -> None:
        """Write the state of the fit to a file that `fit(ckpt_path=path)` goes on from."""
        from autopilot_runtime.training.checkpoint import JSONCheckpointIO
        from autopilot_runtime.training.resume import state_of

        fit = self._running("save_checkpoint")
        checkpoint: dict[str, Any] = {"state_dict": fit.module.state_dict(), "fit": state_of(fit)}
        fit.call("on_save_checkpoint", checkpoint)
        (io or JSONCheckpointIO()).save(checkpoint, path)
        fit.emit(EventType.CHECKPOINT_SAVED, fit.accepted or "", path=str(path))

    # ------------------------------------------------------------ what it shows

    @property
    def hooks(self) -> HookSystem:
        """Handlers for events, as on a `Runtime`: `trainer.hooks.register(EventType.ACCEPTED, handler)`."""
        if self._hooks is None:
            self._hooks = HookSystem(self.stream, Scope(self.stream))
        return self._hooks

    def tell(self, type: EventType, **data: Any) -> None:
        """Put something on the stream, as of the fit that runs and its accepted state."""
        if self._fit is not None:
            self._fit.emit(type, self._fit.accepted or "", **data)

    def drain(self) -> None:
        """Wait until every handler has seen everything."""
        if self._hooks is not None:
            bridge().call(self._hooks.drain())

    def forecast(self) -> str:
        """In words, how many proposals the budget has room for."""
        return self.budget.forecast(calls_per_proposal=calls_of(self._running("forecast")))

    @property
    def current_epoch(self) -> int:
        """The epoch that is running, from 0."""
        return self._fit.epoch if self._fit is not None else 0

    @property
    def global_step(self) -> int:
        """How often the optimizers have stepped."""
        return self._fit.global_step if self._fit is not None else 0

    @property
    def optimizers(self) -> list[Any]:
        """Those of the fit."""
        return self._fit.optimizers if self._fit is not None else []

    @property
    def record(self) -> Any:
        """Where the fit is kept."""
        return self._fit.record if self._fit is not None else None

    @property
    def history(self) -> list[EpochRow]:
        """The epochs so far, each with its verdict."""
        return list(self._fit.history) if self._fit is not None else []

    def log_metric(self, name: str, value: float) -> None:
        """Record a number of the running phase."""
        if self._fit is not None and self._fit.measure is not None:
            self._fit.measure.log(name, value)

    def warn(self, text: str) -> None:
        """Tell what does not stop anything."""
        log.warning("%s", text)
        Scope(self.stream).emit(EventType.WARNING, message=text)

    def _running(self, what: str) -> Fit:
        if self._fit is None:
            raise TrainingError(f"{what}: nothing has been fitted yet")
        return self._fit


def result_of(fit: Fit) -> FitResult:
    """How it went."""
    status: Status = "budget" if fit.ended == "budget" else "stopped" if fit.stop else "completed"
    return FitResult(
        status,
        sum(row.epoch >= 0 for row in fit.history),
        fit.stop,
        dict(fit.accepted_metrics),
        fit.accepted.id if fit.accepted else "",
        fit.best,
        tuple(fit.history),
    )


def _count(name: str, count: Any, *, least: int = 0) -> None:
    if not isinstance(count, int) or count < least:
        raise TrainingError(f"Trainer({name}={count!r}): a whole number is needed, {least} or more")


def _policy(policy: Any) -> Any:
    return policy if policy is None or hasattr(policy, "judge") else Policy(policy)


def _monitored(policy: Any) -> str:
    """The first metric that a policy looks at."""
    return next((gate.metric for gate in getattr(policy, "gates", ()) if getattr(gate, "metric", "")), "")
