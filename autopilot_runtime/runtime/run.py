"""The state of one run: where it stands, what it has spent, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autopilot_runtime.core.errors import AutopilotError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.protocols import NOTHING_USED, RunResult, RunStatus, Usage
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.runtime.hearing import Hearing
from autopilot_runtime.tool.watch import Notice


class BudgetSpent(AutopilotError):
    """A limit of the agent file was reached, or the next model call would cross it; `what` is its key."""

    def __init__(self, what: str, spent: float, limit: float, *, coming: float = 0.0) -> None:
        more = "" if spent >= limit else f", and the next call would take about {coming:g}"
        super().__init__(f"The run stopped at its limit {what} = {limit:g} ({spent:g} used{more}).")
        self.what = what
        self.spent = spent
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, before it is told to anybody."""

    status: RunStatus
    summary: str | None = None
    error: Exception | None = None
    output: Any = None


@dataclass
class Run:
    """One `run()` in progress. `span` is the scope of the current step."""

    id: str
    task: int
    scope: Scope
    span: Scope
    max_steps: int
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    timeout_s: float | None = None
    price: Callable[[Usage], float | None] = lambda _: None  # of a call of this size
    clock: Callable[[], float] = time.monotonic
    step: int = 0
    usage: Usage = NOTHING_USED
    newest: Usage = NOTHING_USED  # of the last model call
    files_changed: dict[str, None] = field(default_factory=dict)
    hearing: Hearing | None = None
    started: float = 0.0
    empty_replies: int = 0
    unused: Sequence[str] = ()  # payload blocks of the last reply that nobody took
    noticed: list[Notice] = field(default_factory=list)  # by others, in files the agent knows
    state: dict[str, dict[str, Any]] = field(default_factory=dict)  # of tools, by name

    def __post_init__(self) -> None:
        self.started = self.clock()

    def next_step(self) -> None:
        """Enter the next step, or raise `BudgetSpent`."""
        self.check_budget()
        self.step += 1
        self.span = self.scope.child()
        self.span.emit(EventType.STEP, step=self.step, max_steps=self.max_steps)

    def check_budget(self) -> None:
        """Raise when something that is limited is used up, or would not last for one more model call."""
        coming = self.forecast()
        spent = (
            ("max_cost_usd", self.usage.cost_usd, self._cost_of(coming), self.max_cost_usd),
            ("max_tokens_total", self.tokens, (coming.input_total or 0) + (coming.output or 0), self.max_tokens),
            ("timeout_s", self.elapsed, 0.0, self.timeout_s),
        )
        for what, used, more, limit in spent:
            if used is not None and limit is not None and (used >= limit or used + more > limit):
                raise BudgetSpent(what, used, limit, coming=more)

    def forecast(self) -> Usage:
        """The next model call: the conversation as it was, plus the last reply, answered at the same length.

        What the last call read from or wrote to the provider's cache is read from it then.
        """
        last = self.newest
        if not last.calls:
            return last
        whole = (last.input_total or 0) + (last.output or 0)
        return replace(last, input_total=whole, cache_read=last.cache_read + last.cache_write, cache_write=0)

    def _cost_of(self, coming: Usage) -> float:
        if not coming.cost_usd:  # free, or its price is unknown, like that of the call before it
            return 0.0
        priced = self.price(coming) if coming.cost_source == "price_table" else None
        return coming.cost_usd if priced is None else priced

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self.started

    @property
    def tokens(self) -> int:
        """Input and output tokens so far, as far as they are known."""
        return (self.usage.input_total or 0) + (self.usage.output or 0)

    def spend(self, usage: Usage) -> None:
        """Add one model call to the bill and tell it."""
        self.usage = self.usage + usage
        self.newest = usage
        self.span.emit(
            EventType.USAGE,
            input_total=usage.input_total,
            cache_read=usage.cache_read,
            cache_write=usage.cache_write,
            output=usage.output,
            reasoning=usage.reasoning,
            cost_usd=usage.cost_usd,
            cost_source=usage.cost_source,
            total_cost_usd=self.usage.cost_usd,
            total_tokens=self.tokens,
        )

    def result(self, ending: Ending) -> RunResult:
        """What `runtime.last` shows afterwards."""
        return RunResult(
            status=ending.status,
            summary=ending.summary,
            output=ending.output,
            steps=self.step,
            usage=self.usage,
            cost_usd=self.usage.cost_usd,
            files_changed=tuple(self.files_changed),
            run_id=self.id,
            session_id=self.scope.session_id,
            error=ending.error,
        )
