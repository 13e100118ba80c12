"""The seams: what one floor asks of another, on one page. Ours are implemented exactly as a user's would be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from autopilot_runtime.core.errors import AutopilotError
from autopilot_runtime.core.message import Message

# ---------------------------------------------------------------- the model


@dataclass(frozen=True, slots=True)
class Usage:
    """What model calls cost. `input_total` includes cached input; None means the provider did not say."""

    input_total: int | None = None
    cache_read: int = 0
    cache_write: int = 0
    output: int | None = None
    reasoning: int = 0
    cost_usd: float | None = None
    cost_source: Literal["provider", "price_table", "unknown"] = "unknown"
    calls: int = 1

    def __add__(self, other: Usage) -> Usage:
        known = self.cost_usd is not None and other.cost_usd is not None
        sources = {u.cost_source for u in (self, other) if u.calls}
        return Usage(
            _sum(self.input_total, other.input_total),
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            _sum(self.output, other.output),
            self.reasoning + other.reasoning,
            (self.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None,
            sources.pop() if len(sources) == 1 else ("price_table" if known else "unknown"),
            self.calls + other.calls,
        )

    def __sub__(self, part: Usage) -> Usage:
        known = self.cost_usd is not None and part.cost_usd is not None
        return Usage(
            _difference(self.input_total, part.input_total),
            self.cache_read - part.cache_read,
            self.cache_write - part.cache_write,
            _difference(self.output, part.output),
            self.reasoning - part.reasoning,
            (self.cost_usd or 0.0) - (part.cost_usd or 0.0) if known else None,
            self.cost_source,
            self.calls - part.calls,
        )


NOTHING_USED = Usage(0, 0, 0, 0, 0, 0.0, "price_table", 0)


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _difference(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a - b


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of the model's reasoning; shown, never parsed."""

    text: str


@dataclass(frozen=True, slots=True)
class Used:
    """The usage of this call, as the provider reports it. May come more than once: the last one counts."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Stopped:
    """The last delta of every whole reply. Anything but `end` means the text is not a finished reply."""

    reason: Literal["end", "length", "refusal", "context"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Retrying:
    """A try failed and another follows. All text since the stream began is void: discard it."""

    attempt: int
    delay: float
    error: str
    kind: str = ""


Delta = Text | Thought | Used | Stopped | Retrying


@runtime_checkable
class Provider(Protocol):
    """A model. `stream` yields deltas and ends with `Stopped`, or raises `ProviderError`."""

    name: str
    model: str

    def stream(
        self, messages: Sequence[Message], *, system: str, max_tokens: int | None = None
    ) -> AsyncIterator[Delta]: ...

    async def close(self) -> None: ...


# ---------------------------------------------------------------- tools and the control block


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a tool. `schema` is JSON Schema; `shown` is the annotation as the model reads it."""

    name: str
    schema: Mapping[str, Any]
    required: bool = True
    default: Any = None
    shown: str = ""
    kind: Literal["normal", "keyword", "var_positional", "var_keyword"] = "normal"


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What a control block and the system prompt know of a tool. A name may hold one dot (`server.tool`)."""

    name: str
    doc: str
    params: tuple[Param, ...]
    # How many payload blocks a call with these (known) arguments takes; None when it takes none, ever.
    payloads: Callable[[Mapping[str, Any]], int] | None = None

    @property
    def signature(self) -> str:
        """`name(a: str, b: int = 3)`, as in the system prompt and in error texts."""
        shown = [_shown(param) for param in self.params]
        kinds = [param.kind for param in self.params]
        if "keyword" in kinds and "var_positional" not in kinds:
            shown.insert(kinds.index("keyword"), "*")
        return f"{self.name}({', '.join(shown)})"


def _shown(param: Param) -> str:
    star = {"var_positional": "*", "var_keyword": "**"}.get(param.kind, "")
    text = f"{star}{param.name}" + (f": {param.shown}" if param.shown else "")
    return text if param.required or star else f"{text} = {param.default!r}"


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call made by a running control block. `bare`: a statement of its own, so its result is shown."""

    index: int
    tool: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    bare: bool = False
    line: int | None = None
    # What the block has read of clock and randomness since its last call: given back to it when it is run again.
    reads: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call gave back: a JSON-like value for the code and a text for the reader, or an error.

    `error_type` is the name of a Python exception the block sees (`ToolError`, `FileNotFoundError`, ...).
    `fatal` ends the block at once (abort, budget, suspension), whatever it tries to catch.
    """

    value: Any = None
    shown: str | None = None
    error: str | None = None
    error_type: str = "ToolError"
    fatal: bool = False
    # How it went in a few words, where that it was made says too little: `completed, return_code 1`.
    note: str = ""
    # What `shown` is a look at (a command, say); `whole`: it shows all that earlier looks at it have shown.
    source: str = ""
    whole: bool = False


Caller = Callable[[Call], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one control block may use. `seconds` is its own time: time inside tools does not count."""

    seconds: float = 30.0
    memory_mb: int = 512
    output_chars: int = 64_000
    calls: int = 1_000


