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
from autopilot_runtime.tool.bounds import Bounds
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
    caller: Run | None = None  # of a sub-agent: what this run spends and changes, its caller does
    spent_usd: float = 0.0  # as far as prices are known: a model without one must not end the limit for the others
    tokens: int = 0  # input and output, as far as they are known

    def __post_init__(self) -> None:
        self.started = self.clock()

    def next_step(self) -> None:
        """Enter the next step, or raise `BudgetSpent`."""
        self.check_budget()
        self.step += 1
        self.span = self.scope.child()
        self.span.emit(EventType.STEP, step=self.step, max_steps=self.max_steps)

    def check_budget(self, *, calls: int = 1) -> None:
        """Raise when something that is limited is used up, or would not last for so many more model calls."""
        coming = self.forecast()
        self._afford(calls * self._cost_of(coming), calls * _size(coming))

    def _afford(self, cost: float, tokens: int) -> None:
        """Raise when this run, or its caller, cannot pay for such a model call."""
        spent = (
            ("max_cost_usd", self.spent_usd, cost, self.max_cost_usd),
            ("max_tokens_total", self.tokens, tokens, self.max_tokens),
            ("timeout_s", self.elapsed, 0.0, self.timeout_s),
        )
        for what, used, more, limit in spent:
            if limit is not None and (used >= limit or used + more > limit):
                raise BudgetSpent(what, used, limit, coming=more)
        if self.caller is not None:  # several sub-agents at once share what it had left when each began
            self.caller._afford(cost, tokens)

    def forecast(self) -> Usage:
        """The next model call: the conversation as it was, plus the last reply, answered at the same length.

        What the last call read from or wrote to the provider's cache is read from it then.
        """
        last = self.newest
        if not last.calls:
            return last
        return replace(last, input_total=_size(last), cache_read=last.cache_read + last.cache_write, cache_write=0)

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
    def left(self) -> Bounds:
        """What a sub-agent may use: all that is left but one model call, in which its caller reads the result."""
        coming = self.forecast()
        cost, tokens, seconds = self.max_cost_usd, self.max_tokens, self.timeout_s
        return Bounds(
            cost_usd=None if cost is None else max(0.0, cost - self.spent_usd - self._cost_of(coming)),
            tokens=None if tokens is None else max(0, tokens - self.tokens - _size(coming)),
            seconds=None if seconds is None else max(0.0, seconds - self.elapsed),
        )

    def under(self, caller: Run, bounds: Bounds) -> None:
        """Become the run of a sub-agent: nothing it may use is more than `bounds`."""
        self.caller = caller
        least = bounds.within(Bounds(self.max_steps, self.max_cost_usd, self.max_tokens, self.timeout_s))
        self.max_steps = least.steps or self.max_steps
        self.max_cost_usd, self.max_tokens, self.timeout_s = least.cost_usd, least.tokens, least.seconds

    def spend(self, usage: Usage) -> None:
        """Add one model call to the bill and tell it, with what the whole run has cost so far."""
        self.newest = usage
        whole = self._charge(usage)
        self.span.emit(
            EventType.USAGE,
            input_total=usage.input_total,
            cache_read=usage.cache_read,
            cache_write=usage.cache_write,
            output=usage.output,
            reasoning=usage.reasoning,
            cost_usd=usage.cost_usd,
            cost_source=usage.cost_source,
            total_cost_usd=whole.usage.cost_usd,
            total_tokens=whole.tokens,
        )

    def _charge(self, usage: Usage) -> Run:
        """Put it on this bill and on the caller's; gives the run at the top."""
        self.usage = self.usage + usage
        self.spent_usd += usage.cost_usd or 0.0
        self.tokens += _size(usage)
        return self if self.caller is None else self.caller._charge(usage)

    def changed(self, path: str) -> None:
        """A file was changed, on behalf of the caller, too."""
        self.files_changed[path] = None
        if self.caller is not None:
            self.caller.changed(path)

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


def _size(usage: Usage) -> int:
    return (usage.input_total or 0) + (usage.output or 0)
