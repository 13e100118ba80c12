"""What was put out of the model's sight, as a small state beside a conversation that stays whole. Pure.

It names tasks by their number and messages by their index, so it fits every copy of the conversation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.core.message import Message

Question = tuple[int, str]  # the task in which it was asked, and its text
VERSION = 1
MOST_QUESTIONS = 20


@dataclass(frozen=True, slots=True)
class Archived:
    """A task that is shown as its summary, which was written while the task `by` was at work."""

    summary: str
    by: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one message."""

    index: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Summary:
    """One text in place of the messages before index `upto`, with what of them stays word for word."""

    text: str
    upto: int
    kept: tuple[Span, ...] = ()
    questions: tuple[Question, ...] = ()  # open when it was written
    by_model: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """All of it. The empty state shows the conversation as it is."""

    archived: Mapping[int, Archived] = field(default_factory=dict)
    summary: Summary | None = None
    revealed: frozenset[int] = frozenset()  # tasks that the summary covers and that are shown all the same
    dropped: tuple[Span, ...] = ()  # what is shown again, and in full, further down
    questions: tuple[Question, ...] = ()  # what the agent asked and nobody answered

    @property
    def empty(self) -> bool:
        """Whether the conversation is shown as it is."""
        return not (self.archived or self.summary or self.dropped)

    @property
    def upto(self) -> int:
        """The first message that the global summary does not cover."""
        return self.summary.upto if self.summary else 0

    def asked(self, task: int, question: str) -> State:
        """With a question that nobody has answered."""
        others = [one for one in self.questions if one[1] != question]
        return replace(self, questions=(*others, (task, question))[-MOST_QUESTIONS:])

    def answered(self, question: str) -> State:
        """Without a question that was asked again, and answered."""
        return replace(self, questions=tuple(one for one in self.questions if one[1] != question))

    def to_dict(self) -> dict[str, Any]:
        """As it is kept in a session."""
        return {
            "version": VERSION,
            "archived": {str(n): {"summary": one.summary, "by": one.by} for n, one in self.archived.items()},
            "summary": _written(self.summary) if self.summary else None,
            "revealed": sorted(self.revealed),
            "dropped": _lists(self.dropped),
            "questions": [list(one) for one in self.questions],
        }

    @classmethod
    def from_dict(cls, value: Any, messages: Sequence[Message]) -> State:
        """Read `to_dict`. Whatever is not that, or does not fit these messages, is a ValueError."""
        try:
            if value["version"] != VERSION:
                raise ValueError(f"version {value['version']!r}")
            state = cls(
                {int(n): Archived(str(one["summary"]), int(one["by"])) for n, one in value["archived"].items()},
                _read(value["summary"]) if value["summary"] else None,
                frozenset(map(int, value["revealed"])),
                _spans(value["dropped"]),
                _questions(value["questions"]),
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        if not state._fits(messages):
            raise ValueError(f"it speaks of other messages than these {len(messages)}")
        return state

    def _fits(self, messages: Sequence[Message]) -> bool:
        spans = [*self.dropped, *(self.summary.kept if self.summary else ())]
        return 0 <= self.upto <= len(messages) and all(
            0 <= one.index < len(messages) and 0 <= one.start <= one.end <= len(messages[one.index].content)
            for one in spans
        )


def _written(summary: Summary) -> dict[str, Any]:
    return {
        "text": summary.text,
        "upto": summary.upto,
        "kept": _lists(summary.kept),
        "questions": [list(one) for one in summary.questions],
        "by_model": summary.by_model,
    }


def _read(value: Any) -> Summary:
    kept, questions = _spans(value["kept"]), _questions(value["questions"])
    return Summary(str(value["text"]), int(value["upto"]), kept, questions, bool(value["by_model"]))


def _questions(value: Iterable[Any]) -> tuple[Question, ...]:
    return tuple((int(task), str(text)) for task, text in value)


def _lists(spans: Iterable[Span]) -> list[list[int]]:
    return [[one.index, one.start, one.end] for one in spans]


def _spans(value: Iterable[Any]) -> tuple[Span, ...]:
    return tuple(Span(int(index), int(start), int(end)) for index, start, end in value)


# ---------------------------------------------------------------- putting away and taking out


def can_archive(messages: Sequence[Message], state: State, *, current: int) -> list[int]:
    """The tasks that are in sight in full and not at work."""
    seen = {one.task for one in messages[state.upto :]} | state.revealed
    return sorted(seen - {current} - set(state.archived))


def archive(messages: Sequence[Message], state: State, summaries: Mapping[int, str], *, current: int) -> State:
    """With these tasks behind their summaries; one that cannot be is a ToolError, and nothing is put away."""
    possible = can_archive(messages, state, current=current)
    for number, summary in summaries.items():
        if number not in possible:
            # The same call made again, after an interruption that came before it was noted as made.
            if state.archived.get(number) == Archived(summary.strip(), current):
                continue
            raise ToolError(f"{_why_not(messages, state, number, current=current)} {_choice(possible)}")
        if not summary.strip():
            raise ToolError(
                f"The summary of task {number} is empty: say what was done, decided and left open, for it is all "
                "that stays in sight. Nothing was archived."
            )
    fresh = {number: Archived(summary.strip(), current) for number, summary in summaries.items()}
    return replace(state, archived={**state.archived, **fresh}, revealed=state.revealed - set(summaries))


def _why_not(messages: Sequence[Message], state: State, number: int, *, current: int) -> str:
    if number == current:
        return f"Task {number} is the one at work; it can be archived from a later task."
    if number in state.archived:
        return f"Task {number} is archived already; reveal_context({number}) brings it back."
    if any(one.task == number for one in messages[: state.upto]):
        return f"Task {number} is part of the global summary already."
    return f"There is no task {number} in this conversation."


def _choice(possible: Collection[int]) -> str:
    return f"Can be archived: {', '.join(map(str, possible)) or 'none'}. Nothing was archived."


def hidden(messages: Sequence[Message], state: State) -> list[int]:
    """The tasks that `reveal` can bring back: archived ones, and those of the global summary."""
    summed = {one.task for one in messages[: state.upto]} - state.revealed
    return sorted(summed | set(state.archived))


def reveal(messages: Sequence[Message], state: State, number: int) -> State:
    """With a task in full again."""
    if number not in hidden(messages, state):
        there = any(one.task == number for one in messages)
        what = f"Task {number} is not archived: you see all of it." if there else f"There is no task {number}."
        raise ToolError(f"{what} Archived: {', '.join(map(str, hidden(messages, state))) or 'none'}.")
    summed = any(one.task == number for one in messages[: state.upto])
    rest = {n: one for n, one in state.archived.items() if n != number}
    return replace(state, archived=rest, revealed=state.revealed | ({number} if summed else set()))
