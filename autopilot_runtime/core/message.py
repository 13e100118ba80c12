"""One message of a conversation, encoded once: what a request costs must not grow with the history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

Role = Literal["user", "assistant"]
Kind = Literal["task", "result", "reply", "note", "summary", "archived"]


@dataclass(frozen=True)
class Message:
    """`kind` says what it is for the runtime; `task` is the number of the `run()` it belongs to."""

    role: Role
    content: str
    kind: Kind = "note"
    task: int = 0
    stop: str = ""  # of a reply: why it stopped, when that was not its end

    @cached_property
    def content_json(self) -> bytes:
        """The content as a JSON string, encoded the first time and kept."""
        return json.dumps(self.content, ensure_ascii=False).encode("utf-8")

    def to_dict(self) -> dict[str, Any]:
        """The form that is shown by `runtime.messages` and written into sessions."""
        plain = {"role": self.role, "content": self.content, "kind": self.kind, "task": self.task}
        return {**plain, "stop": self.stop} if self.stop else plain

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Message:
        """Read `to_dict`, or any plain `{"role", "content"}` of another writer."""
        role: Role = "assistant" if value.get("role") == "assistant" else "user"
        kind: Kind = value.get("kind") or ("reply" if role == "assistant" else "note")
        stop = str(value.get("stop") or "")
        return cls(role, str(value.get("content") or ""), kind, int(value.get("task") or 0), stop)


def printable(text: str) -> str:
    """The text without lone surrogates (they cannot be encoded, so they cannot be sent or saved)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text
