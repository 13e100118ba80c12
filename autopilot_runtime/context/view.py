"""What the model is sent: the messages themselves, or, when something is out of sight, a list made of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from autopilot_runtime.context.archive import Archived, Span, State, Summary
from autopilot_runtime.context.budget import message_tokens, rough_tokens
from autopilot_runtime.core.message import Message


class Words(Protocol):
    """How what is out of sight is put for the model."""

    def archived(self, number: int, one: Archived, count: int) -> str:
        """In place of the `count` messages of a task."""
        ...

    def summary(self, one: Summary, kept: Sequence[str]) -> str:
        """In place of the oldest messages; `kept` are the parts of them that stay."""
        ...

    @property
    def dropped(self) -> str:
        """In place of an output that is shown again further down."""
        ...


class View:
    """The list that is sent, kept up to date in O(new); it is made anew only when the state changes."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._all: list[Message] = []
        self._raw: list[int] = []  # of each message, in the order of `_all`
        self.state = State()
        self.messages: list[Message] = self._all
        self.raw = 0  # of the list that is sent
        # What stands for others is encoded and counted once, too.
        self._made: dict[tuple[object, ...], tuple[Message, int]] = {}
        self._known = self._made

    def load(self, messages: list[Message], state: State) -> None:
        """Begin with a conversation: its list is kept and must only grow through `added`."""
        self._all = messages
        self._raw = [rough_tokens(one.content) for one in messages]
        self.show(state)

    def added(self, message: Message, raw: int) -> None:
        """The newest message of the conversation, which the list given to `load` holds already."""
        self._raw.append(raw)
        if message.task in self.state.archived:
            self.show(self.state)
            return
        self.raw += raw
        if self.messages is not self._all:
            self.messages.append(message)

    def show(self, state: State) -> None:
        """Show the conversation in this state."""
        self.state = state
        if state.empty:
            self.messages, self.raw = self._all, sum(self._raw)
            return
        self._known, self._made = self._made, {}
        shown = [pair for _, pair in self._laid_out(state)]
        self.messages, self.raw = [one for one, _ in shown], sum(raw for _, raw in shown)

    def note(self, state: State) -> None:
        """Take a state that shows the same."""
        self.state = state

    def weights(self) -> list[int]:
        """For each message of the conversation, the raw count of what is sent in its place, but for the summary."""
        weights = [0] * len(self._all)
        for index, (_, raw) in self._laid_out(self.state):
            if index >= 0:
                weights[index] = raw
        return weights

    def before(self, upto: int) -> list[Message]:
        """What is sent in place of the messages before that one."""
        return [one for index, (one, _) in self._laid_out(self.state) if index < upto]

    def hidden_raw(self, number: int) -> int:
        """The raw count of the messages of a task that are out of sight."""
        upto = len(self._all) if number in self.state.archived else self.state.upto
        return sum(self._raw[index] for index in range(upto) if self._all[index].task == number)

    def _laid_out(self, state: State) -> Iterator[tuple[int, tuple[Message, int]]]:
        """What is sent, in order, each with the index of the (first) message it stands for."""
        cuts: dict[int, list[Span]] = {}
        for span in state.dropped:
            cuts.setdefault(span.index, []).append(span)
        if state.summary is not None:
            yield -1, self._summary(state.summary)
            for index in range(state.upto):
                if self._all[index].task in state.revealed:
                    yield index, self._one(index, cuts)
        counts: dict[int, int] = {}
        for message in self._all:
            if message.task in state.archived:
                counts[message.task] = counts.get(message.task, 0) + 1
        for index in range(state.upto, len(self._all)):
            number = self._all[index].task
            if number not in state.archived:
                yield index, self._one(index, cuts)
            elif count := counts.pop(number, 0):  # the first of them stands for all
                yield index, self._archived(number, state.archived[number], count)

    def _one(self, index: int, cuts: dict[int, list[Span]]) -> tuple[Message, int]:
        message = self._all[index]
        if index not in cuts:
            return message, self._raw[index]
        text, spans = message.content, tuple(sorted(cuts[index], key=lambda one: -one.start))
        for span in spans:
            text = text[: span.start] + self._words.dropped + text[span.end :]
        return self._keep(("cut", index, spans), replace(message, content=text))

    def _archived(self, number: int, one: Archived, count: int) -> tuple[Message, int]:
        text = self._words.archived(number, one, count)
        return self._keep(("archived", number, text), Message("user", text, "archived", number))

    def _summary(self, one: Summary) -> tuple[Message, int]:
        kept = [self._all[span.index].content[span.start : span.end] for span in one.kept]
        text = self._words.summary(one, kept)
        return self._keep(("summary", text), Message("user", text, "summary", 0))

    def _keep(self, key: tuple[object, ...], message: Message) -> tuple[Message, int]:
        if key not in self._made:
            self._made[key] = self._known.get(key) or (message, message_tokens(message.content))
        return self._made[key]
