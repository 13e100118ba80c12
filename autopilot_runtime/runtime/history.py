"""The conversation: append-only, masked, saved as it grows. What a step costs never depends on its length."""

from __future__ import annotations

from typing import Any

from autopilot_runtime.core.message import Kind, Message, Role, printable
from autopilot_runtime.core.protocols import SessionStore
from autopilot_runtime.core.secret import Redactor


class History:
    """The messages of a session, in memory and in its store."""

    def __init__(self, session: SessionStore, redactor: Redactor) -> None:
        self._session = session
        self._redactor = redactor
        self.messages: list[Message] = []
        self.reload()

    def reload(self) -> None:
        """Take what the session store holds."""
        self.messages = [Message.from_dict(value) for value in self._session.load()]

    @property
    def tasks(self) -> int:
        """How many tasks this conversation has had."""
        return max((m.task for m in self.messages[-1:]), default=0)

    def add(self, role: Role, content: str, *, kind: Kind, task: int) -> Message:
        """Append one message; it is saved when this returns."""
        message = Message(role, self._redactor.mask(printable(content)), kind, task)
        self._session.append([message.to_dict()])
        self.messages.append(message)
        return message

    def to_dicts(self) -> list[dict[str, Any]]:
        """All messages as plain dicts."""
        return [message.to_dict() for message in self.messages]
