"""A fit from its first moment to its last: what it begins with, and what it leaves however it ends."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.fault import BudgetSpent
from autopilot_runtime.training.fit import Fit, Measured
from autopilot_runtime.training.interrupt import ending_whole
from autopilot_runtime.training.phase import measure_noise, validate
from autopilot_runtime.training.record import EpochRow
from autopilot_runtime.training.resume import fingerprint, go_on, gone_back, keep_data, save_state
from autopilot_runtime.training.settle import add_to_pool, publish


@contextmanager
def closing(fit: Fit) -> Iterator[Fit]:
    """A fit that is begun, and that leaves nothing half done however it ends."""
    trainer = fit.trainer
    trainer.adopt(fit)
    with ExitStack() as stack:
        stack.enter_context(ending_whole())
        _enter(fit, stack)
        try:
            try:
                begin_fit(fit)
            except BudgetSpent as error:  # not even the first measurement fits: there is to be no epoch
                _spent(fit, error)
            yield fit
        except BudgetSpent as error:
            _spent(fit, error)
        except KeyboardInterrupt:
            _broken(fit, "interrupted", "stopped by hand")
            raise
        except BaseException as error:
            fit.emit(EventType.EXCEPTION, fit.accepted or "", error=f"{type(error).__name__}: {error}")
            fit.call("on_exception", error)
            _broken(fit, "failed", "".join(traceback.format_exception(error))[-8_000:])
            raise
        _conclude(fit)
        _finish(fit, "completed")
        fit.call("on_fit_end")
        fit.call("teardown", "fit")
        trainer.drain()


def _spent(fit: Fit, error: BudgetSpent) -> None:
    _back(fit)
    fit.ended, fit.stop = "budget", str(error)
    fit.emit(EventType.BUDGET_EXCEEDED, fit.accepted or "", why=str(error))


def _enter(fit: Fit, stack: ExitStack) -> None:
    if fit.experiment is None:
        stack.callback(fit.record.close)
    else:
        stack.enter_context(fit.record.hold(fit.slug))
        if not fit.experiment.entered:
            stack.enter_context(fit.experiment)
        fit.experiment.bind(fit.parameters)
    if fit.environment is not None:
        fit.environment.enter(fit.parameters, store=fit.record.store)
        stack.callback(fit.environment.leave)
    stack.callback(fit.steps.close)
    fit.module.trainer = fit.trainer
    fit.budget.start()


def begin_fit(fit: Fit) -> None:
    """From set-up to the first measurement, or to where a resume goes on."""
    trainer = fit.trainer
    fit.fingerprint = fingerprint(fit)
    state = _resumed(fit)
    config = dict(fit.experiment.config) if fit.experiment is not None else {}
    about = {"experiment": fit.slug, "max_epochs": fit.max_epochs, "run": fit.scope.run_id, "config": config}
    fit.tracking.start(about)
    if config:
        fit.tracking.log_params(config)
    if state is not None:
        _save_found(fit, state["accepted"])
        go_on(fit, state, changed=trainer.resume_changed)
        _heal(fit)
    fit.call("on_fit_start")
    fit.emit(
        EventType.FIT_START,
        run=fit.scope.run_id,
        max_epochs=fit.max_epochs,
        forecast=fit.budget.forecast(calls_per_proposal=calls_of(fit)),
    )
    if state is None or trainer.resume_changed:
        keep_data(fit)
    if state is None:
        first_measurement(fit)


def _resumed(fit: Fit) -> Any:
    """The state to go on from, if any was asked for and is there."""
    asked = fit.ckpt
    if asked is None:
        return None
    if asked == "last":
        newest = fit.record.state(fit.slug, "fit")
        return None if newest is None else gone_back(fit, newest, fit.record.state(fit.slug, f"fit/{newest}"))
    if asked == "best":
        best = fit.record.ref(fit.slug, "best")
        rows = [row for row in fit.record.epochs(fit.slug) if row.commit == best]
        return fit.record.state(fit.slug, f"fit/{rows[0].epoch}") if rows else None
    from autopilot_runtime.training.checkpoint import JSONCheckpointIO

    checkpoint = JSONCheckpointIO().load(Path(asked))
    fit.module.load_state_dict(checkpoint["state_dict"])
    kept = fit.keep((), why=f"from {Path(asked).name}", source="checkpoint")
    fit.call("on_load_checkpoint", checkpoint)
    return {**checkpoint["fit"], "accepted": kept.id, "best": kept.id}


def _save_found(fit: Fit, accepted: str) -> None:
    """Somebody may have edited the files since: what is there is kept before it becomes the accepted state."""
    if fit.environment is None or fit.record.state(fit.slug, "live") != accepted:
        return
    found = fit.keep((), why="as the files were found when the fit was resumed", source="user")
    if found.id != accepted:
        fit.record.point(fit.slug, f"tag/found-{found.id[:12]}", found.id, why=found.why)
        fit.tell_why("trainer", "the files had been edited; that state is kept as a tag", commit=found.id)


def _heal(fit: Fit) -> None:
    """A kill between the decision and the files: let the files be what was decided."""
    if fit.environment is not None and fit.accepted is not None:
        publish(fit)


def first_measurement(fit: Fit) -> None:
    """Measure what the fit begins with: everything later is compared with that."""
    trainer = fit.trainer
    fit.epoch = -1
    fit.accepted = fit.parent = seed = fit.keep((), why="as it was given", source="user")
    measured = Measured(seed.id)
    if fit.held_out is not None:
        fit.call("on_sanity_check_start")
        trainer.sanity_checking = True
        measured = validate(fit, seed)
        if trainer.noise_replicates > 1:
            fit.noise = measure_noise(fit, seed, trainer.noise_replicates)
        trainer.sanity_checking = False
        fit.call("on_sanity_check_end")
    fit.accepted_metrics = dict(measured.metrics)
    add_to_pool(fit, seed, measured, "")
    for optimizer in fit.optimizers if measured.metrics else ():
        optimizer.measured(measured.metrics)
    row = EpochRow(
        fit.slug,
        -1,
        seed.id,
        "",
        "seed",
        "as it was given",
        measured.metrics,
        {},
        [],
        dict(fit.budget.spent),
        time.time(),
        {"scores": measured.scores, "errors": measured.errors, **fit.judged_by},
    )
    fit.history.append(row)
    with fit.record.transaction():
        fit.record.put_epoch(row)
        fit.record.point(fit.slug, "seed", seed.id, why=row.reason)
        fit.record.point(fit.slug, "last_accepted", seed.id, why=row.reason)
        save_state(fit)
        fit.record.set_state(fit.slug, "live", seed.id)
        fit.record.put_events(fit.slug, fit.events)
    fit.events.clear()
    fit.tell_loggers(row)
    fit.epoch = 0


def _back(fit: Fit) -> None:
    """Be the last accepted state again."""
    if fit.accepted is not None:
        fit.restore(fit.accepted)
        fit.parent = fit.accepted
    fit.forget_feedback()


def _broken(fit: Fit, status: str, why: str) -> None:
    _back(fit)
    fit.ended = status
    fit.tell_why("trainer", why, decision=status)
    _finish(fit, status)


def _conclude(fit: Fit) -> None:
    """A search goes back and forth: what it leaves is the best it has found."""
    if fit.trainer.selector is None or not fit.best or fit.accepted is None or fit.best == fit.accepted.id:
        return
    fit.accepted = fit.parent = fit.record.get_commit(fit.best)
    fit.accepted_metrics = dict(fit.known[fit.best].metrics) if fit.best in fit.known else {}
    fit.restore(fit.accepted)
    fit.record.point(fit.slug, "last_accepted", fit.best, why="the best that was found")
    publish(fit)


def _finish(fit: Fit, status: str) -> None:
    ended = fit.ended or ("stopped" if fit.stop else status)
    fit.emit(EventType.FIT_END, fit.accepted or "", status=ended, why=fit.stop, metrics=dict(fit.accepted_metrics))
    if fit.experiment is None and (not fit.ended or fit.ended == "budget"):  # else the experiment says so itself
        fit.tell_why("trainer", fit.stop or f"{fit.epoch} epochs", decision=ended)
    with fit.record.transaction():
        fit.record.put_events(fit.slug, fit.events)
    fit.events.clear()
    fit.tracking.finish(ended)


def calls_of(fit: Fit) -> int:
    """How many evaluations one proposal takes."""
    return _calls(fit.train) + _calls(fit.held_out)


def _calls(loader: Any) -> int:
    """How many evaluations going through a loader once takes; 0 when nobody can tell beforehand."""
    try:
        return 0 if loader is None else len(getattr(loader, "dataset", loader))
    except TypeError:
        return 0
