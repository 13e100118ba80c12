"""What a sub-agent gets from its caller: a place on its ground, and the most it may do and spend."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from autopilot_runtime.core.errors import AutopilotError
from autopilot_runtime.core.protocols import RunResult, SessionStore
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.ground import Ground
from autopilot_runtime.runtime.run import Run
from autopilot_runtime.runtime.standing import ended_before
from autopilot_runtime.session.memory import InMemorySession
from autopilot_runtime.tool.bounds import Bounds


@dataclass(frozen=True, slots=True)
class Mandate:
    """One call of a sub-agent by a run."""

    agent: AgentFile
    ground: Ground
    run: Run
    bounds: Bounds
    live: bool
    session: SessionStore


class Hired(Protocol):
    """The runtime of a sub-agent, for one task."""

    last: RunResult | None

    async def run(self, task: str) -> str | None: ...

    async def take_up(self) -> bool:
        """Go on with the run of this session; False when there is none."""
        ...

    async def close(self) -> None: ...


Hire = Callable[[Mandate], Hired]


async def fulfil(mandate: Mandate, task: str, hire: Hire) -> RunResult:
    """Run the sub-agent to its end; whatever that end is, it is a result."""
    ended = ended_before(mandate.run, mandate.session)
    if ended is not None:
        return ended
    try:
        hired = hire(mandate)
    except AutopilotError as error:
        return RunResult("failed", error=error)
    try:
        if not await hired.take_up():
            await hired.run(task)
    except AutopilotError as error:  # it could not begin: its model's key is missing, say
        return hired.last or RunResult("failed", error=error)
    finally:
        await hired.close()
    return hired.last or RunResult("failed")


async def nested(session: SessionStore, name: str) -> SessionStore:
    """A session that belongs to `session`; one in memory, where its kind has none."""
    make = getattr(session, "nested", None)
    if make is None:
        return InMemorySession(f"{session.session_id}/{name}")
    made = make(name)
    store: SessionStore = await made if inspect.isawaitable(made) else made
    return store
