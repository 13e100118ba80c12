"""What stands for messages that are out of sight, in words that are as marked and unforgeable as all others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autopilot_runtime.context.archive import Archived, Span, Summary
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import BlockResult
from autopilot_runtime.runtime.notes import defuse, inline, shown_texts

# Only the runtime writes the tag: in what comes from elsewhere it never survives, so these lines are genuine.
_GENUINE = r"^\[(END OF PROJECT INSTRUCTIONS|[A-Z][A-Z0-9 ]+|Task \d+)\](\[USER INPUT\])? {tag}"


class Sight:
    """The words of the view. `tag` is the session's mark, which `reset()` renews."""

    def __init__(self, tag: str) -> None:
        self.tag = tag

    def archived(self, number: int, one: Archived, count: int) -> str:
        """In place of an archived task. Who wrote it and for what stays with it: it is a record, not an order."""
        tag = self.tag
        by = f", written in task {one.by}," if one.by else ""
        about = f"(your summary{by} of its {count} messages; reveal_context({number}) shows them again)"
        return f"[ARCHIVED TASK {number}] {tag}\n{about}\n{defuse(one.summary, tag)}"

    def summary(self, one: Summary, kept: Sequence[str]) -> str:
        """In place of the oldest messages; what is kept of them follows word for word."""
        tag = self.tag
        by = "by the model" if one.by_model else "by the runtime, without a model"
        about = f"(of the first {one.upto} messages, made {by}; reveal_context(n) shows task n of them again)"
        parts = [f"[GLOBAL SUMMARY] {tag}\n{about}\n{defuse(one.text, tag)}"]
        if one.questions:
            asked = "\n".join(f"- (task {task}) {inline(text, tag, 500)}" for task, text in one.questions)
            parts[0] += f"\nAsked, and not answered yet:\n{asked}"
        return "\n\n".join([*parts, *(text.strip("\n") for text in kept)])

    @property
    def dropped(self) -> str:
        """In place of an earlier look at a command whose whole output was shown later."""
        return "(output shown in full below)"


@dataclass(frozen=True, slots=True)
class Look:
    """A stretch of a result message that shows a source; `whole`: all of it, so earlier looks are in there."""

    source: str
    start: int
    end: int
    whole: bool


def looks(result: BlockResult, tag: str) -> list[Look]:
    """Where in the message that `result_message` makes of this result something can be seen."""
    found, at = [], len(f"[EXECUTION RESULT] {tag}\n")
    for item, text in shown_texts(result):
        length = len(defuse(text, tag))
        if item is not None and item.source:
            found.append(Look(item.source, at, at + length, item.whole))
        at += length + 1
    return found


def kept_parts(messages: Sequence[Message], tag: str, *, current: int) -> tuple[Span, ...]:
    """What a summary of these messages must leave as it is.

    Project instructions (of each file the newest), the text of the task at work, and what the user said to it.
    """
    instructions: dict[str, Span] = {}
    words: list[Span] = []
    for index, message in enumerate(messages):
        if message.role != "user":
            continue
        for name, start, end in sections(message.content, tag):
            span = Span(index, start, end)
            if name == "PROJECT INSTRUCTIONS":
                head = message.content[start:end].partition("\n")[0]
                instructions[head.rpartition(" (")[0]] = span
            elif message.task == current and (name == "USER MESSAGE" or name.startswith("Task ")):
                words.append(span)
    return (*instructions.values(), *words)


def sections(text: str, tag: str) -> Iterator[tuple[str, int, int]]:
    """The parts of a message of the runtime: the name in the marker line, where it begins, where the next begins."""
    if tag not in text:
        return
    found = list(re.finditer(_GENUINE.replace("{tag}", re.escape(tag)), text, re.MULTILINE))
    found = [one for one in found if one[1] != "END OF PROJECT INSTRUCTIONS"]
    ends = [*(one.start() for one in found[1:]), len(text)]
    for one, end in zip(found, ends, strict=False):
        yield one[1], one.start(), end


def without_status(message: Message, tag: str) -> str:
    """The text of a message without its status block, which is about a moment that has passed."""
    return "".join(
        message.content[start:end] for name, start, end in _all_sections(message.content, tag) if name != "STATUS"
    ).strip()


def _all_sections(text: str, tag: str) -> Iterator[tuple[str, int, int]]:
    """Also what stands before the first marker."""
    first = True
    for name, start, end in sections(text, tag):
        if first and start:
            yield "", 0, start
        first = False
        yield name, start, end
    if first:
        yield "", 0, len(text)
