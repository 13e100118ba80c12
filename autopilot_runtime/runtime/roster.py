"""The sub-agents of one runtime, those of its sub-agents too: each file is read once, each model connected once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from autopilot_runtime.core.protocols import Provider
from autopilot_runtime.runtime.agentfile import AgentFile


class Roster:
    """Everybody who may be called, by the path of the file. What a file says counts from the beginning to the end."""

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir
        self._files: dict[Path, AgentFile] = {}
        self._models: dict[Path, Provider] = {}
        self.tools: set[str] = set()  # that any of them has: rules may be about these

    def __iter__(self) -> Iterator[AgentFile]:
        return iter(self._files.values())

    def enlist(self, path: Path) -> tuple[AgentFile, bool]:
        """The agent of a file, working where its caller works, and whether it was read just now."""
        known = self._files.get(path)
        if known is not None:
            return known, False
        # Its own work_dir may not even exist here: it works in its caller's, wherever it is called from.
        self._files[path] = agent = AgentFile.load(path, {"runtime.work_dir": str(self._work_dir)})
        return agent, True

    def model(self, agent: AgentFile, connect: Callable[[], Provider]) -> Provider:
        """The model of an agent; connected at its first call, and kept for the next."""
        if agent.path not in self._models:
            self._models[agent.path] = connect()
        return self._models[agent.path]

    async def close(self) -> None:
        """Close every connection."""
        while self._models:
            await self._models.popitem()[1].close()
