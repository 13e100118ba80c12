"""Our own runtime as an agent of the training loop. It is used as a stranger would use it: by its public names."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from autopilot_runtime.core.errors import AutopilotError, MissingKey
from autopilot_runtime.core.protocols import NOTHING_USED, Provider, RunResult, Usage


class RuntimeAgent:
    """An agent file as an `Agent`: every task is a run in a conversation of its own.

    `agent` is a path, the name of a shipped agent (`proposer`, `judge`) or an `AgentFile`. `provider` is a model, or
    a function that gives one for each run. `overrides` are values by dotted key, as `AgentFile.load` takes them.
    `on_event` is called with every event of every run. Nobody is there to be asked: what the agent file leaves to a
    person is decided by `permission_mode`.
    """

    def __init__(
        self,
        agent: str | os.PathLike[str] | Any = "proposer",
        *,
        work_dir: str | os.PathLike[str] | None = None,
        provider: Provider | Callable[[], Provider] | None = None,
        overrides: Mapping[str, Any] | None = None,
        permission_mode: str | None = None,
        on_event: Callable[[Any], object] | None = None,
    ) -> None:
        self._agent = agent
        self._overrides = dict(overrides or {})
        if work_dir is not None:
            self._overrides["runtime.work_dir"] = os.fspath(work_dir)
        self._provider, self._mode, self._on_event = provider, permission_mode, on_event
        self.usage: Usage = NOTHING_USED
        self.runs = 0
        self._counts = self

    @property
    def name(self) -> str:
        """The name of the agent file."""
        return str(self.file().name)

    def file(self) -> Any:
        """The agent file as it is now, checked: its faults are raised together."""
        public = import_module("autopilot_runtime")
        if isinstance(self._agent, public.AgentFile):
            known = self._agent
            return public.AgentFile.load(known.path, self._overrides) if self._overrides else known
        return public.AgentFile.load(self._agent, self._overrides)

    def within(self, folder: str | os.PathLike[str]) -> Self:
        """The same agent at work in another folder; what it uses is added up here."""
        other = copy.copy(self)
        other._overrides = {**self._overrides, "runtime.work_dir": os.fspath(Path(folder))}
        return other

    def ready(self) -> None:
        """Raise what would keep every task from beginning: a fault in the agent file, a missing key."""
        file = self.file()
        if self._provider is None and file.key_env and not os.environ.get(file.key_env):
            raise MissingKey(f"{file.name} needs a model's key: set {file.key_env}, or give RuntimeAgent a provider=")

    async def run(self, task: str) -> RunResult:
        """Work on `task` to its end."""
        runtime = self._runtime()
        runtime.hooks.clear()  # those that print; the host decides what is shown
        try:
            if self._on_event is None:
                await runtime.run(task)
            else:
                async for event in runtime.stream(task):
                    self._on_event(event)
            result: RunResult | None = runtime.last
        finally:
            self._counts.runs += 1
            if runtime.last is not None:
                self._counts.usage += runtime.last.usage
            await runtime.close()
        return result or RunResult("failed", error=AutopilotError("the run gave no result"))

    def _runtime(self) -> Any:
        public = import_module("autopilot_runtime")
        model = self._provider() if callable(self._provider) else self._provider
        return public.AsyncRuntime(self.file(), provider=model, permission_mode=self._mode)
