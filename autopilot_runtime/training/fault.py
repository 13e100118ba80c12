"""What can go wrong in training, each with a name of its own."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal

from autopilot_runtime.core.errors import AutopilotError


class TrainingError(AutopilotError):
    """Training cannot go on."""


class ParameterRefused(TrainingError):
    """A value that a parameter does not take, or a path that leaves its root."""


class MetricMissing(TrainingError):
    """A metric was asked for that nobody measures, or that is no number."""


class ExperimentBusy(TrainingError):
    """Another process is training here."""


class ResumeRefused(TrainingError):
    """What is to be resumed was begun with other code, data or settings."""


Failure = Literal[
    "raised",  # the work itself raised; `__cause__` is what, where that could be brought here
    "timeout",  # it took longer than it may
    "cpu",  # it computed longer than it may
    "memory",  # it needed more memory than it may
    "died",  # its process, worker or node ended under it
    "result",  # what it gave is too large, or cannot be brought here
]


class EvaluationFailed(TrainingError):
    """An evaluation raised, took too long, or its process ended. Recorded as an error, never as a score of 0.

    `kind` says how, `trace` is the traceback of the work where it raised in another process.
    """

    def __init__(self, text: str, *, kind: Failure = "raised", trace: str = "") -> None:
        super().__init__(text)
        self.kind: Failure = kind
        self.trace = trace


class BudgetSpent(TrainingError):
    """What comes next would cost more than is left."""


def meant(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or which names there are."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" There is: {', '.join(names)}." if names else " There is none."
