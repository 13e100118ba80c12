"""The state of one run: where it stands, what it has spent, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import proxy

from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.protocols import NOTHING_USED, RunResult, RunStatus, Usage
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.runtime.agentschema import SessionLimits
from autopilot_runtime.runtime.footprint import Footprint
from autopilot_runtime.runtime.hearing import Hearing
from autopilot_runtime.runtime.purse import Amount, Purse, size
from autopilot_runtime.tool.bounds import Bounds
from autopilot_runtime.tool.watch import Notice


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
    said: list[str] = field(default_factory=list)  # what the runtime has to say with the next result
    state: dict[str, dict[str, Any]] = field(default_factory=dict)  # of tools, by name
    footprint: Footprint | None = None  # what it does to files; a sub-agent's is its caller's
    caller: Run | None = None  # of a sub-agent: what this run spends and changes, its caller does
    nest: str = ""  # the session of a sub-agent
    helped: dict[str, Usage] = field(default_factory=dict)  # by nest: what of each sub-agent is on this bill
    session_purse: Purse | None = None
    before: dict[str, float] = field(default_factory=dict)  # what earlier runs of the session have used
    resumed_from: str = ""  # how it had ended when it was taken up again; "running" when it was interrupted
    folders: dict[str, str] = field(default_factory=dict)  # where terminals of an earlier process stood
    elsewhere: bool = False  # it was begun in another process: terminals and connections of it are gone

    def __post_init__(self) -> None:
        self.started = self.clock()
        self._open_purse()

    def _open_purse(self) -> None:
        here = proxy(self)  # a run and its purse that held each other would both wait for the garbage collector
        above = (self.session_purse,) if self.session_purse else ()
        self.purse: Purse = Purse(
            usd=self.max_cost_usd,
            tokens=self.max_tokens,
            seconds=self.timeout_s,
            elapsed=lambda: here.elapsed,
            above=above if self.caller is None else (*above, self.caller.purse),
        )

    def next_step(self) -> None:
        """Enter the next step, or raise `BudgetSpent`."""
        self.check_budget()
        self.step += 1
        self.span = self.scope.child()
        self.span.emit(EventType.STEP, step=self.step, max_steps=self.max_steps)

    def check_budget(self, *, calls: int = 1) -> None:
        """Raise when something that is limited is used up, or would not last for so many more model calls."""
        coming = self._coming()
        self.purse.check(Amount(coming.usd * calls, coming.tokens * calls))

    @contextmanager
    def set_aside(self, *, expected: int, longest: int | None) -> Iterator[int | None]:
        """Hold back what the next model call may take; gives how long its reply may be.

        `expected` is its input as the meter sees it. Before the first call nothing has been counted by the provider,
        so there is no estimate to hold anything to.
        """
        coming = self._coming()
        if self.newest.calls:
            longest = self._longest(expected, longest)
        with self.purse.set_aside(coming):
            yield longest

    def _longest(self, expected: int, longest: int | None) -> int | None:
        """How long a reply may be without crossing a limit, whatever the model has in mind."""
        known = replace(self.forecast(), output=0)
        per_input, per_output = (self._rate(kind) for kind in ("input_total", "output"))
        dollars = (self.price(known) or 0.0) + max(0, expected - (known.input_total or 0)) * per_input
        room = self.purse.room(Amount(dollars if per_output else 0.0, expected), per_token=per_output)
        return longest if room is None else min(room, longest or room)

    def _rate(self, kind: str) -> float:
        """Dollars for one token; 0 where the price is not known, or not from the table."""
        if self.newest.cost_source != "price_table" or not self.newest.cost_usd:
            return 0.0
        million: dict[str, Any] = {kind: 1_000_000}
        return (self.price(replace(NOTHING_USED, **million)) or 0.0) / 1_000_000

    def _coming(self) -> Amount:
        coming = self.forecast()
        return Amount(self._cost_of(coming), size(coming))

    def forecast(self) -> Usage:
        """The next model call: the conversation as it was, plus the last reply, answered at the same length.

        What the last call read from or wrote to the provider's cache is read from it then.
        """
        last = self.newest
        if not last.calls:
            return last
        return replace(last, input_total=size(last), cache_read=last.cache_read + last.cache_write, cache_write=0)

    def _cost_of(self, coming: Usage) -> float:
        if not coming.cost_usd:  # free, or its price is unknown, like that of the call before it
            return 0.0
        priced = self.price(coming) if coming.cost_source == "price_table" else None
        return coming.cost_usd if priced is None else priced

    def budget_line(self, *, context: int) -> str:
        """What is spent and what is left; `context` is the size of the conversation that is sent next, in tokens."""
        coming = self._coming()
        if self.newest.calls:
            coming = Amount(coming.usd, max(coming.tokens, context))
        return self.purse.line(spent=self.usage.cost_usd, coming=coming)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self.started

    def left(self, nest: str) -> Bounds:
        """What a sub-agent may use: all that is left but one model call, in which its caller reads the result.

        One that goes on counts from its beginning: what of it is on the bill is not taken off again.
        """
        coming, spent = self._coming(), self.purse.spent - Amount.of(self.helped.get(nest, NOTHING_USED))
        cost, tokens, seconds = self.max_cost_usd, self.max_tokens, self.timeout_s
        return Bounds(
            cost_usd=None if cost is None else max(0.0, cost - spent.usd - coming.usd),
            tokens=None if tokens is None else max(0, tokens - spent.tokens - coming.tokens),
            seconds=None if seconds is None else max(0.0, seconds - self.elapsed),
        )

    def under(self, caller: Run, bounds: Bounds, *, nest: str) -> None:
        """Become the run of a sub-agent in the session `nest`: nothing it may use is more than `bounds`."""
        self.caller, self.footprint, self.nest = caller, caller.footprint, nest
        least = bounds.within(Bounds(self.max_steps, self.max_cost_usd, self.max_tokens, self.timeout_s))
        self.max_steps = least.steps or self.max_steps
        self.max_cost_usd, self.max_tokens, self.timeout_s = least.cost_usd, least.tokens, least.seconds
        self._open_purse()

    def within(self, limits: SessionLimits) -> None:
        """Count what is spent against what all runs of the session may use, too."""
        here, before = proxy(self), self.before
        self.session_purse = Purse(
            usd=limits.max_cost_usd,
            tokens=limits.max_tokens_total,
            seconds=limits.timeout_s,
            elapsed=lambda: here.elapsed + before.get("seconds", 0.0),
            kind="per_session.",
        )
        self.session_purse.spent = Amount(before.get("usd", 0.0), int(before.get("tokens", 0)))
        self._open_purse()

    def spend(self, usage: Usage) -> None:
        """Add one model call to the bill and tell it, with what the whole run has cost so far."""
        self.newest = usage
        self.purse.spend(Amount.of(usage))
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
            total_tokens=size(whole.usage),
        )

    def _charge(self, usage: Usage) -> Run:
        """Put it on this bill and on the caller's; gives the run at the top."""
        self.usage = self.usage + usage
        if self.caller is None:
            return self
        self.caller.helped[self.nest] = self.caller.helped.get(self.nest, NOTHING_USED) + usage
        return self.caller._charge(usage)

    async def before_program(self) -> None:
        """A program is about to run, and may change anything."""
        if self.footprint is not None:
            await self.footprint.before_program()

    def owe_again(self, usage: Usage) -> None:
        """Put on the bill what an interrupted part of this run had used already."""
        self.usage = self.usage + usage
        if self.caller is None:
            self.purse.spend(Amount.of(usage))
        else:
            self.purse.spent += Amount.of(usage)
            self.caller.owe_for(self.nest, usage)

    def owe_for(self, nest: str, usage: Usage) -> None:
        """A sub-agent has used so much in all: put on the bill what of it is not there yet."""
        missing = usage - self.helped.get(nest, NOTHING_USED)
        if missing.calls > 0:
            self.helped[nest] = usage
            self.purse.spend(Amount.of(missing))
            self._charge(missing)

    def changed(self, path: str) -> None:
        """A file was changed, on behalf of the caller, too."""
        self.files_changed[path] = None
        if self.caller is not None:
            self.caller.changed(path)

    def recalls(self, wrote: str, value: Any, session_id: Any) -> None:
        """A recorded outcome was given back: a file it had changed, and the folder its terminal stood in."""
        if wrote:
            self.changed(wrote)
        if isinstance(value, dict) and isinstance(value.get("cwd"), str) and isinstance(session_id, str):
            self.folders[session_id] = value["cwd"]

    def tell_end(self, ending: Ending) -> None:
        """The last event of every run."""
        self.scope.emit(
            EventType.RUN_ENDED,
            status=ending.status,
            summary=ending.summary,
            steps=self.step,
            cost_usd=self.usage.cost_usd,
            files_changed=list(self.files_changed),
            error=str(ending.error) if ending.error else None,
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
