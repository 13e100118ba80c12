"""The conversation: append-only, masked, saved as it grows. What a step costs never depends on its length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autopilot_runtime.context.archive import State
from autopilot_runtime.context.budget import Meter
from autopilot_runtime.context.view import View, Words
from autopilot_runtime.core.message import Kind, Message, Role, printable
from autopilot_runtime.core.older import adopted
from autopilot_runtime.core.protocols import Usage
from autopilot_runtime.core.stream import Stream
from autopilot_runtime.runtime.inbox import Inbox
from autopilot_runtime.runtime.keeper import Keeper
from autopilot_runtime.runtime.ledger import Ledger

# Keys of the session's extra state.
MEMORY = "memory_state"
METER = "meter"


class History:
    """The messages of a session, in memory and in its store. `view` is what of them the model is sent."""

    def __init__(
        self, keeper: Keeper, stream: Stream, meter: Meter, *, inbox: Inbox, ledger: Ledger, words: Words
    ) -> None:
        self._keeper = keeper
        self._inbox = inbox
        self._ledger = ledger
        self.meter = meter
        self._stream = stream
        self.messages: list[Message] = []
        self.view = View(words)
        self.unread: Any = None  # a `memory_state` of somebody else
        self.reload()

    def reload(self) -> None:
        """Take what the session store holds."""
        self.messages = [Message.from_dict(value) for value in adopted(self._keeper.load())]
        extra = self._keeper.extra()
        self.unread = None
        self.view.load(self.messages, self._state(extra.get(MEMORY)))
        if not self.meter.restore(extra.get(METER)):
            self.meter.recount(self.view.raw)

    def _state(self, kept: Any) -> State:
        try:
            return State.from_dict(kept, self.messages) if kept else State()
        except ValueError:
            self.unread = kept
            return State()

    @property
    def tasks(self) -> int:
        """How many tasks this conversation has had."""
        return max((m.task for m in self.messages[-1:]), default=0)

    @property
    def awaits_result(self) -> bool:
        """Whether the newest message is a reply whose control block has not been answered."""
        return bool(self.messages) and self.messages[-1].role == "assistant"

    def mask(self, text: str) -> str:
        """The text without secrets."""
        return self._stream.redactor.mask(text)

    async def add(
        self, role: Role, content: str, *, kind: Kind, task: int, usage: Usage | None = None, stop: str = ""
    ) -> Message:
        """Append one message; it is saved when this returns. `usage` is what the call for a reply cost."""
        message = Message(role, self.mask(printable(content)), kind, task, stop)
        if usage is None:
            self.meter.add(message.content)
        else:
            self.meter.measured(usage.input_total, usage.output, reply=message.content)
        with self._inbox.settling() as settled, self._ledger.settling() as noted:
            cut = await self._keeper.kept([message], extra={**noted, **settled, METER: self.meter.numbers})
            self.messages.append(message)
        self.view.added(message, self.meter.newest)
        if cut is not None:
            raise cut
        return message

    async def keep(self, state: State) -> None:
        """Show the conversation in this state from the next model call on. It is saved when this returns."""
        extra = {MEMORY: None if state == State() else state.to_dict()}
        if self.unread is not None:
            extra[MEMORY + ".unread"] = self.unread
        cut = await self._keeper.kept([], extra=extra)
        self.unread = None
        self._show(state)
        if cut is not None:
            raise cut

    def _show(self, state: State) -> None:
        if replace(state, questions=()) == replace(self.view.state, questions=()):
            self.view.note(state)
            return
        self.view.show(state)
        self.meter.recount(self.view.raw)

    async def save(self, extra: Mapping[str, Any] | None = None) -> None:
        """Fold everything into the session document: a run has ended."""
        with self._ledger.settling() as noted:
            await self._keeper.save(self.messages, extra={**noted, **(extra or {})})

    def to_dicts(self) -> list[dict[str, Any]]:
        """All messages as plain dicts."""
        return [message.to_dict() for message in self.messages]
