"""What the messages of a session say, taken apart: who speaks in which part of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from autopilot_runtime.core.older import adopted

Speaker = Literal["task", "agent", "result", "message", "environment", "instructions", "status", "note"]
_OWN: tuple[Speaker, ...] = ("task", "result")
_SPEAKERS: tuple[tuple[str, Speaker], ...] = (
    ("USER INPUT", "task"),
    ("EXECUTION RESULT", "result"),
    ("USER MESSAGE", "message"),
    ("ENVIRONMENT CHANGE", "environment"),
    ("PROJECT INSTRUCTIONS", "instructions"),
    ("END OF PROJECT INSTRUCTIONS", "note"),
    ("STATUS", "status"),
)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a message; `marks` say what became of the message since."""

    speaker: Speaker
    text: str
    task: int = 0
    marks: tuple[str, ...] = ()


def parts(messages: Sequence[Mapping[str, Any]], tag: str) -> list[Part]:
    """The conversation, part by part. Only a line with the session's tag begins one: nobody else can write it."""
    return [part for message in adopted(messages) for part in _of(message, tag)]


def _of(message: Mapping[str, Any], tag: str) -> list[Part]:
    content, kind = _text(message, "content"), _text(message, "kind")
    task, marks = int(message.get("task") or 0), _marks(message, kind)
    if message.get("role") == "assistant":
        return [Part("agent", content, task, marks)]
    speaker: Speaker = next((one for one in _OWN if one == kind), "note")
    found: list[Part] = []
    if speaker == "task" and not (tag and tag in content):  # of a writer without tags
        content = content.removeprefix(f"[Task {task}][USER INPUT]").lstrip(" ")
    for head, text in _sections(content, tag):
        who = next((who for word, who in _SPEAKERS if head.endswith(f"[{word}]")), speaker)
        if text.strip():
            found.append(Part(who, text.strip("\n"), task, marks))
    return found


def _text(message: Mapping[str, Any], key: str) -> str:
    return str(message.get(key) or "")


def _marks(message: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    marks = [kind] if kind in ("archived", "summary") else []
    return tuple(marks + [name for name in ("archived", "undone") if message.get(name) and name not in marks])


def _sections(content: str, tag: str) -> list[tuple[str, str]]:
    if not tag:
        return [("", content)]
    head = re.compile(rf"^((?:\[[^\]\n]+\])+)[^\n]*{re.escape(tag)}[^\n]*\n?", re.MULTILINE)
    found = list(head.finditer(content))
    ends = [*(one.start() for one in found[1:]), len(content)]
    before = content[: found[0].start()] if found else content
    cut = [("", before)] if before.strip() else []
    return cut + [(one[1], content[one.end() : end]) for one, end in zip(found, ends, strict=False)]


def task_text(message: Mapping[str, Any], tag: str) -> str:
    """What the person asked for in this message."""
    of = parts([message], tag) if message else []
    return next((part.text for part in of if part.speaker == "task"), of[0].text if of else "")
