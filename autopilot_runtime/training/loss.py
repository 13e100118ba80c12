"""What is wrong with a result, as feedback on the parameters that had a part in it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from autopilot_runtime.training.datum import EvalDatum
from autopilot_runtime.training.fault import TrainingError, meant
from autopilot_runtime.training.gradient import Gradient, TextGradient, as_gradient, gathered, parts_of
from autopilot_runtime.training.graph import Context, origin, reached, run_backward, tape
from autopilot_runtime.training.metric import results_in
from autopilot_runtime.training.parameter import Parameter

log = logging.getLogger("autopilot_runtime.training")


@dataclass(slots=True)
class _Pending:
    source: Context | None
    gradient: Gradient


class Loss:
    """Judges results, batch by batch, then sends what it found back.

    `forward(data, targets)` may give a Gradient (or several), EvalDatums with feedback, or a number, which counts
    as a score only. A loss that keeps its own accounts overrides `backward`, too, and fills `parameter.grad` of
    `self._parameters`; these are what it was constructed with, else those of the module that is trained.
    """

    _parameters: list[Parameter]
    _pending: list[_Pending]
    _total: float
    _number: int

    def __new__(cls, *_: Any, **__: Any) -> Self:
        self = super().__new__(cls)
        self._parameters = []
        Loss.reset(self)
        return self

    def __init__(self, parameters: Iterable[Parameter] | None = None) -> None:
        if parameters is not None:
            self._parameters = list(parameters)

    def bind(self, parameters: Iterable[Parameter]) -> None:
        """The parameters of results whose origin nobody remembers, unless it was given some."""
        if not self._parameters:
            self._parameters = list(parameters)

    def forward(self, data: Any, targets: Any = None) -> Any:
        """Judge one batch."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(data, targets)")

    def __call__(self, data: Any, targets: Any = None) -> Any:
        result = self.forward(data, targets)
        self.note(data, result)
        return result

    def note(self, data: Any, result: Any) -> None:
        """Take in what `forward` gave for some data."""
        self.count_in(scores_of(result))
        found = feedback_of(result) if tape.recording else None
        if found is not None:
            self._pending.append(_Pending(origin(data), found))

    def count_in(self, scores: Iterable[float]) -> None:
        """Count these numbers in."""
        for one in scores:
            self._total, self._number = self._total + one, self._number + 1

    @property
    def mean_score(self) -> float | None:
        """The mean score since the last `reset`; None when it gives no numbers."""
        return self._total / self._number if self._number else None

    def backward(self) -> None:
        """Send the feedback since the last call to the parameters that had a part in the results."""
        pending, self._pending = self._pending, []
        for one in pending:
            if one.source is not None:
                if any(part.attribution for part in parts_of(one.gradient)):
                    _warn_of_strangers(one.gradient, reached(one.source) or self._parameters)
                run_backward(one.source, one.gradient)
            else:
                self._share(one.gradient)

    def _share(self, gradient: Gradient) -> None:
        if not self._parameters:
            raise TrainingError(
                f"{type(self).__name__} has feedback and does not know for what: the result it judged is not what a "
                "module in training returned. Return what module(batch) gave, or construct the loss with parameters="
            )
        _warn_of_strangers(gradient, self._parameters)
        for part in parts_of(gradient):
            for parameter in self._parameters:
                if not part.attribution or parameter.owns(part.attribution):
                    parameter.receive(part)

    def reset(self) -> None:
        """Forget everything since the last call."""
        self._pending, self._total, self._number = [], 0.0, 0


class FeedbackLoss(Loss):
    """What the results say of themselves: the feedback of every `EvalDatum` that is no success. What a module without
    a loss is trained by."""

    def forward(self, data: Any, targets: Any = None) -> Any:
        return [one for one in results_in(data) if isinstance(one, EvalDatum) and not one]


def _warn_of_strangers(gradient: Gradient, parameters: Sequence[Parameter]) -> None:
    for part in parts_of(gradient):
        if part.attribution and not any(one.owns(part.attribution) for one in parameters):
            names = [one.name for one in parameters if one.name]
            log.warning("feedback for %r reaches no parameter.%s", part.attribution, meant(part.attribution, names))


def feedback_of(result: Any) -> Gradient | None:
    """The feedback in what a loss or a judge gave; a bare number is a score, not feedback."""
    if isinstance(result, EvalDatum):
        text = result.feedback or result.error_message
        return TextGradient(text, items=(result.id,)) if text else None
    if isinstance(result, (int, float)):
        return None
    if isinstance(result, (list, tuple)):
        return gathered(found for found in map(feedback_of, result) if found is not None)
    return as_gradient(result)


def scores_of(result: Any) -> list[float]:
    """The numbers in what a loss or a judge gave."""
    if isinstance(result, (int, float)) and not isinstance(result, bool):
        return [float(result)]
    if isinstance(result, EvalDatum) and "loss" in result.metrics:
        return [float(result.metrics["loss"])]
    if isinstance(result, (list, tuple)):
        return [score for one in result for score in scores_of(one)]
    return []
