"""Two changes of one text, together: what only one side changed is taken, and no line of either is ever lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import NamedTuple

Lines = tuple[bytes, ...]


class Piece(NamedTuple):
    """A part of the text as it was, as we have it and as they have it. All pieces in a row are all three texts."""

    base: Lines
    ours: Lines
    theirs: Lines

    @property
    def is_clean(self) -> bool:
        """Whether at most one side changed it, or both in the same way."""
        return self.ours == self.theirs or self.base in (self.ours, self.theirs)

    @property
    def lines(self) -> Lines:
        """What it becomes; of a conflict, ours."""
        return self.theirs if self.ours == self.base else self.ours


@dataclass(frozen=True, slots=True)
class Merged:
    """The pieces of a merge."""

    pieces: tuple[Piece, ...]

    @property
    def conflicts(self) -> list[Piece]:
        """What both sides changed, each in its own way."""
        return [piece for piece in self.pieces if not piece.is_clean]

    @property
    def data(self) -> bytes:
        """The merged text. Where there is a conflict, ours: look at `conflicts` first."""
        return b"".join(line for piece in self.pieces for line in piece.lines)

    def marked(self, ours: str = "ours", theirs: str = "theirs") -> bytes:
        """The merged text with both sides of every conflict between the usual marks."""
        found: list[bytes] = []
        for piece in self.pieces:
            if piece.is_clean:
                found += piece.lines
                continue
            _line(found, b"<<<<<<< " + ours.encode())
            found += piece.ours
            _line(found, b"=======")
            found += piece.theirs
            _line(found, b">>>>>>> " + theirs.encode())
        return b"".join(found)


def merge3(base: bytes, ours: bytes, theirs: bytes) -> Merged:
    """Both changes of a text. What is no text is taken whole, from the side that changed it."""
    if b"\0" in base or b"\0" in ours or b"\0" in theirs:
        return Merged((Piece((base,), (ours,), (theirs,)),))
    was, mine, other = split(base), split(ours), split(theirs)
    return Merged(tuple(_pieces(was, mine, other)))


def split(text: bytes) -> Lines:
    """The lines with their ends; only a newline ends one, so that what else there is stays in them."""
    lines = text.split(b"\n")
    return (*(line + b"\n" for line in lines[:-1]), *([lines[-1]] if lines[-1] else []))


def _line(found: list[bytes], line: bytes) -> None:
    if found and not found[-1].endswith(b"\n"):
        found.append(b"\n")
    found.append(line + b"\n")


class _Hunk(NamedTuple):
    """`base[start:end]` has become `new[begin:until]`."""

    start: int
    end: int
    begin: int
    until: int


def _pieces(base: Lines, ours: Lines, theirs: Lines) -> Iterator[Piece]:
    """The texts cut where all three are the same. Changes that touch each other are in one piece."""
    mine, other = _hunks(base, ours), _hunks(base, theirs)
    at = 0  # how far the base is done
    while mine or other:
        start = min(hunks[0].start for hunks in (mine, other) if hunks)
        if start > at:
            yield Piece(base[at:start], base[at:start], base[at:start])
        at, own, their = _joined(mine, other, start)
        yield from _narrowed(
            Piece(base[start:at], _side(base, ours, own, start, at), _side(base, theirs, their, start, at))
        )
    if at < len(base):
        yield Piece(base[at:], base[at:], base[at:])


def _joined(mine: list[_Hunk], other: list[_Hunk], start: int) -> tuple[int, list[_Hunk], list[_Hunk]]:
    """Take the hunks from `start` on that touch each other; gives where they end."""
    end = start
    own: list[_Hunk] = []
    their: list[_Hunk] = []
    found = True
    while found:
        found = False
        for hunks, some in ((mine, own), (other, their)):
            while hunks and hunks[0].start <= end:
                some.append(hunks.pop(0))
                end, found = max(end, some[-1].end), True
    return end, own, their


def _side(base: Lines, new: Lines, hunks: Sequence[_Hunk], start: int, end: int) -> Lines:
    """What one side has in the place of `base[start:end]`."""
    if not hunks:
        return base[start:end]
    first, last = hunks[0], hunks[-1]
    return base[start : first.start] + new[first.begin : last.until] + base[last.end : end]


def _narrowed(piece: Piece) -> Iterator[Piece]:
    """A conflict without what both sides begin and end with."""
    if piece.is_clean:
        yield piece
        return
    base, ours, theirs = piece
    head = _same(ours, theirs)
    tail = _same(ours[head:][::-1], theirs[head:][::-1])
    if head:
        yield Piece((), ours[:head], theirs[:head])
    yield Piece(base, ours[head : len(ours) - tail], theirs[head : len(theirs) - tail])
    if tail:
        yield Piece((), ours[len(ours) - tail :], theirs[len(theirs) - tail :])


def _same(one: Lines, other: Lines) -> int:
    """How many lines they begin with are the same."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def _hunks(base: Lines, new: Lines) -> list[_Hunk]:
    """Where a text differs. The ends that are the same are cut off first: comparing is costly."""
    head = _same(base, new)
    tail = _same(base[head:][::-1], new[head:][::-1])
    was, now = base[head : len(base) - tail], new[head : len(new) - tail]
    found = SequenceMatcher(None, was, now, autojunk=False).get_opcodes()
    return [_Hunk(a + head, b + head, c + head, d + head) for kind, a, b, c, d in found if kind != "equal"]
