"""Runs a fit for the command line: progress while it runs, a line how it ended, an exit code."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.cli.train.recipe import Recipe
from autopilot_runtime.cli.train.say import figures, say
from autopilot_runtime.training.experiment import Experiment
from autopilot_runtime.training.progress import ProgressBar
from autopilot_runtime.training.trainer import FitResult

_CODES = {"completed": ExitCode.DONE, "stopped": ExitCode.DONE, "budget": ExitCode.BUDGET}


def fit(
    recipe: Recipe, experiment: Experiment, *, epochs: int | None, resume: bool, as_json: bool, **settings: Any
) -> ExitCode:
    """Train, showing how it goes on stderr; what came of it goes to stdout."""
    done = [row.epoch for row in experiment.epochs] if resume else []
    more = epochs or recipe.settings.get("max_epochs") or 1
    trainer = recipe.trainer(experiment=experiment, callbacks=[ProgressBar()], **settings)
    stopped: list[int] = []
    try:
        with experiment, _stoppable(stopped):
            result = trainer.fit(
                recipe.module,
                recipe.train,
                recipe.val,
                datamodule=recipe.datamodule,
                max_epochs=max(done, default=-1) + 1 + more,
                ckpt_path="last" if done else None,
            )
    except KeyboardInterrupt:
        print("Stopped; everything until here is kept. The same command goes on.", file=sys.stderr)
        return ExitCode.TERMINATED if signal.SIGTERM in stopped else ExitCode.INTERRUPTED
    finally:
        experiment.close()
    say(_plain(result, experiment.slug), _text(result, experiment.slug), as_json=as_json)
    return _CODES[result.status]


@contextmanager
def _stoppable(stopped: list[int]) -> Iterator[None]:
    """SIGTERM ends a training as Ctrl+C does: whole."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        stopped.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _plain(result: FitResult, slug: str) -> dict[str, Any]:
    return {
        "experiment": slug,
        "status": result.status,
        "reason": result.reason,
        "epochs": result.epochs,
        "metrics": dict(result.metrics),
        "commit": result.commit,
        "best": result.best,
        "rows": [
            {"epoch": row.epoch, "verdict": row.verdict, "reason": row.reason, "metrics": dict(row.metrics)}
            for row in result.history
        ],
    }


def _text(result: FitResult, slug: str) -> list[str]:
    first = result.history[0].metrics if result.history else {}
    changes = [
        f"{name} {first[name]:.6g} -> {value:.6g}"
        for name, value in result.metrics.items()
        if isinstance(value, (int, float)) and isinstance(first.get(name), (int, float))
    ]
    seed = {row.commit for row in result.history if row.verdict == "seed"}
    kept = len({row.commit for row in result.history if row.verdict == "accept"} - seed)
    line = f"{slug}: {result.status} after {result.epochs} epochs, {kept} kept"
    return [
        f"{line}. {', '.join(changes) or figures(result.metrics)}" + (f" ({result.reason})" if result.reason else ""),
        "Look: autopilot report · autopilot explain 0 · autopilot tree",
    ]
