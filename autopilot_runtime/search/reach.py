"""Reads a line of a file of the workspace: opened without following one link, decoded without losing a byte."""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO

MAX_SHOWN = 500  # characters of a line that are shown
MAX_LINE = 1 << 20  # bytes of a line that the Python engine looks at
_LEFT = 100  # characters shown to the left of a match far out in a long line
_MAX_UTF16 = 64 << 20
_BOMS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_CONTINUATION = re.compile(rb"\A[\x80-\xbf]{1,3}")
_TEXT = codecs.getincrementaldecoder("utf-8")  # keeps back a character of which a part is missing
_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_FOLDER: int = (
    getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _NOFOLLOW | getattr(os, "O_CLOEXEC", 0)
)
# NONBLOCK: opening a FIFO that somebody put in the place of the file must not hang.
_FILE: int = (
    os.O_RDONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
)


def open_inside(root: str, path: str) -> BinaryIO:
    """The regular file `path` below the real folder `root`. A link anywhere on the way is an `OSError`."""
    *folders, name = path.split("/")
    if os.open in os.supports_dir_fd:
        fd = os.open(root, _FOLDER & ~_NOFOLLOW)
        try:
            for folder in folders:
                inner = os.open(folder, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
            opened = os.open(name, _FILE, dir_fd=fd)
        finally:
            os.close(fd)
    else:
        whole = os.path.join(root, *folders, name)  # noqa: PTH118
        if os.path.normcase(os.path.realpath(whole)) != os.path.normcase(whole):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        opened = os.open(whole, _FILE)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return os.fdopen(opened, "rb", buffering=0)


def utf16_of(head: bytes) -> str | None:
    """The encoding that a byte order mark announces, if it is one of two bytes a letter."""
    return _BOMS.get(head[:2])


def utf16_text(file: BinaryIO, encoding: str) -> str:
    """The text of a UTF-16 file without its mark."""
    file.seek(2)
    return _read(file, _MAX_UTF16).decode(encoding, "replace")


def lossless(data: bytes) -> str:
    """UTF-8 as text; bytes that are not UTF-8 stay visible as `\\xe9`."""
    return data.decode("utf-8", "backslashreplace")


def line_at(file: BinaryIO, number: int, column: int, *, offset: int) -> str:
    """The line `number` as it is shown. `column` is the 0-based byte where the match begins, counted in UTF-8;
    `offset` that of the line in the file, not counting a byte order mark."""
    head = file.read(3)
    encoding = utf16_of(head)
    if encoding:
        lines = utf16_text(file, encoding).split("\n", number)
        line = lines[number - 1].removesuffix("\r") if number <= len(lines) else ""
        at = len(line.encode("utf-8", "surrogatepass")[:column].decode("utf-8", "ignore"))
        return excerpt(line[:at], line[at:])
    start = offset + (3 if head == codecs.BOM_UTF8 else 0)
    reach = 4 * MAX_SHOWN  # a character has at most four bytes
    skipped = max(0, column - reach)
    file.seek(start + skipped)
    # One byte more each side of the shown part tells whether the line goes on.
    before = _read(file, column - skipped)
    after, newline, _ = _read(file, reach + 4).partition(b"\n")
    whole = bool(newline) or len(after) < reach + 4
    before = _CONTINUATION.sub(b"", before) if skipped else before
    right = lossless(after.removesuffix(b"\r")) if whole else _TEXT("backslashreplace").decode(after)
    return excerpt(lossless(before), right, cut_left=bool(skipped), cut_right=not whole)


def excerpt(before: str, after: str, *, cut_left: bool = False, cut_right: bool = False) -> str:
    """A line from what is left of its match and what follows, cut to what is shown with the match in it."""
    if not cut_left and not cut_right and len(before) + len(after) <= MAX_SHOWN:
        return before + after
    if cut_left or len(before) > MAX_SHOWN - 2 * _LEFT:
        before = "…" + before[-_LEFT:]
    room = MAX_SHOWN - len(before)
    return before + (after if len(after) <= room and not cut_right else after[:room] + "…")


def is_text(file: BinaryIO, stop: Callable[[], bool] = bool) -> bool:
    """Whether there is no NUL in a file; with one anywhere it is binary.

    How far into a file ripgrep sees a NUL depends on what it has read before, so only the whole can be the rule.
    """
    chunk = file.read(1 << 16)
    encoding = utf16_of(chunk)
    if encoding:
        return "\0" not in utf16_text(file, encoding)
    while chunk:
        if b"\0" in chunk or stop():
            return False
        chunk = file.read(1 << 20)
    return True


def text_lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a text file without their ends, bytes that are not UTF-8 as lone surrogates."""
    file.seek(0)
    head = file.read(1 << 16)
    encoding = utf16_of(head)
    return _utf16_lines(file, encoding) if encoding else _lines(file, head.removeprefix(codecs.BOM_UTF8))


def _utf16_lines(file: BinaryIO, encoding: str) -> Iterator[str]:
    lines = utf16_text(file, encoding).split("\n")
    if lines[-1] == "":
        lines.pop()
    return (line.removesuffix("\r") for line in lines)


def _lines(file: BinaryIO, rest: bytes) -> Iterator[str]:
    """Line by line; of a line longer than `MAX_LINE` only the beginning."""
    skipping = False
    while True:
        lines = rest.split(b"\n")
        rest = lines.pop()
        for line in lines:
            if not skipping:
                yield line[:MAX_LINE].removesuffix(b"\r").decode("utf-8", "surrogateescape")
            skipping = False
        if skipping:
            rest = b""
        elif len(rest) > MAX_LINE:
            yield rest[:MAX_LINE].decode("utf-8", "surrogateescape")
            rest, skipping = b"", True
        more = file.read(1 << 18)
        if not more:
            break
        rest += more
    if rest and not skipping:
        yield rest.removesuffix(b"\r").decode("utf-8", "surrogateescape")


def _read(file: BinaryIO, count: int) -> bytes:
    """Up to `count` bytes; fewer only at the end of the file."""
    pieces = []
    while count > 0 and (piece := file.read(min(count, 1 << 20))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
