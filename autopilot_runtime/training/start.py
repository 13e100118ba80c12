"""Puts a fit together: its data, optimizers, losses, the experiment it is kept in, and the place its files are in."""

from __future__ import annotations

from itertools import islice
from typing import Any
from urllib.parse import quote

from autopilot_runtime.core.ids import new_id
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.training.dispatch import Dispatch
from autopilot_runtime.training.environment import IsolatedEnvironment
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.fit import Fit
from autopilot_runtime.training.listed import listed
from autopilot_runtime.training.localexecutor import LocalExecutor
from autopilot_runtime.training.logger import JSONLLogger
from autopilot_runtime.training.loss import FeedbackLoss
from autopilot_runtime.training.optimizer import Optimizer
from autopilot_runtime.training.pathparameter import PathParameter
from autopilot_runtime.training.record import Record
from autopilot_runtime.training.resume import code_version
from autopilot_runtime.training.steps import Steps
from autopilot_runtime.training.tracking import Tracking


def open_fit(
    trainer: Any,
    module: Any,
    train: Any,
    val: Any,
    datamodule: Any,
    max_epochs: int,
    ckpt_path: Any,
    *,
    bare: bool = False,
) -> Fit:
    """Everything that a fit needs, not begun yet. `bare`: without optimizers, somebody else makes the changes."""
    _check_step(module)
    call = Dispatch(trainer, module, trainer.callbacks)
    prepare(module, datamodule, "fit")
    call("setup", "fit")
    train, val = loaders(trainer, train, val, datamodule)
    if train is None:
        raise TrainingError(
            "fit needs data: fit(module, train_dataloaders=...) or a datamodule with train_dataloader()"
        )
    optimizers, schedulers = ([], []) if bare else configured(module)
    losses = listed(module.configure_losses() if hasattr(module, "configure_losses") else module.losses())
    if not losses and optimizers:
        losses = [FeedbackLoss()]
    for loss in losses:
        loss.bind(module.parameters())
    parameters = list(module.named_parameters())
    for name, parameter in parameters:
        parameter.name = name
    record, slug, experiment = _place(trainer)
    version = code_version(module, losses)
    scope = Scope(trainer.stream, slug, new_id("fit"))
    environment = trainer.environment
    if environment is None and any(isinstance(one, PathParameter) for _, one in parameters):
        environment = IsolatedEnvironment()
    steps = _steps(trainer, record, parameters, version=version, environment=environment)
    return Fit(
        trainer,
        module,
        record,
        slug,
        scope,
        call,
        steps,
        trainer.budget,
        parameters,
        optimizers,
        schedulers,
        losses,
        train,
        val,
        tracking=_tracking(trainer, record, experiment),
        environment=environment,
        version=version,
        max_epochs=max_epochs,
        ckpt=ckpt_path,
        experiment=experiment,
    )


def _check_step(module: Any) -> None:
    if not hasattr(module, "training_step"):
        kind = type(module).__name__
        raise TrainingError(f"{kind} has no training_step: derive it from AutoPilotModule, whose step is forward()")


def _tracking(trainer: Any, record: Record, experiment: Any) -> Tracking:
    loggers = None if trainer.fast_dev_run else trainer.loggers
    if trainer.loggers is None and experiment is not None:
        loggers = JSONLLogger(record.store.path.parent / f"{quote(experiment.slug, safe=' ')}.jsonl")
    return Tracking(loggers, tell=trainer.warn)


def _steps(trainer: Any, record: Record, parameters: Any, *, version: str, environment: Any) -> Steps:
    def files(commit: str) -> str | None:
        """A folder with the files of a commit, for evaluations that run elsewhere."""
        return None if environment is None else str(environment.materialise(record.get_commit(commit), record))

    # A step that may not take longer has to run where it can be left behind.
    own = LocalExecutor(1) if trainer.timeout_s is not None and trainer.executor is None else None
    return Steps(
        record,
        parameters,
        version=version,
        budget=trainer.budget,
        executor=trainer.executor or own,
        retries=trainer.retries,
        timeout_s=trainer.timeout_s,
        files=files,
        own=own,
    )


def loaders(trainer: Any, train: Any, val: Any, datamodule: Any) -> tuple[Any, Any]:
    """The data of a fit, from what was given or from the datamodule."""
    if datamodule is not None:
        train = datamodule.train_dataloader() if train is None else train
        val = datamodule.val_dataloader() if val is None else val
    if trainer.overfit_batches:
        train = limited(train, trainer.overfit_batches)
        val = train
    if trainer.fast_dev_run:
        train, val = limited(train, trainer.fast_dev_run), limited(val, trainer.fast_dev_run)
    if val is None and (trainer.policy is not None or trainer.acceptor is not None):
        val = train  # a verdict is about the state after the step, and nothing else was given to measure it on
    return train, val


def prepare(module: Any, datamodule: Any, stage: str) -> None:
    """Let module and data get ready."""
    for one in (module, datamodule):
        if hasattr(one, "prepare_data"):
            one.prepare_data()
    for one in (datamodule, module):
        if hasattr(one, "setup"):
            one.setup(stage)


def configured(module: Any) -> tuple[list[Optimizer], list[Any]]:
    """The optimizers and schedulers a module asks for."""
    found = module.configure_optimizers() if hasattr(module, "configure_optimizers") else None
    optimizers, schedulers = found if isinstance(found, tuple) and len(found) == 2 else (found, [])
    optimizers, schedulers = listed(optimizers), listed(schedulers)
    for one in optimizers:
        if not hasattr(one, "step"):
            raise TrainingError(f"configure_optimizers gave {type(one).__name__}, which has no step()")
    return optimizers, schedulers


def _place(trainer: Any) -> tuple[Record, str, Any]:
    experiment = None if trainer.fast_dev_run else trainer.experiment
    if experiment is None:
        record = Record.passing()
        record.create("fit")
        return record, "fit", None
    return experiment.record, experiment.slug, experiment


def limited(loader: Any, count: int) -> Any:
    """The first batches of a loader."""
    return loader if loader is None or not count else list(islice(loader, count))
