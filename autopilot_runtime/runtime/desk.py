"""The desk where a control block's tool calls arrive: bound, decided, told, made, and answered, one at a time."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from autopilot_runtime.block.reply import Payload
from autopilot_runtime.core.bridge import Contained, contained, in_thread
from autopilot_runtime.core.errors import ReplayError, SessionError, ToolError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.protocols import BlockResult, Call, Outcome, RunResult
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.core.turn import turn
from autopilot_runtime.runtime.ledger import Book, Known
from autopilot_runtime.runtime.named import misnamed
from autopilot_runtime.runtime.requests import Suspended
from autopilot_runtime.runtime.rights import Rights
from autopilot_runtime.runtime.run import Run
from autopilot_runtime.runtime.standing import standing
from autopilot_runtime.tool.bind import bind
from autopilot_runtime.tool.context import ContextMemory, PayloadQueue, ToolContext, nothing_to_do
from autopilot_runtime.tool.define import Tool
from autopilot_runtime.tool.plain import ToolResult, brief, plain, show
from autopilot_runtime.tool.registry import ToolRegistry
from autopilot_runtime.tool.workspace import Draft, Workspace

if TYPE_CHECKING:
    from autopilot_runtime.shell.pool import TerminalPool

T = TypeVar("T")
Ask = Callable[..., Awaitable[str]]
Delegate = Callable[..., Awaitable[RunResult]]
ERROR_CHARS = 8_000
TOOL_SECONDS = 600.0
_WORTH_KEEPING = 0.05  # seconds: the outcome of a call that took this long is kept at once, even if it only looked


class Desk:
    """Serves the calls of one block. `call` is what the sandbox calls."""

    def __init__(
        self,
        run: Run,
        scope: Scope,
        payloads: Sequence[Payload],
        *,
        book: Book,
        registry: ToolRegistry,
        rights: Rights,
        workspace: Workspace,
        ask: Ask,
        delegate: Delegate,
        terminals: Callable[[], TerminalPool],
        memory: ContextMemory,
    ) -> None:
        self._run = run
        self._scope = scope
        self._given = payloads
        self._payloads = PayloadQueue(payloads)
        self._registry = registry
        self._rights = rights
        self._workspace = workspace
        self._ask = ask
        self._delegate = delegate
        self._terminals = terminals
        self._memory = memory
        self._limit: asyncio.Timeout | None = None
        self._resting = 0
        self._emitted: list[str] = []
        self._book = book
        self._asked: dict[int, int] = {}  # by call: how many questions it has asked, and agents it has called
        self.fault: SessionError | None = None  # what was done could not be kept: the block ends, and with it the run
        self.suspended: list[str] = []  # requests nobody answers now: the block ends at the call that waits for them

    def misnamed(self, code: str) -> BlockResult | None:
        """The result of a block whose writes and payload blocks disagree about a name; None when it may run."""
        return misnamed(code, self._given, registry=self._registry, workspace=self._workspace)

    async def call(self, call: Call) -> Outcome:
        """Answer one call: with what is recorded of it, else by making it. Never raises what goes wrong in a tool."""
        await turn()
        try:
            return await self._answered(call)
        except SessionError as error:
            self.fault = error
            return Outcome(error=str(error), fatal=True)

    async def _answered(self, call: Call) -> Outcome:
        try:
            known = self._book.known(call)
        except ReplayError as error:
            return Outcome(error=str(error), error_type="ReplayError", fatal=True)
        tool = self._registry.get(call.tool)
        recorded = await self._recorded(known, call) if known is not None else None
        if known is not None and recorded is not None:
            self._run.recalls(known.wrote, recorded.value, named_terminal(call))
            self._pass_over(tool, call)
            return recorded
        if tool is None:
            return Outcome(error=f"There is no tool {call.tool!r}.", error_type="NameError")
        begun = time.monotonic()
        try:
            outcome = await self._new(tool, call)
        except Suspended as error:
            self.suspended += error.requests
        if self.suspended:
            await self._book.withdraw(call)
            return Outcome(error="The run waits for an answer.", fatal=True)
        now = tool.effect != "read" or time.monotonic() - begun > _WORTH_KEEPING
        if tool.calls_agents:  # what they have used is on the bill for good: they are not called again
            self._run.helped.clear()
            self._book.stand(standing(self._run))
        await self._book.settle(call, outcome, now=now or tool.calls_agents, looks=tool.effect == "read")
        return outcome

    async def _recorded(self, known: Known, call: Call) -> Outcome | None:
        """What a recorded call gave; None for one that was begun and certainly not made."""
        if known.settled:
            return known.outcome
        outcome: Outcome | None = known.outcome
        if known.write is not None:
            made = await in_thread(self._workspace.was_made, known.write)
            if made:
                told = known.write
                self._run.changed(str(told["shown"]))
                outcome = Outcome(told["summary"], told["told"])
            elif made is False:
                outcome = None
        if outcome is not None:
            await self._book.settle(call, outcome, now=True)
        return outcome

    def _pass_over(self, tool: Tool | None, call: Call) -> None:
        """A call that is not made again takes its payload blocks all the same."""
        if tool is None or tool.spec.payloads is None:
            return
        try:
            self._payloads.take(tool.spec.payloads(self._bound(tool, call)))
        except (TypeError, ToolError):
            return  # it had the same fault then, and that is what was recorded

    async def _new(self, tool: Tool, call: Call) -> Outcome:
        scope = self._scope.child()
        try:
            arguments = self._bound(tool, call)
            context = self._context(tool, scope, arguments, call=call)
            place = self._place(call)
            arguments = await self._rights.permit(tool, context, arguments, scope=scope, place=place)
        except (Suspended, SessionError):
            raise
        except Exception as error:
            return _failed(error)
        if tool.effect != "read":
            plan = context.plan
            await self._book.intend(call, write=plan.record() if isinstance(plan, Draft) else None)
        elif tool.calls_agents:
            await self._book.withdraw(call)  # their sessions know how far they got: it is made again to hear that
        return await self._make(tool, context, arguments, scope=scope)

    def _place(self, call: Call) -> str:
        """The same for the same question of the same call, whenever and wherever it is made."""
        number = self._asked[call.index] = self._asked.get(call.index, 0) + 1
        return f"{self._book.name}.{call.index}.{number}"

    def _bound(self, tool: Tool, call: Call) -> dict[str, Any]:
        try:
            return bind(tool.spec, call.args, call.kwargs)
        except TypeError:
            if tool.spec.payloads is not None:
                # Nobody knows which payload this call meant, so none of the rest can be told apart any more.
                self._payloads.take(len(self._payloads))
            raise

    async def _make(self, tool: Tool, context: ToolContext, arguments: dict[str, Any], *, scope: Scope) -> Outcome:
        scope.emit(EventType.TOOL_CALL, tool=tool.name, args=_told(tool, arguments), label=tool.label(arguments))
        begun = time.monotonic()
        self._emitted.clear()
        try:
            if tool.effect == "run":
                await self._run.before_program()
            outcome = self._outcome(await self._invoke(tool, context, arguments))
            if self.suspended:  # whatever the tool made of that: it is called again once the answer is there
                raise Suspended(())
        except asyncio.CancelledError:
            self._done(tool, scope, Outcome(error="stopped"), begun=begun)
            raise
        except Suspended:
            self._done(tool, scope, Outcome(error="waits for an answer"), begun=begun)
            raise
        except Exception as error:
            if self.suspended:
                self._done(tool, scope, Outcome(error="waits for an answer"), begun=begun)
                raise Suspended(()) from error
            outcome = _failed(error)
        self._done(tool, scope, outcome, begun=begun)
        return outcome

    async def _invoke(self, tool: Tool, context: ToolContext, arguments: dict[str, Any]) -> Any:
        """Call the function where it belongs: a coroutine here, plain code on a thread of its own."""
        own = arguments.get("timeout")
        seconds = TOOL_SECONDS + (own if isinstance(own, (int, float)) and math.isfinite(own) else 0)
        stopped: list[bool] = []
        context.is_aborted = lambda: bool(stopped)
        try:
            async with asyncio.timeout(seconds) as self._limit:
                if tool.is_async:
                    return await contained(tool.call(context, arguments))
                result = await in_thread(tool.call, context, arguments)
                return await contained(result) if inspect.isawaitable(result) else result
        except asyncio.CancelledError:
            stopped.append(True)
            raise
        except TimeoutError as error:
            if self._limit is not None and self._limit.expired():
                stopped.append(True)
                raise ToolError(f"{tool.name} did not return within {seconds:g} s and was given up.") from error
            raise

    async def _at_rest(self, work: Awaitable[T]) -> T:
        """A person, or another agent, may take their time: until they are done, the call's time limit rests."""
        limit, loop = self._limit, asyncio.get_running_loop()
        self._resting += 1
        if limit is not None:
            limit.reschedule(None)
        try:
            return await work
        finally:
            self._resting -= 1
            if limit is not None and not limit.expired() and not self._resting:
                limit.reschedule(loop.time() + TOOL_SECONDS)

    def _done(self, tool: Tool, scope: Scope, outcome: Outcome, *, begun: float) -> None:
        for change in self._workspace.drain():
            self._run.changed(change.path)
            scope.emit(EventType.FILE_CHANGED, path=change.path, change=change.kind, diff=change.diff)
        scope.emit(
            EventType.TOOL_RESULT,
            tool=tool.name,
            result=(outcome.shown if outcome.error is None else outcome.error) or "",
            note=outcome.note,
            ok=outcome.error is None,
            elapsed=time.monotonic() - begun,
        )

    def _outcome(self, result: Any) -> Outcome:
        """The value for the code and the text for the reader, with what the tool added by `emit`."""
        shown = result.shown if isinstance(result, ToolResult) else None
        value = plain(result.value if isinstance(result, ToolResult) else result)
        shown = show(value) if shown is None else shown
        texts = [*self._emitted, *([shown] if shown is not None else [])]
        told = result if isinstance(result, ToolResult) else ToolResult()
        text = "\n".join(texts) if texts else None
        return Outcome(value, text, note=told.note, source=told.source, whole=told.whole)

    async def _asks(self, question: str, scope: Scope, call: Call) -> str:
        try:
            return await self._at_rest(self._ask(question, scope, place=self._place(call)))
        except Suspended as error:
            self.suspended += error.requests
            raise

    async def _delegates(self, tool: Tool, scope: Scope, call: Call, *given: Any) -> RunResult:
        work = self._delegate(self._run, scope, tool, *given, place=self._place(call))
        result = await self._at_rest(work)
        if isinstance(result.error, Suspended):
            self.suspended += result.error.requests
            raise result.error
        return result

    def _context(self, tool: Tool, scope: Scope, arguments: dict[str, Any], *, call: Call) -> ToolContext:
        takes = tool.spec.payloads(arguments) if tool.spec.payloads else 0
        return ToolContext(
            tool=tool.name,
            workspace=self._workspace,
            config=tool.config,
            payloads=self._payloads.take(takes),
            step=self._run.step,
            state=self._run.state.setdefault(tool.name, {}),
            on_emit=self.emit,
            on_event=lambda kind, data: _ignored(scope.emit(kind, **scope.stream.redactor.mask_value(data))),
            on_ask=lambda question: self._asks(question, scope, call),
            open_terminals=self._open_terminals,
            memory=self._memory,
            before_program=nothing_to_do if tool.effect == "read" else self._run.before_program,
            agents=tool.agents,
            run_agent=lambda *given: self._delegates(tool, scope, call, *given),
        )

    def _open_terminals(self) -> TerminalPool:
        pool = self._terminals()
        pool.recall(self._run.folders)
        self._run.folders.clear()
        return pool

    def emit(self, text: str) -> None:
        """Add text to what the call at work shows."""
        self._emitted.append(text)

    @property
    def unused(self) -> list[str]:
        """A name for each payload block that no call has taken; a number counts all of the reply, from 1."""
        left, given = self._payloads.left, len(self._given)
        return [p.filename or f"block {n} of {given}" for n, p in enumerate(left, given - len(left) + 1)]


def named_terminal(call: Call) -> Any:
    """The terminal that a call of a shell tool names."""
    return call.kwargs.get("session_id", call.args[0] if call.args else None)


def _failed(error: Exception) -> Outcome:
    """An exception as the block sees it: under its own name where Python has it built in."""
    inner = error.inner if isinstance(error, Contained) else error
    kind = type(inner).__name__
    try:
        text = str(error)
    except Exception as broken:
        text = f"{kind} (its text cannot be shown: {type(broken).__name__})"
    if isinstance(inner, ToolError) or type(inner).__module__ != "builtins" or not isinstance(inner, Exception):
        known = isinstance(inner, ToolError)
        text, kind = text if known or kind in text else f"{kind}: {text}", "ToolError"
    return Outcome(error=text[:ERROR_CHARS] or kind, error_type=kind)


def _told(tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as events carry them: without defaults, long texts cut, odd values as text."""
    defaults = {param.name: param.default for param in tool.spec.params if not param.required}
    given = {key: value for key, value in arguments.items() if key not in defaults or value != defaults[key]}
    return {key: value if _small(value) else brief(value, 2_000) for key, value in given.items()}


def _small(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) < 10_000)


def _ignored(_: object) -> None:
    return None
