"""`<<<<<<< SEARCH / ======= / >>>>>>> REPLACE` hunks: each matches whole lines exactly once, or nothing changes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from autopilot_runtime.block.nearest import nearest_lines
from autopilot_runtime.block.patch import Splice, apply, split_lines
from autopilot_runtime.core.errors import EditConflict, ToolError

_FORM = "<<<<<<< SEARCH\n(lines as they are now)\n=======\n(lines as they should be)\n>>>>>>> REPLACE"
_BEGIN = re.compile(r"(<{7,}) SEARCH[ \t]*")
_BOM = b"\xef\xbb\xbf"
_PLACES = 5


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines (without line ends) to find and to put there. `line` is where the hunk begins in the payload."""

    line: int
    search: tuple[str, ...]
    replace: tuple[str, ...]


def parse_hunks(payload: str) -> list[Hunk]:
    """The hunks of a payload. Longer markers (of equal length in one hunk) may surround lines like `=======`."""
    hunks: list[Hunk] = []
    lines = payload.replace("\r\n", "\n").split("\n")
    at = 0
    while at < len(lines):
        begin = _BEGIN.fullmatch(lines[at])
        if begin:
            hunk, at = _read_hunk(lines, at, size=len(begin.group(1)))
            hunks.append(hunk)
        elif lines[at].strip():
            raise ToolError(
                f"Line {at + 1} of the payload stands outside a hunk. A payload holds only hunks:\n{_FORM}"
            )
        else:
            at += 1
    if not hunks:
        raise ToolError(f"The payload holds no hunk. Write:\n{_FORM}")
    return hunks


def search_replace(data: bytes, payload: str) -> bytes:
    """`data` with every hunk of `payload` applied; each SEARCH is looked for in `data` as it was before."""
    hunks = parse_hunks(payload)
    mark = _BOM if data.startswith(_BOM) else b""
    keys = [_key(line) for line in split_lines(data[len(mark) :])]
    if not keys and len(hunks) == 1 and not hunks[0].search:
        return apply(data, [Splice(0, 0, _text(hunks[0].replace))])
    index = b"\n" + b"".join(key + b"\n" for key in keys)
    found = [(_find(hunk, index, keys), hunk) for hunk in hunks]
    found.sort(key=lambda pair: pair[0])
    for (start, one), (after, other) in pairwise(found):
        if after < start + len(one.search):
            raise ToolError(
                f"The hunks at lines {one.line} and {other.line} of the payload touch the same lines of the file: "
                "join them into one. Nothing was written."
            )
    return apply(data, [splice for start, hunk in found if (splice := _splice(start, hunk, keys))])


def _read_hunk(lines: list[str], at: int, *, size: int) -> tuple[Hunk, int]:
    middle, finish = "=" * size, ">" * size + " REPLACE"
    parts: list[list[str]] = [[]]
    for number in range(at + 1, len(lines)):
        line = lines[number].rstrip(" \t")
        if line == finish:
            if len(parts) != 2:
                raise ToolError(_wrong_middle(at + 1, middle, count=len(parts) - 1))
            return Hunk(at + 1, tuple(parts[0]), tuple(parts[1])), number + 1
        if line == middle:
            parts.append([])
        elif line == "<" * size + " SEARCH":
            raise ToolError(f"The hunk at line {at + 1} of the payload has no `{finish}` before line {number + 1}.")
        else:
            parts[-1].append(lines[number])
    raise ToolError(f"The hunk at line {at + 1} of the payload has no `{finish}`. Write:\n{_FORM}")


def _wrong_middle(line: int, middle: str, *, count: int) -> str:
    if count == 0:
        return f"The hunk at line {line} of the payload has no `{middle}` line. Write:\n{_FORM}"
    return (
        f"The hunk at line {line} of the payload has {count} lines `{middle}`, so it is not clear where SEARCH ends. "
        "If they belong to the text, make the three markers of the hunk longer (8 or more characters, all the same)."
    )


def _find(hunk: Hunk, index: bytes, keys: list[bytes]) -> int:
    """The 0-based line where the SEARCH of the hunk stands."""
    if not any(line.strip() for line in hunk.search):
        raise ToolError(
            f"The SEARCH of the hunk at line {hunk.line} of the payload is empty: name the lines to change."
        )
    needle = b"\n" + _text(hunk.search).encode("utf-8", "surrogatepass")
    places: list[int] = []
    at = index.find(needle)
    while at >= 0 and len(places) <= _PLACES:
        places.append(index.count(b"\n", 0, at))
        at = index.find(needle, at + 1)
    if len(places) == 1:
        return places[0]
    part = index.find(needle[1:-1]) if not places else -1
    if part >= 0:
        number = index.count(b"\n", 0, part)
        raise EditConflict(
            f"The SEARCH of the hunk at line {hunk.line} of the payload is not in the file as whole lines, "
            f"from the indentation to the end; it is a part of line {number}. Nothing was written.\n"
            + nearest_lines([keys[number - 1].decode("utf-8", "backslashreplace")], keys)
        )
    if not places:
        raise EditConflict(
            f"The SEARCH of the hunk at line {hunk.line} of the payload is not in the file. Nothing was written.\n"
            + nearest_lines(hunk.search, keys)
        )
    where = ", ".join(str(place + 1) for place in places[:_PLACES]) + (", ..." if len(places) > _PLACES else "")
    raise EditConflict(
        f"The SEARCH of the hunk at line {hunk.line} of the payload matches more than once (at lines {where}). "
        "Add lines around it until it is the only match. Nothing was written."
    )


def _splice(start: int, hunk: Hunk, keys: list[bytes]) -> Splice | None:
    """Only the lines that differ: what SEARCH and REPLACE share keeps its bytes."""
    search, replace = hunk.search, hunk.replace
    same = 0
    while same < min(len(search), len(replace)) and search[same] == replace[same]:
        same += 1
    tail = 0
    while tail < min(len(search), len(replace)) - same and search[-1 - tail] == replace[-1 - tail]:
        tail += 1
    if same == len(search) == len(replace):
        return None
    return Splice(start + same, start + len(search) - tail, _text(replace[same : len(replace) - tail]))


def _key(line: bytes) -> bytes:
    if not line.endswith(b"\n"):
        return line
    return line[:-2] if line.endswith(b"\r\n") else line[:-1]


def _text(lines: tuple[str, ...]) -> str:
    return "".join(line + "\n" for line in lines)
