"""Reads some lines of a file of any size in one pass and little memory, counting and fingerprinting all of it."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

CHUNK = 1 << 20
# Beyond this the pass ends early: a sparse file may claim more than could be read in a year.
MAX_SCANNED = 2 << 30
KEPT_WHOLE = 512 * 1024


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass found. `lines` is None when the file was too long to count."""

    window: bytes
    lines: int | None
    size: int
    digest: bytes | None
    whole: bytes | None  # the content, when it is small
    cut: bool  # the window ends before the last line that was asked for
    head: bytes  # the first bytes, to tell text from binary


def digest_of(data: bytes) -> bytes:
    """The fingerprint that `scan` gives."""
    return hashlib.sha256(data).digest()


def scan(file: IO[bytes], *, start: int = 1, end: int | None = None, limit: int = 4 << 20) -> Scan:
    """Lines `start` to `end` (1-based, both included) of an open file, at most about `limit` bytes of them."""
    hasher = hashlib.sha256()
    window = _Lines(start, end, limit)
    whole = bytearray()
    head = last = b""
    size = 0
    for chunk in _chunks(file):
        head = head or chunk[:8192]
        hasher.update(chunk)
        size += len(chunk)
        if size <= KEPT_WHOLE:
            whole += chunk
        window.feed(chunk)
        last = chunk
    lines = window.ends + (1 if last and not last.endswith(b"\n") else 0)
    kept = bytes(whole) if size <= KEPT_WHOLE else None
    if size > MAX_SCANNED:
        return Scan(bytes(window.data), None, size, None, kept, window.cut, head)
    return Scan(bytes(window.data), lines, size, hasher.digest(), kept, window.cut, head)


class _Lines:
    """Picks a range of lines out of a file that comes in chunks."""

    def __init__(self, start: int, end: int | None, limit: int) -> None:
        self.start, self.end, self.limit = start, end, limit
        self.data = bytearray()
        self.ends = 0
        self.cut = False

    def feed(self, chunk: bytes) -> None:
        """Take what is in the range. So many line ends came before, so the chunk begins in line `ends` + 1."""
        before, self.ends = self.ends, self.ends + chunk.count(b"\n")
        over = self.end is not None and before >= self.end
        if self.cut or over or self.ends + 1 < self.start:
            return
        piece = _lines_of(chunk, self.start - before, None if self.end is None else self.end - before)
        room = self.limit - len(self.data)
        self.data += piece[:room]
        self.cut = len(piece) > room


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    total = 0
    while total <= MAX_SCANNED and (chunk := file.read(CHUNK)):
        total += len(chunk)
        yield chunk


def _lines_of(chunk: bytes, start: int, end: int | None) -> bytes:
    """Lines `start` to `end` of a chunk, numbered from 1; what lies before or after it is just not there."""
    first = _offset(chunk, start - 1)
    return chunk[first:] if end is None else chunk[first : _offset(chunk, end)]


def _offset(chunk: bytes, ends: int) -> int:
    """Where the text after so many line ends begins."""
    if ends <= 0:
        return 0
    rest = chunk.split(b"\n", ends)
    return len(chunk) - len(rest[-1]) if len(rest) > ends else len(chunk)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Bytes as text, and what had to be done for it ("" for plain UTF-8)."""

    text: str
    note: str = ""


def decode(data: bytes) -> Decoded:
    """UTF-8 text as it is, without its BOM; any other byte as an escape such as `\\xe9`."""
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return Decoded(data.decode("utf-8"))
    except UnicodeDecodeError:
        return Decoded(data.decode("utf-8", "backslashreplace"), "not UTF-8; other bytes are shown as \\xNN")


def utf16_name(head: bytes) -> str | None:
    """The codec of a text that begins with a UTF-16 mark."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    return "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else None


def is_binary(head: bytes) -> bool:
    """Whether the beginning of a file says that it is no text."""
    return b"\0" in head


def hex_summary(head: bytes, size: int, digest: bytes | None, *, shown: int = 128) -> str:
    """What can be said of a binary file in a few lines."""
    lines = [f"binary file, {size:,} bytes" + (f", sha256 {digest.hex()}" if digest else "")]
    for at in range(0, min(len(head), shown), 16):
        row = head[at : at + 16]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{at:08x}  {row.hex(' '):<47}  {text}")
    return "\n".join(lines)
