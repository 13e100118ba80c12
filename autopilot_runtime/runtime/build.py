"""From an agent file to the parts of a runtime. Nothing here starts a process or opens a socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopilot_runtime.block.reply import Payload
from autopilot_runtime.context.budget import Meter
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.ids import new_id, slug
from autopilot_runtime.core.protocols import Provider, Sandbox, SessionStore
from autopilot_runtime.core.secret import Redactor, secret_values
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.model.connect import warm
from autopilot_runtime.model.prices import price
from autopilot_runtime.runtime import confined
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.connected import connected
from autopilot_runtime.runtime.crew import Crew
from autopilot_runtime.runtime.desk import Desk
from autopilot_runtime.runtime.gone import kill_all
from autopilot_runtime.runtime.ground import Ground
from autopilot_runtime.runtime.history import History
from autopilot_runtime.runtime.inbox import Inbox
from autopilot_runtime.runtime.keeper import Keeper, nothing, waited
from autopilot_runtime.runtime.ledger import Book, Ledger
from autopilot_runtime.runtime.mandate import Hire, Mandate
from autopilot_runtime.runtime.memory import Memory, TaskMemory
from autopilot_runtime.runtime.notes import TerminalState, new_tag
from autopilot_runtime.runtime.parts import Parts
from autopilot_runtime.runtime.prompt import build_prompt
from autopilot_runtime.runtime.requests import Requests
from autopilot_runtime.runtime.rights import Rights, mode_of, rules_of
from autopilot_runtime.runtime.run import Ending, Run
from autopilot_runtime.runtime.sight import Sight
from autopilot_runtime.runtime.skills import find_skills
from autopilot_runtime.runtime.standing import standing, take_up, used_before
from autopilot_runtime.runtime.toolbox import fill_registry
from autopilot_runtime.runtime.traces import Traces, own_files
from autopilot_runtime.sandbox.engine import get_ready, open_sandbox
from autopilot_runtime.session.create import create_session
from autopilot_runtime.shell.environ import child_environment
from autopilot_runtime.tool.registry import ToolRegistry
from autopilot_runtime.tool.watch import Watch
from autopilot_runtime.tool.workspace import Workspace

if TYPE_CHECKING:
    from autopilot_runtime.shell.pool import TerminalPool


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
    keeper = Keeper(session)
    tag = str(keeper.extra().get("tag") or new_tag())
    ground = mandate.ground if mandate else Ground.own(agent, session, tag=tag, given=given, mode=mode)
    return Kit(agent, keeper, ground, live=live, provider=provider, hire=hire, mandate=mandate)


class Kit:
    """Everything one runtime owns, from construction to `close()`."""

    def __init__(
        self,
        agent: AgentFile,
        keeper: Keeper,
        ground: Ground,
        *,
        live: bool,
        provider: Provider | None,
        hire: Hire,
        mandate: Mandate | None = None,
    ) -> None:
        self.agent = agent
        self.session = session = keeper.store
        self.live = live
        self._mandate = mandate
        self.ground = ground
        self.scope, self.stream, self.hooks = ground.scope, ground.scope.stream, ground.hooks
        self.questions, self.words = ground.questions, Sight(ground.tag)
        self._tagged = keeper.extra().get("tag") == self.tag
        self.skills = find_skills(agent.skills)
        self.registry = ToolRegistry()
        callees = fill_registry(self.registry, agent, self.skills, ground.roster, depth=ground.depth)
        self.crew = Crew(agent, session, callees, hire=hire, live=live)
        self._secrets: set[str] = set()
        self.refresh_secrets()
        self.keeper = keeper
        keeper.when_read = self.reload
        self.ledger = Ledger(keeper, mask=self.stream.mask_value)
        self.inbox = Inbox(keeper, mask=self.stream.mask)
        words, meter = self.words, Meter(window=agent.memory.max_context_tokens)
        self.history = History(keeper, self.stream, meter, inbox=self.inbox, ledger=self.ledger, words=words)
        self.memory = Memory(self.history, agent.memory, words=words, registry=self.registry)
        # Whose questions these are: the session that is suspended with them. A sub-agent's are its caller's.
        self.requests = self.questions.requests or Requests(keeper, self.ledger)
        self.questions.requests = self.requests
        kept = (*self.protected, *own_files(session, agent.work_dir))
        self.workspace = Workspace(agent.work_dir, unsafe=agent.runtime.unsafe_mode, protected=kept)
        self.watch = Watch(self.workspace)
        self.traces = Traces(self.workspace, session, self.scope, watch=self.watch)
        self.rights = Rights(
            rules_of(agent, ground.given),
            ground.mode,
            questions=self.questions,
            registry=self.registry,
            ledger=self.ledger,
            above=ground.above,
        )
        self.rights.reload(keeper.extra())
        self._provider = provider
        self._own_provider = provider is None and mandate is None
        self._sandbox: Sandbox | None = None
        self._warming: asyncio.Task[None] | None = None
        self._desk: Desk | None = None
        self.terminals: list[TerminalPool] = []  # none or one: made at first use
        self.introduced: set[str] = set()
        get_ready(agent.runtime.control)
        if provider is None:
            warm(agent.model_settings())

    # ------------------------------------------------------------ one run

    def new_run(self, *, resumed: bool) -> Run:
        """A run of its own number, id and span; a resumed one is the same run, and goes on where it stood."""
        number = self.history.tasks + (0 if resumed and self.history.tasks else 1)
        state, mandate = self.ledger.run, self._mandate
        run_id = str(state.get("id") or "") if resumed else ""
        run_id = run_id or new_id("run")
        before = used_before(state, resumed=resumed)
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
            before=before,
        )
        if mandate is not None:
            run.under(mandate.run, mandate.bounds, nest=mandate.session.session_id)
        else:
            run.within(spec.per_session)
        if resumed and state:
            take_up(run, state)
        self.traces.follow(run)
        return run

    async def parts(self, run: Run) -> Parts:
        """What this run works with. The sandbox comes up while the model thinks."""
        self._make_work_dir()
        await self.keeper.acquire()
        self.keeper.in_use = True
        if not self._tagged:
            self._tagged = True
            self.ledger.note_also("tag", self.tag)
        self._sandbox = open_sandbox(self.agent.runtime.control)
        self._warming = asyncio.ensure_future(self._warm(self._sandbox))
        run.scope.emit(EventType.CONFINEMENT, what="control", level=self._sandbox.name)
        if "execute" in self.registry:
            await self._confine_shells(run)
        self.ground.roster.tools.update(self.registry.names())
        for line in self.rights.idle_rules(self.ground.roster.tools):
            run.scope.emit(EventType.WARNING, message=line)
        system = self.system_prompt()
        self.memory.begin(run, system)
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
            desk=self._make_desk,
            output_schema=self.agent.output_schema,
            terminals=self.terminal_states,
            watch=self.watch,
            ledger=self.ledger,
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

    def _make_desk(self, run: Run, scope: Scope, payloads: Sequence[Payload], book: Book) -> Desk:
        self.workspace.begin_step()
        self._desk = Desk(
            run,
            scope,
            payloads,
            book=book,
            registry=self.registry,
            rights=self.rights,
            workspace=self.workspace,
            ask=self.memory.asking(run, self.questions.ask),
            delegate=partial(self.crew.delegate, self._ground_below),
            terminals=lambda: self.terminal_pool,
            memory=TaskMemory(self.memory, run),
        )
        return self._desk

    def _ground_below(self, name: str, scope: Scope, *, depth: int) -> Ground:
        return self.ground.below(name, scope, self.rights, tag=self.tag, protected=self.protected, depth=depth)

    async def end_run(self, run: Run | None = None, ending: Ending | None = None) -> None:
        """Let go of what lives only for a run."""
        sandbox, self._sandbox = self._sandbox, None
        warming, self._warming = self._warming, None
        if warming is not None:
            warming.cancel()
            await asyncio.wait([warming])
        if sandbox is not None:
            await sandbox.close()
        self._desk = None
        if self.keeper.in_use:
            self.keeper.in_use = False
            if run is not None and ending is not None and self.history.tasks == run.task:
                self.ledger.stand(standing(run, ending))
                self._settle(ending)
            await self.history.save()

    def _settle(self, ending: Ending) -> None:
        """Forget what only a run that can be resumed needs."""
        if ending.status in ("completed", "answered"):
            self.ledger.forget()
        if self._mandate is None and ending.status != "suspended":
            self.requests.forget()

    def answer(self, request_id: str, value: Any) -> Awaitable[None] | None:
        """Keep the answer to a request of a suspended run."""
        keeper = self.keeper
        return waited(keeper.when_open(lambda: self.requests.answer(request_id, value, let_go=not keeper.in_use)))

    # ------------------------------------------------------------ what lives longer

    @property
    def provider(self) -> Provider:
        """The model; connected at first use."""
        if self._provider is None:
            shared = self._mandate is not None
            self._provider = self.ground.roster.model(self.agent, self._connect) if shared else self._connect()
        return self._provider

    def _connect(self) -> Provider:
        words = self.words
        return connected(self.agent, mask=self.stream.mask, tag=lambda: words.tag)

    def refresh_secrets(self) -> None:
        """Learn the secrets that came into the environment since. A sub-agent's are its caller's, and were learnt."""
        if self._mandate is not None:
            return
        names = self.agent.secret_env_names().union(*(one.secret_env_names() for one in self.ground.roster))
        # A secret that has left the environment is still one.
        self._secrets |= secret_values(os.environ, names)
        self.stream.redactor = Redactor.of(self._secrets)

    @property
    def tag(self) -> str:
        """The session's mark, on everything that is the runtime's own word."""
        return self.words.tag

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

    def shut_feeds(self) -> None:
        """End what reads the events. The stream of a sub-agent is its caller's."""
        if self._mandate is None:
            self.stream.close()

    def stop_children(self) -> None:
        """End what terminals run, now (abort)."""
        kill_all(self.terminals)

    def reset(self) -> Awaitable[None] | None:
        """Forget the conversation and everything that belongs to it."""
        return waited(self.keeper.reset(self._begin_anew))

    def _begin_anew(self) -> None:
        self.words.tag, self._tagged = new_tag(), False
        self.introduced.clear()
        self.workspace.forget()
        self.watch.forget()
        self.reload()
        self.scope.emit(EventType.SESSION_RESET)

    def reload(self) -> None:
        """Take what the session holds."""
        extra = self.keeper.extra()
        if "tag" in extra:
            self.words.tag, self._tagged = str(extra["tag"]), True
        self.ledger.reload()
        self.inbox.reload()
        self.history.reload()
        self.memory.forget()
        self.requests.reload()
        self.rights.reload(extra)

    async def close(self) -> None:
        """End what this runtime owns."""
        await self.end_run()
        while self.terminals:
            await self.terminals.pop().close()
        await self.crew.disperse()
        if self._own_provider and self._provider is not None:
            await self._provider.close()
        if self._mandate is None:
            await self.ground.roster.close()
        await self.keeper.close()
        self.keeper.when_read = nothing
        await self.hooks.close()
