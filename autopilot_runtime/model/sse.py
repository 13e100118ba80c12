"""Server-sent events out of bytes: incremental, linear, bounded, and forgiving only where nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

DONE = "[DONE]"
_FIELDS = (b"data", b"event", b"id", b"retry")


class BadStream(ValueError):
    """These bytes are not an event stream one can trust; the text says why."""


@dataclass
class SseDecoder:
    """Feed chunks, get the JSON objects of whole events. Why not the SDK's decoder: that one dies on a bad byte.

    An event that is not ended by a blank line is never given out: half an event is no event.
    """

    longest: int = 32_000_000
    bad_bytes: int = 0
    events: int = 0
    _tail: bytearray = field(default_factory=bytearray)
    _data: list[bytes] = field(default_factory=list)
    _held: int = 0
    _started: bool = False
    _after_cr: bool = False

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any] | str]:
        """Every event that this chunk completes: a JSON object, or the text `[DONE]`."""
        if not chunk:
            return
        joined = self._after_cr and chunk.startswith(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        if joined:
            chunk = chunk[1:]
        if b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            return
        lines = (bytes(self._tail) + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._tail = bytearray(lines.pop())
        for line in lines:
            yield from self._line(line)

    def _keep(self, chunk: bytes) -> None:
        self._tail += chunk
        if len(self._tail) > self.longest:
            raise BadStream(f"a line of more than {self.longest:,} bytes")

    def _line(self, line: bytes) -> Iterator[dict[str, Any] | str]:
        if not self._started:
            self._started = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            yield from self._event()
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._held += len(value)
            if self._held > self.longest:
                raise BadStream(f"an event of more than {self.longest:,} bytes")
        elif name and name not in _FIELDS and line.lstrip()[:1] in (b"{", b"["):
            # By the standard an unknown field is skipped; this one looks like a piece of the reply.
            raise BadStream(f"JSON outside of a data field: {line[:80]!r}")

    def _event(self) -> Iterator[dict[str, Any] | str]:
        data, self._data, self._held = self._data, [], 0
        if not data:
            return
        try:
            yield self._parse(b"\n".join(data))
        except BadStream:
            if len(data) == 1:
                raise
            # Some hosts forget the blank line between events: then each line is a whole one.
            for line in data:
                yield self._parse(line)

    def _parse(self, data: bytes) -> dict[str, Any] | str:
        self.events += 1
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            self.bad_bytes += 1
            text = data.decode("utf-8", "replace")
        if text.strip() == DONE:
            return DONE
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadStream(f"an event that is not JSON ({type(error).__name__}): {text[:120]!r}") from None
        if not isinstance(value, dict):
            raise BadStream(f"an event that is not a JSON object: {text[:120]!r}")
        return value


@dataclass
class Surrogates:
    """Joins a character whose two halves came in two events; a half that stays alone is replaced."""

    _held: str = ""
    replaced: int = 0

    def feed(self, text: str) -> str:
        """The text so far that can be encoded."""
        text = self._held + text
        self._held = ""
        if text.isascii():
            return text
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            self.replaced += joined.count("\ufffd") - text.count("\ufffd")
            return joined
        return text

    def end(self) -> str:
        """What is left when the stream has ended."""
        held, self._held = self._held, ""
        self.replaced += len(held)
        return "\ufffd" * len(held)
