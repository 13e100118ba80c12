"""Line edits on bytes: what is outside the edited lines stays as it is, byte for byte, whatever its encoding.

A line ends with b"\\n" and nothing else; new lines take the line ends of their neighbours (so a CRLF file stays one),
a byte order mark stays, and so does a missing line end at the end of the file. All ranges are 1-based and inclusive.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from autopilot_runtime.core.errors import EditConflict, ToolError

_BOM = codecs.BOM_UTF8
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_SHOWN_WIDTH = 160


@dataclass(frozen=True, slots=True)
class Splice:
    """Put `new` in the place of lines `start` (0-based) up to, not including, `stop`."""

    start: int
    stop: int
    new: str


def split_lines(data: bytes) -> list[bytes]:
    """The lines with their ends; joined they are `data` again. "\\n" alone ends a line."""
    lines = data.split(b"\n")
    last = lines.pop()
    whole = [line + b"\n" for line in lines]
    return [*whole, last] if last else whole


def shown_line(line: bytes) -> str:
    """A line for a message: bytes that are no UTF-8 and control characters escaped, long ones shortened."""
    text = line.removesuffix(b"\n").removesuffix(b"\r")[: _SHOWN_WIDTH * 4].decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() or char in "\t " else ascii(char)[1:-1] for char in text)
    return text if len(text) <= _SHOWN_WIDTH else text[:_SHOWN_WIDTH] + "..."


def replace_lines(data: bytes, new: str, *, start: int, end: int) -> bytes:
    """Lines `start` to `end` replaced by `new`; an empty `new` deletes them."""
    return multi_edit(data, [(start, end)], contents=[new])


def insert_after(data: bytes, new: str, *, line: int) -> bytes:
    """`new` inserted after `line`; 0 is the top of the file."""
    count = len(split_lines(data.removeprefix(_BOM)))
    if not 0 <= line <= count:
        raise EditConflict(f"after_line={line} is outside the file: it has {_lines(count)} (0 is the top).")
    return apply(data, [Splice(line, line, new)])


def append(data: bytes, new: str) -> bytes:
    """`new` as further lines at the end; a last line without line end gets one first."""
    lines = split_lines(data.removeprefix(_BOM))
    if lines and new and not lines[-1].endswith(b"\n"):
        ended = data + _line_end(lines, len(lines), len(lines), default=b"\n")
        return apply(ended, [Splice(len(lines), len(lines), new)])
    return apply(data, [Splice(len(lines), len(lines), new)])


def multi_edit(data: bytes, edits: Sequence[tuple[int, int]], *, contents: Sequence[str]) -> bytes:
    """Several line ranges of one text replaced at once, numbered as in `data`; all of them or none."""
    if len(edits) != len(contents):
        raise ToolError(
            f"{len(edits)} line range(s) but {len(contents)} payload block(s): give one block per range, in order."
        )
    count = len(split_lines(data.removeprefix(_BOM)))
    for start, end in edits:
        _check_range(start, end, count)
    order = sorted(edits)
    for (start, end), (after, until) in pairwise(order):
        if after <= end:
            raise ToolError(
                f"The ranges {start}-{end} and {after}-{until} overlap: join them into one. Nothing written."
            )
    return apply(data, [Splice(start - 1, end, new) for (start, end), new in zip(edits, contents, strict=True)])


def apply(data: bytes, splices: Sequence[Splice]) -> bytes:
    """All splices at once. They must be inside the file and must not overlap."""
    mark = _BOM if data.startswith(_BOM) else b""
    lines = split_lines(data[len(mark) :])
    _check_encoding(data, splices)
    out: list[bytes] = [mark]
    at = 0
    for splice in sorted(splices, key=lambda one: (one.start, one.stop)):
        out.extend(lines[at : splice.start])
        new = _encoded(splice, lines)
        if mark and splice.start == 0:
            new = new.removeprefix(_BOM)
        if new and splice.start == len(lines) and lines and not lines[-1].endswith(b"\n"):
            out.append(_line_end(lines, splice.start, splice.stop, default=b"\n"))
        out.append(new)
        at = splice.stop
    out.extend(lines[at:])
    return b"".join(out)


def _encoded(splice: Splice, lines: list[bytes]) -> bytes:
    """The new text as bytes with the right line ends, and with or without one at its own end."""
    new = splice.new.encode("utf-8", "replace")
    end = _line_end(lines, splice.start, splice.stop, default=b"")
    if end:
        new = new.replace(b"\r\n", b"\n").replace(b"\n", end)
    if not new:
        return new
    if splice.stop < len(lines):
        return new if new.endswith(b"\n") else new + (end or b"\n")
    if lines and not lines[-1].endswith(b"\n"):
        return new.removesuffix(b"\n").removesuffix(b"\r") if new.endswith(b"\r\n") else new.removesuffix(b"\n")
    return new


def _line_end(lines: list[bytes], start: int, stop: int, *, default: bytes) -> bytes:
    """The line end of the first line in the range, else of the nearest above, else below; `default` without any."""
    near = [
        *lines[start : min(stop, start + 1)],
        *reversed(lines[max(0, start - 2) : start]),
        *lines[stop : stop + 1],
    ]
    for line in near:
        if line.endswith(b"\n"):
            return b"\r\n" if line.endswith(b"\r\n") else b"\n"
    return default


def _check_range(start: int, end: int, count: int) -> None:
    if start > end:
        raise ToolError(f"The range {start}-{end} runs backwards: start_line comes first.")
    if start < 1 or end > count:
        hint = " Use mode='w', or mode='insert' with after_line=0." if count == 0 else " Read it again."
        raise EditConflict(f"Lines {start}-{end} are outside the file: it has {_lines(count)}.{hint}")


def _check_encoding(data: bytes, splices: Sequence[Splice]) -> None:
    """Refuse what would mix two encodings in one file."""
    head = data[:4_096]
    if data.startswith(_WIDE) or head.count(b"\0") * 4 > len(head):
        raise ToolError(
            "The file looks like UTF-16 or UTF-32, which cannot be edited by lines: rewrite it, or convert it first."
        )
    if all(splice.new.isascii() for splice in splices):
        return
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ToolError(
            f"The file is not UTF-8 (byte {error.start}), so only ASCII text can be put into it without damage. "
            "Nothing was written."
        ) from error


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"
