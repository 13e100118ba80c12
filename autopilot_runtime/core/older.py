"""Conversations of an older writer, whose messages are only role and content: what each is, and of which task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_TASK = re.compile(r"\[Task (\d{1,9})\]\[USER INPUT\]")
_ARCHIVED = re.compile(r"\[ARCHIVED TASK (\d{1,9})\]")
_SUMMARY = "[GLOBAL SUMMARY]"


def adopted(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages, each with a `kind` and a `task`; those that have a kind are as they were."""
    found: list[dict[str, Any]] = []
    task = 0
    for message in messages:
        found.append(dict(message) if "kind" in message else {**message, **_read(message, task)})
        task = _number(found[-1]) or task
    return found


def _read(message: Mapping[str, Any], task: int) -> dict[str, Any]:
    content = str(message.get("content") or "")
    if message.get("role") == "assistant":
        return {"kind": "reply", "task": task}
    if begun := _TASK.match(content):
        return {"kind": "task", "task": int(begun[1])}
    if archived := _ARCHIVED.match(content):
        return {"kind": "note", "task": int(archived[1])}
    return {"kind": "result" if task and not content.startswith(_SUMMARY) else "note", "task": task}


def _number(message: Mapping[str, Any]) -> int:
    task = message.get("task")
    return task if isinstance(task, int) else 0
