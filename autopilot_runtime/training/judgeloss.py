"""A loss that asks a judge: what the judge finds becomes feedback, what it cannot judge is an error and no score."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from autopilot_runtime.core.bridge import bridge
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training.answer import Verdict, verdict_of
from autopilot_runtime.training.asking import gathered_in_order, limited, name_of
from autopilot_runtime.training.collate import Collating, ConcatCollator, collated
from autopilot_runtime.training.datum import Batch, EvalDatum
from autopilot_runtime.training.fault import EvaluationFailed, TrainingError
from autopilot_runtime.training.gradient import Gradient, gathered, parts_of
from autopilot_runtime.training.graph import origin, reached, tape
from autopilot_runtime.training.judge import JudgeAgent, Judgement, evaluated
from autopilot_runtime.training.loss import Loss, _Pending, scores_of
from autopilot_runtime.training.parameter import Parameter

log = logging.getLogger("autopilot_runtime.training")
_GIVE_UP = 20  # results in a row that could not be judged: the judge is down, and training would go on blind


@dataclass(slots=True)
class _Case:
    """One result on its way through the judge."""

    result: Any
    target: Any
    item: str
    verdict: Verdict | None = None
    error: str = ""


class JudgeLoss(Loss):
    """Asks `judge` about every result, and lets `collator` put together what it found, for each parameter.

    A judge is a `JudgeAgent`, an object with `judge(result, target)`, a function of these (or of the result alone),
    async or not, or an agent. It may answer with a score, true or false, a text, a mapping (score, passed, feedback,
    attribution, severity, issues), an `EvalDatum`, feedback, or a tuple of these. What it finds in a result that is
    an `EvalDatum` is noted there, too: metrics `score` and `loss`, `feedback`, and `error_message` when it failed.
    A result it cannot judge gives no feedback; where a state is measured, `EvaluationFailed` is raised.
    """

    def __init__(
        self,
        judge: Any,
        collator: Collating | None = None,
        *,
        parameters: Iterable[Parameter] | None = None,
        timeout: float | None = 300.0,
        retries: int = 1,
        at_once: int | None = None,
        best: float = 1.0,
    ) -> None:
        super().__init__(parameters)
        self.judge = judge
        self.collator: Collating = ConcatCollator() if collator is None else collator
        self.timeout, self.retries, self.best = timeout, retries, best
        self._call, self._arity, waits = _calling(judge)
        self.at_once = at_once or (4 if waits else 1)  # what is not async may not be safe to call side by side
        self._failed_in_a_row = 0

    def forward(self, data: Any, targets: Any = None) -> Any:
        """The verdicts as evaluations: one for each result, or a single one for a single result."""
        several, cases = _cases(data, targets)
        bridge().call(gathered_in_order([self._judged(case) for case in cases], at_once=self.at_once))
        for case in cases:
            self._count(case)
        broken = next((case.error for case in cases if case.verdict is None), "")
        if broken and not tape.recording:
            # While it is measured: a figure without the items that could not be judged would be another figure.
            raise EvaluationFailed(f"not judged: {broken}")
        found = [self._told(case) for case in cases]
        return found if several else found[0]

    async def _judged(self, case: _Case) -> None:
        given = (case.result, case.target)[: self._arity]
        for left in range(self.retries, -1, -1):
            try:
                answer = await limited(self._call, *given, timeout=self.timeout, what=name_of(self.judge))
                case.verdict, case.error = verdict_of(answer, item=case.item), ""
                return
            except SetupError:
                raise
            except EvaluationFailed as error:
                case.error = str(error)
                return  # too slow, or a judge that has tried again by itself
            except Exception as error:
                case.error = f"{name_of(self.judge)} raised {type(error).__name__}: {error}"
                log.info("%s (%d tries left)", case.error, left)

    def _count(self, case: _Case) -> None:
        self._failed_in_a_row = 0 if case.verdict is not None else self._failed_in_a_row + 1
        if self._failed_in_a_row == 1:
            log.warning("a result could not be judged, and gives no feedback: %s", case.error)
        if self._failed_in_a_row >= _GIVE_UP:
            raise EvaluationFailed(f"{self._failed_in_a_row} results in a row could not be judged: {case.error}")

    def _told(self, case: _Case) -> Judgement:
        """What the judge said, noted on the result, too, where that can hold it."""
        if case.verdict is None:
            found = Judgement(id=case.item, success=False, error_message=f"not judged: {case.error}")
        else:
            found = evaluated(case.verdict, item=case.item, best=self.best)
        result = case.result
        if isinstance(result, EvalDatum):
            result.metrics.update(found.metrics)
            result.error_message = result.error_message or found.error_message
            result.feedback = "\n".join(filter(None, (result.feedback, found.feedback)))
            if case.verdict is not None and case.verdict.passed is not None:
                result.success = case.verdict.passed
        return found

    def note(self, data: Any, result: Any) -> None:
        """Take in what the judge said of some results, each for what that result came from."""
        self.count_in(scores_of(result))
        if not tape.recording:
            return  # what held-out data shows is measured, and never learned from
        several = isinstance(result, list)
        for one, judged in zip(list(data) if several else [data], result if several else [result], strict=True):
            found = gathered(judged.found)
            if found is not None:
                self._pending.append(_Pending(origin(one) or origin(data), found))

    def backward(self) -> None:
        """Send what was found to the parameters that had a part in it, put together for each of them."""
        known = {id(one): one for one in self._parameters}
        for pending in self._pending:
            if pending.source is not None:
                known |= {id(one): one for one in reached(pending.source)}
        before = {key: one.grad for key, one in known.items()}
        for one in known.values():
            one.grad = None
        try:
            super().backward()
        finally:
            made: dict[tuple[int, ...], Gradient | None] = {}
            for key, one in known.items():
                one.grad = self._together(before[key], one.grad, made)

    def _together(
        self, old: Gradient | None, new: Gradient | None, made: dict[tuple[int, ...], Gradient | None]
    ) -> Gradient | None:
        if new is None:
            return old
        parts = parts_of(new)
        key = tuple(map(id, parts))
        if key not in made:  # feedback for all of them is put together once
            made[key] = collated(self.collator, parts)
        return gathered(one for one in (old, made[key]) if one is not None)


def _calling(judge: Any) -> tuple[Callable[..., Any], int, bool]:
    """What is called for one result, with how many arguments, and whether calls may overlap."""
    if isinstance(judge, JudgeAgent):
        return judge.judged, 2, True
    call = getattr(judge, "judge", None)
    if call is None and callable(getattr(judge, "run", None)):
        return JudgeAgent(judge).judged, 2, True
    call = call or judge
    if not callable(call):
        raise TrainingError(
            f"{type(judge).__name__} is no judge: give a function of (result, target), an object with judge(result, "
            "target), or an agent"
        )
    return call, _takes(call), inspect.iscoroutinefunction(call)


def _takes(call: Callable[..., Any]) -> int:
    try:
        kinds = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        return 2
    if any(one.kind is one.VAR_POSITIONAL for one in kinds):
        return 2
    return min(2, sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in kinds))


def _cases(data: Any, targets: Any) -> tuple[bool, list[_Case]]:
    """Each result with its target: several of one length are paired, all else is one case."""
    several = isinstance(data, (list, tuple, Batch))
    results: Sequence[Any] = list(data) if several else [data]
    wanted = list(targets) if isinstance(targets, (list, tuple, Batch)) else [targets] * len(results)
    if several and len(wanted) != len(results):
        if len(wanted) > 1:
            raise TrainingError(f"{len(results)} results and {len(wanted)} targets: give one result for each item")
        wanted = wanted * len(results) or [None] * len(results)
    if not several and len(wanted) != 1:
        wanted = [targets]
    return several, [_Case(one, target, _item(one, target)) for one, target in zip(results, wanted, strict=True)]


def _item(result: Any, target: Any) -> str:
    return str(getattr(target, "id", "") or getattr(result, "id", ""))
