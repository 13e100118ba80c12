"""`AsyncRuntime`: an agent file, ready to take tasks. One run at a time; everything it owns is cleaned up."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import AutopilotError, RunInProgress, RuntimeClosed, SessionError, SetupError
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.core.hooks import HookSystem
from autopilot_runtime.core.protocols import Provider, RunResult, SessionStore
from autopilot_runtime.core.stream import Feed
from autopilot_runtime.core.turn import turn
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.build import Kit, build
from autopilot_runtime.runtime.gone import when_gone
from autopilot_runtime.runtime.mandate import Hired, Mandate
from autopilot_runtime.runtime.opening import open_conversation
from autopilot_runtime.runtime.promise import Answered, Awaited, cancellings, uncut
from autopilot_runtime.runtime.run import Ending, Run
from autopilot_runtime.runtime.standing import RESUMABLE, status_of
from autopilot_runtime.runtime.supervise import supervise
from autopilot_runtime.tool.registry import ToolRegistry

_PATIENCE_AFTER_ABORT = 0.5


class AsyncRuntime:
    """An agent file, ready to take tasks. Use as an async context manager, or `await close()`."""

    def __init__(
        self,
        agent_file: str | Path | AgentFile,
        session: str | SessionStore = "memory",
        session_id: str | None = None,
        session_dir: str | Path | None = None,
        stream: bool = False,
        db_url: str | None = None,
        *,
        db: Any = None,
        provider: Provider | None = None,
        permission_mode: str | None = None,
        permissions: tuple[str, ...] = (),
        _mandate: Mandate | None = None,
    ) -> None:
        self.agent = agent_file if isinstance(agent_file, AgentFile) else AgentFile.load(agent_file)
        self._kit: Kit = build(
            self.agent,
            "db" if (db_url or db) is not None and session == "memory" else session,
            session_id=session_id,
            session_dir=session_dir,
            db_url=db_url or db,
            live=stream,
            provider=provider,
            permission_mode=permission_mode,
            permissions=permissions,
            hire=_hired,
            mandate=_mandate,
        )
        self.last: RunResult | None = None
        self._pid = os.getpid()
        self._work: asyncio.Task[Ending] | None = None
        self._hearing: asyncio.Task[None] | None = None  # handlers catching up after a run
        self._loop: asyncio.AbstractEventLoop | None = None
        self._abort = self._busy = self._closed = False
        self._over: asyncio.Event | None = None  # set when the run has let go of everything
        self._untold: str | None = None  # a task that the conversation does not hold yet
        self._continued = False  # a suspended run went on with its answer, and resume() has not been asked for it
        self._final = when_gone(self, self._kit.terminals)

    # ------------------------------------------------------------ runs

    async def run(self, task: str) -> str | None:
        """Work on `task` until it is done. The completion text, or None for any other ending (see `last`)."""
        if not isinstance(task, str):
            raise TypeError(f"a task is text, not {type(task).__name__}")
        if not task.strip():
            raise SetupError("The task is empty: say what is to be done.")
        await turn()
        await self._kit.keeper.open()
        return await self._go(task)

    async def resume(self) -> str | None:
        """Go on with the newest run of the session: one that was interrupted, suspended or failed, or ran out.

        Also one of another process. What its calls gave is not done again.
        """
        self._usable()
        await self._kit.keeper.open()
        if self._continued:  # answer() has gone on with it already
            self._continued = False
            return self.text
        if self._untold is None and not await self.take_up():
            raise SetupError(f"There is no run to resume: the last one is {self._state() or 'there was none'}.")
        if self._untold is not None:
            await self._go(self._untold)
        return self.text

    async def take_up(self) -> bool:
        """Go on with the run of this session; False when there is none to go on with."""
        await self._kit.keeper.open()
        if self._state() not in RESUMABLE:
            return False
        await self._go(None)
        return True

    def _state(self) -> str:
        """How the newest run ended; "running" for one that did not."""
        return self.last.status if self.last else status_of(self._kit.ledger.run)

    @property
    def text(self) -> str | None:
        """The completion text of the last run; None when it ended otherwise."""
        return self.last.summary if self.last and self.last.status == "completed" else None

    async def stream(self, task: str) -> AsyncIterator[Event]:
        """Run `task` and give its events as they happen. Leaving the loop early aborts the run."""
        feed = self.open_feed()
        work = asyncio.ensure_future(self.run(task))
        work.add_done_callback(lambda _: feed.close())
        try:
            async for event in feed:
                yield event
            await work
        finally:
            feed.close()
            if not work.done():
                self.abort()
                with contextlib.suppress(asyncio.CancelledError):
                    await work

    async def events(self, since: int = 0) -> AsyncIterator[Event]:
        """The events after number `since`, then live ones until the runtime is closed."""
        feed = self.open_feed(since)
        try:
            async for event in feed:
                yield event
        finally:
            feed.close()

    def open_feed(self, since: int | None = None) -> Feed:
        """A feed of events for one reader: after number `since`, or (None) from now on."""
        feed = self._kit.stream.open(since)
        if self._closed:
            feed.close()
        return feed

    async def idle(self) -> None:
        """Wait until no run is in progress."""
        if self._busy and self._over is not None:
            await self._over.wait()

    async def leave(self) -> None:
        """Abort the run in progress, if there is one, and wait until it is over."""
        if self._busy:
            self.abort()
            await self.idle()

    async def _go(self, task: str | None) -> str | None:
        self._usable()
        if self._busy:
            raise RunInProgress("This runtime is at work; wait for its run() to end, or use a second Runtime.")
        self._busy, self._over, self._untold, self._continued = True, asyncio.Event(), task, False
        try:
            return await self._supervised(task)
        finally:
            self._busy = self._abort = False
            self._work = None
            self._over.set()

    async def _supervised(self, task: str | None) -> str | None:
        kit = self._kit
        kit.refresh_secrets()
        self._loop = kit.hooks.loop = asyncio.get_running_loop()
        run = kit.new_run(resumed=task is None)
        if task is None:
            run.scope.emit(EventType.RESUMED, run=run.id, status=run.resumed_from)
        else:
            kit.traces.name(run, task)
            run.scope.emit(EventType.START, task=task)
        ending: Ending | None = None
        try:
            parts = await kit.parts(run)
            if task is not None:
                await open_conversation(kit, run, parts, task)
                self._untold = None
            self._work = asyncio.ensure_future(supervise(run, parts, aborted=lambda: self._abort))
            before = cancellings()
            ending = await self._work
            if cancellings() > before:  # abort() came at the same time; the caller's cancellation still counts
                raise asyncio.CancelledError
        except AutopilotError as error:
            kind = "session" if isinstance(error, SessionError) else "setup"
            run.scope.emit(EventType.RUNTIME_ERROR, error=str(error), kind=kind)
            ending = Ending("failed", error=error)
            raise
        except asyncio.CancelledError:
            ending = Ending("aborted", error=AutopilotError("The task running this was cancelled."))
            raise
        finally:
            await uncut(self._end(run, ending or Ending("failed")), hurry=self._hurry)
        return ending.summary if ending.status == "completed" else None

    def _hurry(self) -> None:
        self._abort = True  # handlers that are behind get less patience

    async def _end(self, run: Run, ending: Ending) -> None:
        self.last = run.result(ending)
        if ending.status == "aborted":
            self._kit.stop_children()
        await self._kit.traces.end(run, hurry=ending.status == "aborted")
        try:
            await self._kit.end_run(run, ending)
        except (SessionError, OSError) as error:
            # Every step is already kept; what failed is putting them together. Say so, and let the run be over.
            run.scope.emit(EventType.RUNTIME_ERROR, error=f"the session could not be saved: {error}", kind="session")
        run.tell_end(ending)
        await self._hooks_done()

    async def _hooks_done(self) -> None:
        """Wait for handlers that are behind. Who aborts does not want to wait for a stuck one."""
        self._hearing = asyncio.ensure_future(self._kit.hooks.drain())
        if self._abort:
            await asyncio.wait([self._hearing], timeout=_PATIENCE_AFTER_ABORT)
            self._hearing.cancel()
        await asyncio.wait([self._hearing])
        self._hearing = None

    # ------------------------------------------------------------ from outside

    def send_message(self, message: str) -> Awaitable[None]:
        """Queue a message for the running agent. Thread-safe, returns at once; it is kept then.

        With a session on an async engine, it is kept when what this gives back was awaited.
        """
        self._usable()
        if not isinstance(message, str):
            raise TypeError(f"a message is text, not {type(message).__name__}")
        return Awaited(self._kit.inbox.put(message, self._kit.scope))

    def answer(self, request_id: str, value: Any) -> Awaitable[str | None]:
        """Settle a question or permission that waits: of the run in progress, or of a suspended one, of any process.

        The answer is kept when this returns. Awaiting what it gives back goes on with a suspended run when all its
        requests are answered, and gives the completion text; `resume()` does the same.

        A permission is settled with a `Decision`, or with what can be sent as JSON: true, false, "yes", "no",
        "always", a reason to refuse, or the fields of a `Decision`: {"allowed": true, "edited": {"command": "ls"}}.
        """
        self._usable()
        kit = self._kit
        if self._busy and kit.questions.waits_for(request_id):
            kit.questions.answer(request_id, value)
            return Answered(None, None)
        kept = kit.answer(request_id, value)
        return Answered(kept, None if self._busy else self._go_on)

    async def _go_on(self) -> str | None:
        """Go on with a suspended run, unless it waits for more answers."""
        if self._kit.requests.waiting or self._state() != "suspended":
            return None
        self._continued = await self.take_up()
        return self.text

    @property
    def open_requests(self) -> list[dict[str, Any]]:
        """The questions and permissions that wait for an answer, each with its `request_id` and `kind`."""
        return [*self._kit.questions.listing(), *self._kit.requests.listing()]

    async def undo(self, run_id: str | None = None, *, force: bool = False) -> list[str]:
        """Put back every file that a run changed (the newest one, if none is named) as it was before it.

        Gives the paths. What somebody else changed since is an `EditConflict`, and nothing is undone, unless `force`.
        An undo can be undone: its id is in the event FILES_RESTORED.
        """
        self._usable()
        if self._busy:
            raise RunInProgress("undo() while a run is in progress: abort() it, or wait for its end.")
        self._busy, self._over = True, asyncio.Event()
        try:
            return await self._kit.traces.undo(run_id, force=force)
        finally:
            self._busy = False
            self._over.set()

    def abort(self) -> None:
        """Stop the run in progress (within a second), or the next one when none is. Thread-safe."""
        self._abort = True
        loop = self._loop
        for task in (self._work, self._hearing):
            if task is not None and loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop is gone, and the run with it
                    loop.call_soon_threadsafe(task.cancel)

    def reset(self) -> Awaitable[None]:
        """Forget the conversation; the next run starts fresh. Done when this returns (AsyncEngine: was awaited)."""
        self._usable()
        if self._busy:
            raise RunInProgress("reset() while a run is in progress: abort() it first.")
        done = self._kit.reset()
        self._abort = self._continued = False
        self.last = self._untold = None
        return Awaited(done)

    def register_tool(self, name: str, func: Callable[..., Any], replace: bool = False) -> None:
        """Add a function as a tool; its docstring goes into the system prompt."""
        self._usable()
        self._kit.registry.register(name, func, replace=replace)

    async def close(self) -> None:
        """End everything this runtime owns: the run, terminals, workers, connections."""
        if self._closed or self._pid != os.getpid():
            return
        if self._busy and self._kit.hooks.inside:
            # The run waits for this hook, and closing would wait for the run.
            raise RunInProgress(
                "close() from a hook of a run in progress: abort() it, and close() when run() is back."
            )
        await self.leave()
        self._closed = True
        try:
            await self._kit.close()
            self._final()
        finally:
            self._kit.shut_feeds()

    async def __aenter__(self) -> AsyncRuntime:
        await self._kit.keeper.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _usable(self) -> None:
        if self._closed:
            raise RuntimeClosed("This runtime was closed; make a new one.")
        if self._pid != os.getpid():
            raise RuntimeClosed("This runtime belongs to the parent process; make a new one after os.fork().")

    # ------------------------------------------------------------ to look at

    def __repr__(self) -> str:
        model = self.agent.model
        return f"<AsyncRuntime {self.agent.name!r} {model.provider}/{model.name} session={self.session.session_id!r}>"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation so far, as plain dicts."""
        return self._kit.history.to_dicts()

    @property
    def context(self) -> list[dict[str, Any]]:
        """What the model would be sent now: `messages`, with summaries where something was archived or summed up."""
        return [message.to_dict() for message in self._kit.history.view.messages]

    @property
    def session(self) -> SessionStore:
        """Where the conversation is kept."""
        return self._kit.session

    @property
    def hooks(self) -> HookSystem:
        """Register handlers here, or with the `on_...` decorators."""
        return self._kit.hooks

    @property
    def registry(self) -> ToolRegistry:
        """The tools of this agent."""
        return self._kit.registry

    @property
    def team(self) -> tuple[AgentFile, ...]:
        """The agents this one may call, and those that they may call."""
        return tuple(self._kit.ground.roster)

    @property
    def system_prompt(self) -> str:
        """What the model is told first."""
        return self._kit.system_prompt()

    # The names under which tools of older agents reached into the runtime.
    def _append_execution(self, text: str) -> None:
        self._kit.append_execution(text)

    @property
    def _terminal_manager(self) -> Any:
        return self._kit.terminal_pool


def _hired(mandate: Mandate) -> Hired:
    """The runtime of a sub-agent. Its conversation is its own, and ends with its task."""
    return AsyncRuntime(mandate.agent, mandate.session, stream=mandate.live, _mandate=mandate)
