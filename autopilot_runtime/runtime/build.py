"""From an agent file to the parts of a runtime. Nothing here starts a process or opens a socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopilot_runtime.block.reply import Payload
from autopilot_runtime.context.budget import Meter
from autopilot_runtime.core.bridge import in_task
from autopilot_runtime.core.errors import MissingKey, SetupError, ToolError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.ids import new_id, slug
from autopilot_runtime.core.protocols import Provider, RunResult, Sandbox, SessionStore
from autopilot_runtime.core.secret import Redactor, secret_values
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.model.connect import REPLAY, connect, warm
from autopilot_runtime.model.prices import price
from autopilot_runtime.runtime import confined
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.desk import Desk
from autopilot_runtime.runtime.ground import Ground
from autopilot_runtime.runtime.history import History
from autopilot_runtime.runtime.inbox import Inbox
from autopilot_runtime.runtime.instructions import Instruction, find_instructions
from autopilot_runtime.runtime.mandate import Hire, Mandate, fulfil
from autopilot_runtime.runtime.memory import Memory, TaskMemory
from autopilot_runtime.runtime.narrow import narrowed
from autopilot_runtime.runtime.notes import TerminalState, new_tag
from autopilot_runtime.runtime.parts import Parts
from autopilot_runtime.runtime.prompt import build_prompt
from autopilot_runtime.runtime.recall import Recall
from autopilot_runtime.runtime.rights import Rights, mode_of, rules_of
from autopilot_runtime.runtime.run import Run
from autopilot_runtime.runtime.skills import find_skills
from autopilot_runtime.runtime.toolbox import fill_registry
from autopilot_runtime.sandbox.engine import open_sandbox
from autopilot_runtime.session.create import create_session
from autopilot_runtime.shell.environ import child_environment
from autopilot_runtime.tool.bounds import Bounds
from autopilot_runtime.tool.define import Tool
from autopilot_runtime.tool.registry import ToolRegistry
from autopilot_runtime.tool.watch import Watch
from autopilot_runtime.tool.workspace import Workspace

if TYPE_CHECKING:
    from autopilot_runtime.shell.pool import TerminalPool

_PATIENCE = 5.0
_UNREAD = (
    "The session holds a memory_state that this release cannot read: what another writer archived is shown in full. "
    "It is kept as it is."
)
MAX_DEPTH = 2  # levels of sub-agents where the agent file does not say
# A recorded run is often played in the workspace it was recorded in: the files it makes are there already.
_WROTE = re.compile(r"^(?:wrote (.+) \(new, |(.+) already had this content \()(\d+ lines?\))$", re.MULTILINE)
_STATUS = re.compile(r"^\[STATUS\] #\w+(?:\n.+)*", re.MULTILINE)


def build(
    agent: AgentFile,
    session: str | SessionStore,
    *,
    session_id: str | None,
    session_dir: str | Path | None,
    db_url: Any,
    live: bool,
    provider: Provider | None,
    permission_mode: str | None,
    permissions: tuple[str, ...],
    hire: Hire,
    mandate: Mandate | None,
) -> Kit:
    """The parts of a runtime for this agent."""
    if isinstance(session, str):
        session = create_session(session, session_id or slug(agent.name), agent.name, session_dir, db_url)
    given = (permissions,) if isinstance(permissions, str) else tuple(permissions)
    mode = mode_of(permission_mode)
    ground = mandate.ground if mandate else Ground.own(agent, session, given=given, mode=mode)
    return Kit(agent, session, ground, live=live, provider=provider, hire=hire, mandate=mandate)


class Kit:
    """Everything one runtime owns, from construction to `close()`."""

    def __init__(
        self,
        agent: AgentFile,
        session: SessionStore,
        ground: Ground,
        *,
        live: bool,
        provider: Provider | None,
        hire: Hire,
        mandate: Mandate | None = None,
    ) -> None:
        self.agent = agent
        self.session = session
        self.live = live
        self._hire = hire
        self._mandate = mandate
        self._helpers: set[asyncio.Task[RunResult]] = set()  # sub-agents at work
        self.ground = ground
        self.scope, self.stream, self.hooks = ground.scope, ground.scope.stream, ground.hooks
        self.questions, self.tag = ground.questions, ground.tag
        self.skills = find_skills(agent.skills)
        self.registry = ToolRegistry()
        self._callees = fill_registry(self.registry, agent, self.skills, ground.roster, depth=ground.depth)
        self._secrets: set[str] = set()
        self.refresh_secrets()
        self.inbox = Inbox(session, mask=self._mask, kept=self._message_kept)
        words, meter = Recall(lambda: self.tag), Meter(window=agent.memory.max_context_tokens)
        self.history = History(session, self.stream, meter, inbox=self.inbox, words=words)
        can_archive = partial(self.registry.__contains__, "archive_context")
        self.memory = Memory(self.history, agent.memory, words=words, tools=can_archive)
        self.workspace = Workspace(agent.work_dir, unsafe=agent.runtime.unsafe_mode, protected=self.protected)
        self.watch = Watch(self.workspace)
        self.rights = Rights(
            rules_of(agent, ground.given),
            ground.mode,
            questions=self.questions,
            registry=self.registry,
            session=session,
            above=ground.above,
        )
        self._provider = provider
        self._own_provider = provider is None and mandate is None
        self._sandbox: Sandbox | None = None
        self._warming: asyncio.Task[None] | None = None
        self._desk: Desk | None = None
        self.terminals: list[TerminalPool] = []  # none or one: made at first use
        self._introduced: set[str] = set()
        self._unsaved = False
        if provider is None:
            warm(agent.model_settings())

    # ------------------------------------------------------------ one run

    def new_run(self, *, resumed: bool) -> Run:
        """A run of its own number, id and span."""
        number = self.history.tasks + (0 if resumed and self.history.tasks else 1)
        run_id, mandate = new_id("run"), self._mandate
        # The events of a sub-agent are events of the run that called it.
        scope = self.scope.child(run_id="" if mandate else run_id)
        spec, settings = self.agent.runtime, self.agent.model_settings()
        run = Run(
            id=run_id,
            task=number,
            scope=scope,
            span=scope,
            max_steps=spec.max_steps,
            max_cost_usd=spec.max_cost_usd,
            max_tokens=spec.max_tokens_total,
            timeout_s=spec.timeout_s,
            price=lambda usage: price(settings, usage).cost_usd,
        )
        if mandate is not None:
            run.under(mandate.run, mandate.bounds)
        return run

    async def parts(self, run: Run) -> Parts:
        """What this run works with. The sandbox comes up while the model thinks."""
        self._make_work_dir()
        self.session.acquire()
        self._unsaved = True
        if self.session.extra().get("tag") != self.tag:
            self.session.append([], extra={"tag": self.tag})
        self._sandbox = open_sandbox(self.agent.runtime.control)
        self._warming = asyncio.ensure_future(self._warm(self._sandbox))
        run.scope.emit(EventType.CONFINEMENT, what="control", level=self._sandbox.name)
        if "execute" in self.registry:
            await self._confine_shells(run)
        self.ground.roster.tools.update(self.registry.names())
        for line in self.rights.idle_rules(self.ground.roster.tools):
            run.scope.emit(EventType.WARNING, message=line)
        system = self.system_prompt()
        self.history.meter.begin(system)
        if self.history.unread is not None:
            run.scope.emit(EventType.WARNING, message=_UNREAD)
        return Parts(
            provider=self.provider,
            sandbox=self._sandbox,
            registry=self.registry,
            history=self.history,
            memory=self.memory,
            inbox=self.inbox,
            system=system,
            tag=self.tag,
            work_dir=str(self.agent.work_dir),
            live=self.live,
            limits=self.agent.limits,
            max_tokens=self.agent.model.max_tokens,
            make_desk=self._make_desk,
            output_schema=self.agent.output_schema,
            terminals=self.terminal_states,
            watch=self.watch,
        )

    async def _confine_shells(self, run: Run) -> None:
        """Say what confines the shells. One that is required is put up now: without it, nothing may begin."""
        told = await asyncio.to_thread(confined.event_data, self.agent)
        run.scope.emit(EventType.CONFINEMENT, **told)
        if self.agent.runtime.sandbox.shell == "required":
            await asyncio.to_thread(lambda: self.terminal_pool.wall)
        elif told["level"] == "none" and self.agent.runtime.sandbox.shell == "auto":
            run.scope.emit(EventType.WARNING, message=f"Shells are not confined here: {told['detail']}.")

    def _make_work_dir(self) -> None:
        """Make the folder the agent works in: without it, a shell would begin somewhere else."""
        try:
            self.agent.work_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"work_dir {self.agent.work_dir} cannot be made: {error.strerror}.") from error

    async def _warm(self, sandbox: Sandbox) -> None:
        # A worker that cannot start is reported where it is needed: by the first block, not by a task nobody awaits.
        with contextlib.suppress(Exception):
            await sandbox.start()

    def _make_desk(self, run: Run, scope: Scope, payloads: Sequence[Payload]) -> Desk:
        self.workspace.begin_step()
        self._desk = Desk(
            run,
            scope,
            payloads,
            registry=self.registry,
            rights=self.rights,
            workspace=self.workspace,
            ask=partial(self.ask, run),
            delegate=self.delegate,
            terminals=lambda: self.terminal_pool,
            memory=TaskMemory(self.memory, run),
        )
        return self._desk

    async def ask(self, run: Run, question: str, scope: Scope) -> str:
        """The answer of a person. What nobody answers is remembered as open."""
        try:
            answer = await self.questions.ask(question, scope)
        except ToolError:
            await self.memory.unanswered(run, question)
            raise
        await self.memory.answered(question)
        return answer

    async def delegate(self, run: Run, scope: Scope, tool: Tool, name: str, task: str, bounds: Bounds) -> RunResult:
        """Let an agent that this tool may call work on `task` to its end."""
        depth = int(tool.config.get("max_depth") or MAX_DEPTH)
        ground = self.ground.below(name, scope, self.rights, tag=self.tag, protected=self.protected, depth=depth)
        agent = narrowed(self._callees[tool.name][name], within=self.agent)
        mandate = Mandate(agent, ground, run, bounds.within(run.left), self.live)
        helper = asyncio.ensure_future(fulfil(mandate, task, self._hire))
        self._helpers.add(helper)
        helper.add_done_callback(self._helpers.discard)
        return await in_task(helper)

    async def end_run(self) -> None:
        """Let go of what lives only for a run."""
        sandbox, self._sandbox = self._sandbox, None
        warming, self._warming = self._warming, None
        if warming is not None:
            warming.cancel()
            await asyncio.wait([warming])
        if sandbox is not None:
            await sandbox.close()
        if self._unsaved:
            self._unsaved = False
            self.history.save()
        self._desk = None

    def introduce(self, run: Run) -> list[Instruction]:
        """The project instructions the model has not seen yet in this conversation."""
        fresh = []
        for one in find_instructions(self.agent.work_dir, self.agent.instructions):
            if one.text not in self._introduced:
                self._introduced.add(one.text)
                run.scope.emit(EventType.INSTRUCTIONS_LOADED, path=one.shown, lines=one.lines)
                fresh.append(one)
        return fresh

    # ------------------------------------------------------------ what lives longer

    @property
    def provider(self) -> Provider:
        """The model; connected at first use."""
        if self._provider is None:
            shared = self._mandate is not None
            self._provider = self.ground.roster.model(self.agent, self._connect) if shared else self._connect()
        return self._provider

    def _connect(self) -> Provider:
        missing = [] if os.environ.get(REPLAY, "").strip() else self.agent.missing_keys(os.environ)
        if missing:
            raise MissingKey("\n".join(missing))
        return connect(self.agent.model_settings(), self._mask, agent=slug(self.agent.name), volatile=self._volatile)

    def _mask(self, text: str) -> str:
        return self.stream.redactor.mask(text)

    def _volatile(self, text: str) -> str:
        """The text without what differs from run to run: for comparing with a recorded conversation."""
        text = _WROTE.sub(r"wrote \1\2 (\3", _STATUS.sub("[STATUS]", text))
        return text.replace(self.tag, "#tag").replace(str(self.agent.work_dir), "<work_dir>")

    def _message_kept(self) -> None:
        """Between runs nobody else ends the writing that keeping a message began."""
        if not self._unsaved:
            self.history.save()

    def refresh_secrets(self) -> None:
        """Learn the secrets that came into the environment since. A sub-agent's are its caller's, and were learnt."""
        if self._mandate is not None:
            return
        names = self.agent.secret_env_names().union(*(one.secret_env_names() for one in self.ground.roster))
        # A secret that has left the environment is still one.
        self._secrets |= secret_values(os.environ, names)
        self.stream.redactor = Redactor(self._secrets)

    @property
    def protected(self) -> tuple[Path, ...]:
        """What decides what this agent and its sub-agents may do: no tool of theirs may write it."""
        below = (path for one in self.ground.roster for path in one.protected)
        return (*self.agent.protected, *below, *self.ground.protected)

    def system_prompt(self) -> str:
        """The system prompt; the same for as long as the tools are."""
        shells = confined.words(self.agent) if "execute" in self.registry else ""
        specs = self.registry.specs().values()
        return build_prompt(self.agent, specs, tag=self.tag, skills=self.skills, shells=shells)

    def append_execution(self, text: str) -> None:
        """Add text to the result of the call at work."""
        if self._desk is not None:
            self._desk.emit(str(text))

    @property
    def terminal_pool(self) -> TerminalPool:
        """The terminals of this runtime; their shells start at first use."""
        if not self.terminals:
            allow = self.agent.runtime.sandbox.env
            # Late: pexpect is not needed by agents without a shell.
            from autopilot_runtime.shell.pool import TerminalPool

            env = child_environment(os.environ, allow=allow)
            opener = confined.wall_opener(self.agent, env, protected=self.protected)
            self.terminals.append(TerminalPool(self.agent.work_dir, env, open_wall=opener))
        return self.terminals[0]

    def terminal_states(self) -> list[TerminalState]:
        """What the status block says of the terminals; nothing for an agent that has none."""
        if "execute" not in self.registry:
            return []
        if not self.terminals:
            return [TerminalState("main", "starts at first use")]
        states = self.terminals[0].snapshot()
        return [
            TerminalState(t.session_id, t.status, t.cwd, t.pid, t.command, background=t.background) for t in states
        ]

    def stop_children(self) -> None:
        """End what terminals run, now (abort)."""
        kill_all(self.terminals)

    def reset(self) -> None:
        """Forget the conversation and everything that belongs to it."""
        self.session.reset()
        self.history.reload()
        self.memory.forget()
        self.inbox.clear()
        self.tag = new_tag()
        self._introduced.clear()
        self.workspace.forget()
        self.watch = Watch(self.workspace)
        self.rights.grants.clear()
        self.scope.emit(EventType.SESSION_RESET)

    async def close(self) -> None:
        """End what this runtime owns."""
        await self.end_run()
        while self.terminals:
            await self.terminals.pop().close()
        if self._helpers:  # an abort does not wait for the last of their cleaning up
            await asyncio.wait(self._helpers, timeout=_PATIENCE)
        if self._own_provider and self._provider is not None:
            await self._provider.close()
        if self._mandate is None:
            await self.ground.roster.close()
        self.session.close()
        await self.hooks.drain()


def kill_all(pools: Sequence[TerminalPool]) -> None:
    """Kill what these terminals run. Also the last resort when a runtime is collected without `close()`."""
    for pool in pools:
        pool.kill()
