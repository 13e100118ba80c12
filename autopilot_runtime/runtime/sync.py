"""`Runtime`: the same runtime for code that is not async. A thin door: everything happens in `AsyncRuntime`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from autopilot_runtime.core.bridge import bridge
from autopilot_runtime.core.event import Event
from autopilot_runtime.core.hooks import HookSystem
from autopilot_runtime.core.protocols import Provider, RunResult, SessionStore
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.runtime import AsyncRuntime
from autopilot_runtime.tool.registry import ToolRegistry


class Runtime:
    """An agent file, ready to take tasks. Use as a context manager, or call `close()`."""

    def __init__(
        self,
        agent_file: str | Path | AgentFile,
        session: str | SessionStore = "memory",
        session_id: str | None = None,
        session_dir: str | Path | None = None,
        stream: bool = False,
        db_url: str | None = None,
        *,
        provider: Provider | None = None,
        permission_mode: str | None = None,
        permissions: tuple[str, ...] = (),
    ) -> None:
        self._async = AsyncRuntime(
            agent_file,
            session,
            session_id,
            session_dir,
            stream,
            db_url,
            provider=provider,
            permission_mode=permission_mode,
            permissions=permissions,
        )

    def run(self, task: str) -> str | None:
        """Work on `task` until it is done. The completion text, or None for any other ending (see `last`)."""
        return bridge().call(self._async.run(task))

    def resume(self) -> str | None:
        """Go on with the newest run of the session: one that was interrupted, suspended or failed, or ran out.

        Also one of another process. What its calls gave is not done again.
        """
        return bridge().call(self._async.resume())

    def stream(self, task: str) -> Iterator[Event]:
        """Run `task` and give its events as they happen. Leaving the loop early aborts the run."""
        with self._running(task) as feed:
            while (event := feed()) is not None:
                yield event

    @contextmanager
    def _running(self, task: str) -> Iterator[Callable[[], Event | None]]:
        feed = self._async.open_feed()
        work = asyncio.run_coroutine_threadsafe(self._async.run(task), bridge().loop)
        work.add_done_callback(lambda _: feed.close())
        try:
            yield feed.get
            work.result()
        finally:
            feed.close()
            if not work.done():
                bridge().call(self._async.leave())

    def events(self, since: int = 0) -> Iterator[Event]:
        """The events after number `since`, then live ones until the runtime is closed."""
        feed = self._async.open_feed(since)
        try:
            while (event := feed.get()) is not None:
                yield event
        finally:
            feed.close()

    def send_message(self, message: str) -> None:
        """Queue a message for the running agent. Thread-safe, returns at once."""
        self._async.send_message(message)

    def answer(self, request_id: str, value: Any, *, resume: bool = True) -> str | None:
        """Settle a question or permission that waits: of the run in progress, or of a suspended one, of any process.

        The answer is kept at once. A suspended run whose requests are all answered then goes on, and this gives its
        completion text; with `resume=False` it goes on at the next `resume()`.
        """
        answered = self._async.answer(request_id, value)
        return bridge().call(_awaited(answered)) if resume else None

    @property
    def open_requests(self) -> list[dict[str, Any]]:
        """The questions and permissions that wait for an answer, each with its `request_id` and `kind`."""
        return self._async.open_requests

    def undo(self, run_id: str | None = None, *, force: bool = False) -> list[str]:
        """Put back every file that a run changed (the newest one, if none is named) as it was before it."""
        return bridge().call(self._async.undo(run_id, force=force))

    def abort(self) -> None:
        """Stop the run in progress (within a second), or the next one when none is."""
        self._async.abort()

    def reset(self) -> None:
        """Forget the conversation; the next run starts fresh."""
        self._async.reset()

    def register_tool(self, name: str, func: Callable[..., Any], replace: bool = False) -> None:
        """Add a function as a tool; its docstring goes into the system prompt."""
        self._async.register_tool(name, func, replace)

    def close(self) -> None:
        """End everything this runtime owns: terminals, workers, connections."""
        bridge().call(self._async.close())

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._async).replace("AsyncRuntime", "Runtime", 1)

    @property
    def agent(self) -> AgentFile:
        """The agent file this runtime was made from."""
        return self._async.agent

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation so far, as plain dicts."""
        return self._async.messages

    @property
    def context(self) -> list[dict[str, Any]]:
        """What the model would be sent now: `messages`, with summaries where something was archived or summed up."""
        return self._async.context

    @property
    def session(self) -> SessionStore:
        """Where the conversation is kept."""
        return self._async.session

    @property
    def hooks(self) -> HookSystem:
        """Register handlers here, or with the `on_...` decorators."""
        return self._async.hooks

    @property
    def registry(self) -> ToolRegistry:
        """The tools of this agent."""
        return self._async.registry

    @property
    def team(self) -> tuple[AgentFile, ...]:
        """The agents this one may call, and those that they may call."""
        return self._async.team

    @property
    def last(self) -> RunResult | None:
        """How the last run ended."""
        return self._async.last

    @property
    def system_prompt(self) -> str:
        """What the model is told first."""
        return self._async.system_prompt


async def _awaited(answered: Awaitable[str | None]) -> str | None:
    return await answered
