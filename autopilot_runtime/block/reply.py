"""What a reply of the model is once it is read: pieces to stream, blocks to act on, problems to tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Window = Literal["prose", "completion", "control"]
ProblemKind = Literal["error", "warning", "hint"]
Fault = Literal[
    "cut",  # the token limit ended the reply where something of it cannot be trusted
    "cut_after",  # the token limit ended the reply after everything that runs was complete
    "unclosed",  # a control or payload block without closing fence
    "unclosed_completion",
    "two_controls",
    "two_completions",
    "swallowed",  # a block that opens inside another one of the same fence length
    "ambiguous",  # cannot tell a nested fence from the end of a payload
    "look_alike",  # nearly a runtime block
    "early_payload",  # `filename=` before the control block
    "fence_in_control",
    "surrogates",
]


@dataclass(frozen=True, slots=True)
class Piece:
    """Text a person may see now, or (window `control`, no text) the moment the control block opened or closed."""

    window: Window
    text: str = ""
    mark: Literal["", "opened", "closed"] = ""


@dataclass(frozen=True, slots=True)
class Control:
    """The block that runs. Line k of `code` is line `line + k` of the reply."""

    code: str
    line: int
    closed: bool


@dataclass(frozen=True, slots=True)
class Payload:
    """The full lines between two fences, byte for byte; "" when there are none. `line` is the opening fence."""

    content: str
    language: str
    filename: str | None
    line: int
    closed: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """Something the model should hear. An `error` means that nothing of the reply may run or count as done."""

    kind: ProblemKind
    fault: Fault
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply. `tail` is what `finish` released for streaming after the last `feed`.

    `prose` and `completion` are exactly the concatenated pieces of those windows (a cut completion is None). `text`
    is the whole reply as received, lone surrogates replaced. Look at `errors` before `kind`: with errors nothing of
    the reply counts. A `chat` reply with a hint was probably meant to act: tell the model instead of ending.
    """

    text: str
    prose: str
    control: Control | None = None
    payloads: tuple[Payload, ...] = ()
    completion: str | None = None
    completion_closed: bool = False
    asides: str = ""
    problems: tuple[Problem, ...] = ()
    kind: Literal["action", "completion", "chat", "empty"] = "empty"
    cut: bool = False
    tail: tuple[Piece, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that forbid to run anything."""
        return tuple(problem for problem in self.problems if problem.kind == "error")

    @property
    def runnable(self) -> bool:
        """Whether the control block may run."""
        return self.control is not None and self.control.closed and not self.errors
