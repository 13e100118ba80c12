"""What a session remembers of how it was begun: the agent file, the folder it works in, the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autopilot_runtime.cli.request import Request
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.agentpaths import shipped_agents

KEY = "origin"  # in the session's extra state


@dataclass(frozen=True, slots=True)
class Origin:
    """`agent_file` is a path, or the name of an agent we ship; `chosen_model` is what `--model` said."""

    agent_file: str
    work_dir: str
    model: str = ""
    chosen_model: str | None = None
    cwd: str = ""

    @property
    def here(self) -> bool:
        """Whether it was begun in the current folder, or works in it."""
        return str(Path.cwd()) in (self.cwd, self.work_dir)


def origin_of(extra: Mapping[str, Any]) -> Origin | None:
    """The origin in a session's extra state; None for a session that the command line did not begin."""
    found = extra.get(KEY)
    if not isinstance(found, Mapping) or not found.get("agent_file") or not found.get("work_dir"):
        return None
    text = {name: str(found.get(name) or "") for name in ("agent_file", "work_dir", "model", "cwd")}
    return Origin(**text, chosen_model=str(found["chosen_model"]) if found.get("chosen_model") else None)


def remember(session: Any, request: Request, agent: AgentFile) -> None:
    """Write the origin into the session, unless it stands there already."""
    origin = Origin(
        agent_file=request.agent if request.agent in shipped_agents() else str(agent.path),
        work_dir=str(agent.work_dir),
        model=f"{agent.model.provider}/{agent.model.name}",
        chosen_model=request.model,
        cwd=str(Path.cwd()),
    )
    before = origin_of(session.extra())
    if before is not None and before.agent_file == origin.agent_file and before.work_dir == origin.work_dir:
        if before.model == origin.model:
            return
        origin = Origin(**{**asdict(origin), "cwd": before.cwd})
    session.append([], extra={KEY: asdict(origin)})