@dataclass(frozen=True, slots=True)
class Item:
    """One thing a block showed, in order: printed text, a shown result, a receipt, the last expression."""

    kind: Literal["text", "shown", "receipt", "value"]
    text: str
    source: str = ""  # of an `Outcome`, as is `whole`
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a block did not end well. `check` and `syntax` mean that nothing of it ran."""

    kind: Literal["syntax", "check", "security", "error", "timeout", "memory", "limit", "killed", "stopped"]
    text: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class BlockResult:
    """How a control block went. `effects` names, in order, the calls that completed before a failure."""

    items: tuple[Item, ...] = ()
    failure: Failure | None = None
    effects: tuple[str, ...] = ()
    calls: int = 0
    elapsed: float = 0.0
    dropped_chars: int = 0
    reads: tuple[Any, ...] = ()  # those after its last call


@runtime_checkable
class Sandbox(Protocol):
    """A place where control blocks run, one after another, sharing variables until `close`."""

    name: str

    async def start(self) -> None:
        """Bring a worker up; may be called early so that it overlaps with the first model call."""

    async def run(
        self,
        code: str,
        *,
        tools: Mapping[str, ToolSpec],
        call: Caller,
        limits: Limits,
        payloads: int = 0,
        reads: Sequence[Any] = (),
    ) -> BlockResult:
        """Run one block. Cancelling this coroutine kills the worker; the next `run` gets a fresh one.

        `reads` are what clock and randomness gave when this block was run before, in order; when they are used up
        it reads the real ones.
        """
        ...

    async def close(self) -> None: ...


# ---------------------------------------------------------------- sessions and agents


@runtime_checkable
class SessionStore(Protocol):
    """The conversation of one session and the runtime's own state beside it.

    A store whose calls wait for a disk or a server says `blocking = True`: they are then made on a thread. One that
    must be awaited has a coroutine `open()`, which reads the session; its `load` and `extra` then give what was read,
    and all its other calls are coroutines. One that is kept in files or folders names them in `places`: undo leaves
    those alone.
    """

    session_id: str

    def acquire(self) -> None:
        """Called when a run begins: be the only writer, or raise `SessionConflict` before anything is spent."""

    def load(self) -> list[dict[str, Any]]: ...

    def save(self, messages: list[dict[str, Any]]) -> None:
        """Called when a run has ended, with the whole conversation."""

    def append(
        self, messages: Sequence[Mapping[str, Any]], *, extra: Mapping[str, Any] | None = None, durable: bool = True
    ) -> None:
        """Add what one step produced; it is kept when this returns. Costs O(new), never O(history).

        Keys of `extra` replace what is stored under them, a None removes. With `durable=False` it need only survive
        the end of this process, not of the machine.
        """

    def extra(self) -> dict[str, Any]: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


RunStatus = Literal["completed", "answered", "max_steps", "aborted", "budget", "suspended", "failed"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How one `run()` ended. `summary` is the completion text, or the answer of a chat reply."""

    status: RunStatus
    summary: str | None = None
    output: Any = None
    steps: int = 0
    usage: Usage = NOTHING_USED
    cost_usd: float | None = None
    files_changed: tuple[str, ...] = field(default=())
    run_id: str = ""
    session_id: str = ""
    error: Exception | None = None

    def raise_for_status(self) -> RunResult:
        """Itself when the run completed or answered; otherwise raise what stopped it."""
        if self.status in ("completed", "answered"):
            return self
        raise self.error or AutopilotError(f"The run ended as {self.status}.")


class Agent(Protocol):
    """Anything that takes a task and works on it."""

    async def run(self, task: str) -> RunResult: ...
