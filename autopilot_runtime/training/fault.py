"""What can go wrong in training, each with a name of its own."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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


class EvaluationFailed(TrainingError):
    """An evaluation raised, took too long, or its process ended. Recorded as an error, never as a score of 0."""


class BudgetSpent(TrainingError):
    """What comes next would cost more than is left."""


def meant(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or which names there are."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" There is: {', '.join(names)}." if names else " There is none."
