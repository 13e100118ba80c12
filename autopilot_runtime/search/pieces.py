"""A source file cut into the pieces one searches for: functions, classes, and the text around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["function", "method", "class", "module", "text"]
_WINDOW = 40  # lines of a piece of plain text, more or less
LONGEST_PARSED = 1_000_000  # characters of a file; a longer one is cut into windows


@dataclass(slots=True)
class Piece:
    """Lines `start` to `end`. `name` may be dotted (`Class.method`); `bases` are those of a class."""

    name: str
    kind: Kind
    start: int
    end: int
    text: str = ""
    bases: tuple[str, ...] = ()


@dataclass(slots=True)
class CallSite:
    """A call: the number of the piece it is in, what is called, on what, and the class of that if it shows."""

    piece: int
    name: str
    receiver: str
    line: int
    hint: str = ""


@dataclass(slots=True)
class Source:
    """All that one file gives to the index. `imports` maps a local name to the dotted thing it stands for."""

    pieces: list[Piece] = field(default_factory=list)
    calls: list[CallSite] = field(default_factory=list)
    imports: dict[str, str] = field(default_factory=dict)


def fill(pieces: Sequence[Piece], lines: Sequence[str]) -> None:
    """Give each piece the lines that belong to no smaller piece inside it: every line is in one piece."""
    owner = [0] * (len(lines) + 2)
    for index in sorted(range(len(pieces)), key=lambda index: (pieces[index].start, -pieces[index].end)):
        piece = pieces[index]
        count = max(0, min(piece.end, len(lines)) + 1 - piece.start)
        owner[piece.start : piece.start + count] = [index] * count
    texts: list[list[str]] = [[] for _ in pieces]
    for number, line in enumerate(lines, 1):
        texts[owner[number]].append(line)
    for piece, text in zip(pieces, texts, strict=True):
        piece.text = "\n".join(text)


def windows(lines: Sequence[str]) -> Source:
    """Plain text in pieces of about forty lines, cut at blank lines, named by their first line."""
    found = Source()
    start = 0
    for index in range(len(lines) + 1):
        long = index - start >= _WINDOW
        last = index == len(lines)
        if last or (long and not lines[index].strip()) or index - start >= 2 * _WINDOW:
            body = "\n".join(lines[start:index])
            if body.strip():
                title = next(line.strip(" #=-*/\t") for line in lines[start:index] if line.strip())
                found.pieces.append(Piece(title[:80], "text", start + 1, index, body))
            start = index
    return found
