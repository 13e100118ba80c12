"""The sub-agents of one runtime at work: each call gets a runtime of its own, in a session of its caller's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from autopilot_runtime.core.bridge import in_task
from autopilot_runtime.core.protocols import RunResult, SessionStore
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.ground import Ground
from autopilot_runtime.runtime.mandate import Hire, Mandate, fulfil, nested
from autopilot_runtime.runtime.narrow import narrowed
from autopilot_runtime.runtime.run import Run
from autopilot_runtime.tool.bounds import Bounds
from autopilot_runtime.tool.define import Tool

MAX_DEPTH = 2  # levels of sub-agents where the agent file does not say
_PATIENCE = 5.0


class Below(Protocol):
    """The ground of a sub-agent of this name, called in this scope."""

    def __call__(self, name: str, scope: Scope, *, depth: int) -> Ground: ...


class Crew:
    """Those who may be called, by tool and name, and those who are at work."""

    def __init__(
        self,
        agent: AgentFile,
        session: SessionStore,
        callees: Mapping[str, Mapping[str, AgentFile]],
        *,
        hire: Hire,
        live: bool,
    ) -> None:
        self._agent = agent
        self._session = session
        self._callees = callees
        self._hire = hire
        self._live = live
        self._at_work: set[asyncio.Task[RunResult]] = set()

    async def delegate(
        self, below: Below, run: Run, scope: Scope, tool: Tool, name: str, task: str, bounds: Bounds, *, place: str
    ) -> RunResult:
        """Let an agent that this tool may call work on `task` to its end.

        Its session is one of its caller's, under the name of the `place` it is called from: a call that is made
        again after an interruption goes on with it.
        """
        ground = below(name, scope, depth=int(tool.config.get("max_depth") or MAX_DEPTH))
        agent = narrowed(self._callees[tool.name][name], within=self._agent)
        session = await nested(self._session, f"{run.id}.{place.rpartition(':')[2]}")
        mandate = Mandate(agent, ground, run, bounds.within(run.left(session.session_id)), self._live, session)
        helper = asyncio.ensure_future(fulfil(mandate, task, self._hire))
        self._at_work.add(helper)
        helper.add_done_callback(self._at_work.discard)
        return await in_task(helper)

    async def disperse(self) -> None:
        """Wait for those at work: an abort does not wait for the last of their cleaning up."""
        if self._at_work:
            await asyncio.wait(self._at_work, timeout=_PATIENCE)
