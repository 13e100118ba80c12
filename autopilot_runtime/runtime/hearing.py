"""Hear one reply of the model: show what may be shown while it arrives, parse the rest, survive its retries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autopilot_runtime.block.parser import ReplyParser
from autopilot_runtime.block.reply import Piece, Reply
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import (
    Delta,
    Provider,
    Retrying,
    Stopped,
    Text,
    Thought,
    Usage,
    Used,
)
from autopilot_runtime.core.secret import StreamMask
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.core.turn import turn


@dataclass(frozen=True, slots=True)
class Heard:
    """One whole reply, how it stopped, and what it cost."""

    reply: Reply
    stop: Stopped
    usage: Usage


class Hearing:
    """One model call. `text` is what has arrived, so an abort can keep the half of it."""

    def __init__(self, provider: Provider, scope: Scope, *, live: bool) -> None:
        self._provider = provider
        self._scope = scope
        self._live = live
        self._usage = Usage()
        self._begin()

    def _begin(self) -> None:
        self._parser = ReplyParser()
        self._pieces: list[str] = []
        self._shown: list[str] = []
        self._window = ""
        self._mask = StreamMask(self._scope.stream.redactor)
        self._thought = StreamMask(self._scope.stream.redactor)

    @property
    def text(self) -> str:
        """What has arrived so far, masked."""
        return self._scope.stream.redactor.mask("".join(self._pieces))

    async def listen(self, messages: Sequence[Message], *, system: str, max_tokens: int | None) -> Heard:
        """Stream the reply from the provider to its end."""
        stop = Stopped("end")
        deltas = self._provider.stream(messages, system=system, max_tokens=max_tokens)
        try:
            async for delta in deltas:
                await turn()
                if isinstance(delta, Stopped):
                    stop = delta
                else:
                    self._take(delta)
        finally:
            # A half-read stream holds a connection until it is closed; do not leave that to the collector.
            close = getattr(deltas, "aclose", None)
            if close is not None:
                await close()
        reply = self._finish(cut=stop.reason in ("length", "context"))
        return Heard(reply, stop, self._usage)

    def _take(self, delta: Delta) -> None:
        if isinstance(delta, Text):
            self._pieces.append(delta.text)
            for piece in self._parser.feed(delta.text):
                self._show(piece)
        elif isinstance(delta, Thought):
            self._say(EventType.THOUGHT, self._thought.feed(delta.text))
        elif isinstance(delta, Used):
            self._usage = delta.usage
        elif isinstance(delta, Retrying):
            about = {"attempt": delta.attempt, "delay": delta.delay, "error": delta.error, "kind": delta.kind}
            self._scope.emit(EventType.RETRY, **about)
            self._begin()

    def _show(self, piece: Piece) -> None:
        if not piece.text:
            return
        if piece.window != self._window:
            self._flush()
            if self._window and not self._live:
                self._shown.append("\n")
            self._window = piece.window
        self._say(EventType.STREAM, self._mask.feed(piece.text))

    def _say(self, kind: EventType, text: str) -> None:
        if not text:
            return
        if kind is EventType.THOUGHT:
            self._scope.emit(kind, text=text)
        elif self._live:
            self._scope.emit(kind, text=text, window=self._window)
        else:
            self._shown.append(text)

    def _flush(self) -> None:
        self._say(EventType.STREAM, self._mask.flush())

    def _finish(self, *, cut: bool) -> Reply:
        reply = self._parser.finish(cut=cut)
        for piece in reply.tail:
            self._show(piece)
        self._flush()
        self._say(EventType.THOUGHT, self._thought.flush())
        if self._shown:
            self._scope.emit(EventType.STREAM, text="".join(self._shown), window=self._window)
        return reply
