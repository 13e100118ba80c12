"""The shell's own words, taken out of the byte streams: marks in the output, reports on a private pipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_INTRODUCER = b"\x1b]633;"
_LONGEST_MARK = 8_192


@dataclass(frozen=True, slots=True)
class Mark:
    """One `OSC 633 ; kind ; nonce ; value BEL` that carried our nonce."""

    kind: str
    value: str


class MarkDecoder:
    """Splits a byte stream into text and marks, wherever the chunks are cut. Linear; holds back one mark at most.

    A mark without the nonce is somebody's output: it stays in the text (and is cleaned away for display).
    """

    def __init__(self, nonce: str) -> None:
        self._prefix = {kind: _INTRODUCER + f"{kind};{nonce};".encode() for kind in "CDX"}
        self._longest_prefix = max(map(len, self._prefix.values()))
        self._held = b""
        self._searched = 0

    def feed(self, data: bytes) -> Iterator[bytes | Mark]:
        """Text and marks, in order."""
        buffer, searched = self._held + data, self._searched
        self._held, self._searched = b"", 0
        text_from = at = 0
        while (start := buffer.find(_INTRODUCER, at)) >= 0:
            kind = self._kind_at(buffer, start)
            head = start + len(self._prefix.get(kind or "", b""))
            end = buffer.find(b"\x07", max(head, searched)) if kind else -1
            searched = 0
            if kind is not None and end < 0 and len(buffer) - start <= _LONGEST_MARK:
                self._held, self._searched = buffer[start:], (len(buffer) - start if kind else 0)
                break
            at = start + 1
            if kind is None or end < 0:  # somebody else's, or too long to be a mark: text
                continue
            if start > text_from:
                yield buffer[text_from:start]
            yield Mark(kind, buffer[head:end].decode("utf-8", "surrogateescape"))
            text_from = at = end + 1
        else:
            start = _unfinished(buffer, at)
            self._held = buffer[start:]
        if start > text_from:
            yield buffer[text_from:start]

    def flush(self) -> bytes:
        """What was held back; nothing more will come."""
        rest, self._held, self._searched = self._held, b"", 0
        return rest

    def _kind_at(self, buffer: bytes, start: int) -> str | None:
        """The kind of our mark at `start`; "" when too little has come to tell; None when it is no mark."""
        piece = buffer[start : start + self._longest_prefix]
        for kind, prefix in self._prefix.items():
            if piece.startswith(prefix):
                return kind
            if prefix.startswith(piece):
                return ""
        return None


def _unfinished(buffer: bytes, at: int) -> int:
    """Where an introducer begins that the end of `buffer` cuts off; the length when there is none."""
    start = buffer.rfind(b"\x1b", max(at, len(buffer) - len(_INTRODUCER) + 1))
    return start if start >= 0 and _INTRODUCER.startswith(buffer[start:]) else len(buffer)


@dataclass(frozen=True, slots=True)
class Report:
    """A command's end in the shell's own words, from the private pipe no command inherits."""

    number: int
    return_code: int
    cwd: str


class ReportDecoder:
    """Decodes `nonce;number;code;cwd NUL`, wherever the chunks are cut."""

    def __init__(self, nonce: str) -> None:
        self._nonce = nonce.encode()
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Report]:
        """Every whole report; anything malformed or without the nonce is dropped."""
        self._held += data
        *whole, rest = self._held.split(b"\0")
        self._held = rest if len(rest) <= 65_536 else bytearray()
        for message in whole:
            parts = bytes(message).split(b";", 3)
            if len(parts) == 4 and parts[0] == self._nonce and parts[1].isdigit() and parts[2].isdigit():
                cwd = parts[3].removesuffix(b"\n").decode("utf-8", "surrogateescape")
                yield Report(int(parts[1]), int(parts[2]), cwd)
