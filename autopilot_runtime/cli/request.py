"""What the flags of `run` and `chat` ask for, and the runtime that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from autopilot_runtime.cli.place import Place
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.protocols import Provider
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.runtime import AsyncRuntime

Output = Literal["text", "json", "jsonl"]
STDIN_LIMIT = 8_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says to a request that a suspended run waits for; without an id, to the only one."""

    value: str
    request_id: str | None = None
    go_on: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """The flags, as given. None means: what the agent file says.

    `resume` is the id of the session to go on with, "" one to be picked; `newest` is the newest one. Once that
    is known it stands in `session`, and `resuming` says that there is no new task.
    """

    agent: str
    task: str = ""
    output: Output = "text"
    stream: bool | None = None
    model: str | None = None
    max_steps: int | None = None
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    permission_mode: str | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    work_dir: Path | None = None
    session: str | None = None
    bare: bool = False
    save: bool = True
    place: Place = field(default_factory=Place)
    resume: str | None = None
    newest: bool = False
    resuming: bool = False
    answer: Answer | None = None

    @property
    def overrides(self) -> dict[str, Any]:
        """Values of the agent file that flags replace, by dotted key."""
        given: dict[str, Any] = {
            "runtime.max_steps": self.max_steps,
            "runtime.max_cost_usd": self.max_cost_usd,
            "runtime.max_tokens_total": self.max_tokens,
            "runtime.timeout_s": self.timeout,
            "runtime.work_dir": None if self.work_dir is None else str(self.work_dir.absolute()),
        }
        chosen = {key: value for key, value in given.items() if value is not None}
        if self.model is not None:
            provider, slash, name = self.model.partition("/")
            if not slash or not name:
                raise SetupError(f"--model reads provider/name, such as ollama/qwen3; got {self.model!r}.")
            chosen |= {"model.provider": provider, "model.name": name, "model.api_key_env": None}
            chosen |= {"model.base_url": None, "model.fallbacks": []}
        if self.bare:
            chosen |= {"instructions": [], "skills": [], "mcp_servers": {}}
        return chosen

    @property
    def rules(self) -> tuple[str, ...]:
        """Permission rules that stand before those of the agent file."""
        return (*(f"deny: {rule}" for rule in self.deny), *(f"allow: {rule}" for rule in self.allow))


def load_agent(request: Request, *, person: bool) -> AgentFile:
    """The agent file with the flags in it. Nobody is waited for where nobody is."""
    overrides = request.overrides
    agent = AgentFile.load(request.agent, overrides)
    if not person and agent.runtime.on_unanswered == "wait":
        agent = AgentFile.load(request.agent, {**overrides, "runtime.on_unanswered": "deny"})
    return agent


def open_runtime(
    request: Request, agent: AgentFile, *, stream: bool, provider: Provider | None = None
) -> AsyncRuntime:
    """A runtime for the request; one with a session id keeps the conversation."""
    kept = request.session is not None
    return AsyncRuntime(
        agent,
        session=request.place.backend if kept else "memory",
        session_id=request.session,
        session_dir=request.place.session_dir if kept else None,
        db_url=request.place.db_url if kept else None,
        stream=stream,
        provider=provider,
        permission_mode=request.permission_mode,
        permissions=request.rules,
    )


def read_task(task: str) -> str:
    """The task; `-` reads it from standard input, which is read in no other case."""
    if task != "-":
        if not task.strip():
            raise SetupError("The task is empty. Give it in quotes, or - to read it from standard input.")
        return task
    raw = _all_of_stdin()
    text = raw.decode("utf-8", "replace")
    if not text.strip():
        raise SetupError("The task on standard input is empty.")
    return text


def _all_of_stdin() -> bytes:
    with open(0, "rb", closefd=False) as stream:
        raw = stream.read(STDIN_LIMIT + 1)
    if len(raw) > STDIN_LIMIT:
        raise SetupError(f"The task on standard input is longer than {STDIN_LIMIT} bytes; put it into a file.")
    return raw
