"""What a tool may use while it runs: built by the runtime for each call."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.protocols import RunResult
from autopilot_runtime.tool.bounds import Bounds
from autopilot_runtime.tool.workspace import Workspace

if TYPE_CHECKING:
    from autopilot_runtime.shell.pool import TerminalPool
    from autopilot_runtime.shell.program import ProgramResult


class Payload(Protocol):
    """A payload block of a reply: its exact content, and the `filename=` of its fence if there is one."""

    @property
    def content(self) -> str: ...
    @property
    def filename(self) -> str | None: ...


class PayloadQueue:
    """Payload blocks in the order of the reply. A call's own share is taken off before the call begins."""

    def __init__(self, payloads: Sequence[Payload] = ()) -> None:
        self._payloads = tuple(payloads)
        self._next = 0

    def __len__(self) -> int:
        return len(self._payloads) - self._next

    @property
    def left(self) -> tuple[Payload, ...]:
        """Those nobody has taken."""
        return self._payloads[self._next :]

    def take(self, count: int) -> PayloadQueue:
        """The next `count` as a queue of their own. They are gone from here whatever becomes of the call:
        a refused write must not hand its content on to the next one."""
        if count > len(self):
            have = f"only {len(self)} left" if self._payloads else "the reply has none"
            raise ToolError(
                f"This call needs {count} payload block{'s' if count != 1 else ''}, {have}. Add a fenced block with "
                "the content after the control block, one for each write, in order. Nothing was written by this call."
            )
        start, self._next = self._next, self._next + count
        return PayloadQueue(self._payloads[start : self._next])

    def next(self) -> Payload:
        """The next payload."""
        return self.take(1)._payloads[0]

    def rewind(self) -> None:
        """Begin again: the preview of a call has looked at what the call itself will use."""
        self._next = 0


def _ignore(*_: Any) -> None:
    """The default of what a context tells the runtime: nobody is listening."""


@dataclass(frozen=True, slots=True)
class ArchivedTask:
    """One task that is out of sight: behind a summary of its own, or (`summary` empty) in the global one."""

    task: int
    summary: str
    messages: int
    tokens: int  # that this saves, as far as can be estimated


class ContextMemory(Protocol):
    """What of the conversation the model is shown. Nothing is ever lost: this decides what stands for it."""

    async def archive(self, summaries: Mapping[int, str]) -> int:
        """Show each of these tasks as its summary from the next step on; gives the tokens this saves."""
        ...

    async def reveal(self, task: int) -> int:
        """Show a task in full again from the next step on; gives the tokens this takes."""
        ...

    def archived(self) -> list[ArchivedTask]:
        """What is out of sight, by task."""
        ...


class _NoMemory:
    """Of a context that belongs to no conversation."""

    async def archive(self, summaries: Mapping[int, str]) -> int:
        raise ToolError("There is no conversation whose tasks could be archived.")

    async def reveal(self, task: int) -> int:
        raise ToolError("There is no conversation with archived tasks.")

    def archived(self) -> list[ArchivedTask]:
        return []


def _no_terminals() -> TerminalPool:
    raise ToolError("This runtime has no terminals.")


async def _no_agents(agent: str, task: str, bounds: Bounds) -> RunResult:
    raise ToolError(f"This runtime cannot call the agent {agent!r}.")


async def nothing_to_do() -> None:
    """The default of what waits for nothing."""


async def _nobody(question: str) -> str:
    raise ToolError(f"Nobody is there to answer {question[:200]!r}.")


@dataclass
class ToolContext:
    """One call's view of the runtime. A parameter annotated with it is filled in, and hidden from the model."""

    tool: str
    workspace: Workspace
    config: Mapping[str, Any] = field(default_factory=dict)
    payloads: PayloadQueue = field(default_factory=PayloadQueue)
    step: int = 0
    state: dict[str, Any] = field(default_factory=dict)  # lives for the run, one for each tool
    plan: Any = None  # what the tool's preview prepared and, if asked, a person approved
    on_emit: Callable[[str], None] = _ignore
    on_event: Callable[[EventType, dict[str, Any]], None] = _ignore
    on_ask: Callable[[str], Awaitable[str]] = _nobody
    is_aborted: Callable[[], bool] = bool
    open_terminals: Callable[[], TerminalPool] = _no_terminals
    memory: ContextMemory = field(default_factory=_NoMemory)
    before_program: Callable[[], Awaitable[None]] = nothing_to_do
    agents: Mapping[str, str] = field(default_factory=dict)  # those this tool may call: name → role
    run_agent: Callable[[str, str, Bounds], Awaitable[RunResult]] = _no_agents

    @property
    def work_dir(self) -> Path:
        """The folder the agent works in."""
        return self.workspace.root

    @property
    def terminals(self) -> TerminalPool:
        """The terminals of this runtime."""
        return self.open_terminals()

    async def program(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60,
        stdin: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
        max_bytes: int = 1_000_000,
    ) -> ProgramResult:
        """Run one short program in the workspace, without a shell, and give what it wrote.

        It has the variables of the terminals and `env`, and their confinement. It is killed with all it started when
        time is over or the run is stopped.
        """
        await self.before_program()
        return await self.terminals.program(argv, timeout=timeout, stdin=stdin, env=env, max_bytes=max_bytes)

    @property
    def aborted(self) -> bool:
        """Whether the run is being stopped; a long tool looks now and then and returns early."""
        return self.is_aborted()

    def payload(self, path: str | None = None) -> str:
        """The text of the next payload block; `path` must agree with its `filename=`, if it has one."""
        payload = self.payloads.next()
        named = payload.filename
        if path is not None and named and not self.workspace.is_same(path, named):
            raise ToolError(
                f"The payload block says filename={named!r}, but this call writes {path!r}. Payload blocks are used "
                "in the order of the calls: put them in order, or correct the name. Nothing was written by this call."
            )
        return payload.content

    def emit(self, text: str) -> None:
        """Add text to what the model reads as the result of this block."""
        self.on_emit(text)

    def event(self, type: EventType | str, **data: Any) -> None:
        """Tell whoever listens to the run."""
        self.on_event(EventType(type), data)

    async def ask(self, question: str) -> str:
        """The answer of a person."""
        return await self.on_ask(question)

    async def delegate(
        self,
        agent: str,
        task: str,
        *,
        max_steps: int | None = None,
        max_cost_usd: float | None = None,
        timeout: float | None = None,
    ) -> RunResult:
        """Let another agent work on `task` to its end, in a conversation of its own; the result says how it ended.

        It works in the same folder, and never gets more time, money or rights than this agent has left.
        """
        if agent not in self.agents:
            near = difflib.get_close_matches(agent[:60], self.agents, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ToolError(f"There is no agent {agent[:60]!r}.{hint} There are: {', '.join(self.agents) or 'none'}.")
        if not task.strip():
            raise ToolError(f"The task for {agent} is empty: say what it is to do.")
        bounds = Bounds(max_steps, max_cost_usd, seconds=timeout)
        return await self.run_agent(agent, task, bounds)
