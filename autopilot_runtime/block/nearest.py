"""Shows where in a file a text that was not found nearly stands. The cost is bounded, whatever the file holds."""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from autopilot_runtime.block.patch import shown_line

_SAME_LINE = 50  # a line that stands in more places than this says nothing about where
_WIDTH = 120
_GLANCED = 4_000
_COMPARED = 200
_WINDOW = 12
_NUMBERED = re.compile(r"\s*\d+\s*[|:│\t]")


def nearest_lines(search: Sequence[str], keys: Sequence[bytes]) -> str:
    """A few sentences and numbered lines for the model."""
    if not keys:
        return "The file is empty."
    if all(_NUMBERED.match(line) for line in search if line.strip()):
        return "The SEARCH lines seem to carry the line numbers of read_file: leave those away."
    wanted = [" ".join(line.split()) for line in search]
    have = [" ".join(key[:2_000].decode("utf-8", "replace").split()) for key in keys]
    place = _by_equal_lines(wanted, have)
    if place is None:
        place = _by_similar_line(wanted, have)
    if place is None:
        return "No line of the file is like it: read the file again."
    return _shown(place, search, keys=keys)


def _by_equal_lines(wanted: list[str], have: list[str]) -> int | None:
    """Where most lines agree, spaces aside."""
    where: dict[str, list[int]] = defaultdict(list)
    asked = {line for line in wanted if len(line) > 1}
    for number, line in enumerate(have):
        if line in asked and len(where[line]) <= _SAME_LINE:
            where[line].append(number)
    votes: Counter[int] = Counter()
    for offset, line in enumerate(wanted[:500]):
        places = where.get(line, [])
        if len(places) <= _SAME_LINE:
            votes.update(place - offset for place in places)
    if not votes:
        return None
    return max(0, max(votes, key=lambda place: (votes[place], -place)))


def _by_similar_line(wanted: list[str], have: list[str]) -> int | None:
    """Where one line is most like the first telling line of the search."""
    telling = max(range(min(len(wanted), 20)), key=lambda at: (len(wanted[at]) > 8, -at))
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted[telling][:_WIDTH])
    best, best_score, glanced, compared = None, 0.6, 0, 0
    for number, line in enumerate(have):
        matcher.set_seq1(line[:_WIDTH])
        if matcher.real_quick_ratio() <= best_score:
            continue
        glanced += 1
        if glanced > _GLANCED or compared >= _COMPARED:
            break
        if matcher.quick_ratio() <= best_score:
            continue
        compared += 1
        score = matcher.ratio()
        if score > best_score:
            best, best_score = number, score
    return None if best is None else max(0, best - telling)


def _shown(place: int, search: Sequence[str], *, keys: Sequence[bytes]) -> str:
    have = [key.decode("utf-8", "backslashreplace") for key in keys[place : place + min(len(search), _WINDOW)]]
    lines = [
        f"{' ' if line == wanted else '*'} {place + at + 1}: {shown_line(keys[place + at])}"
        for at, (line, wanted) in enumerate(zip(have, search, strict=False))
    ]
    if len(search) > _WINDOW:
        lines.append(f"  ... {len(search) - _WINDOW} more")
    spaces = ""
    first = next((at for at, line in enumerate(have) if line != search[at]), None)
    if first is not None and have[first].split() == search[first].split():
        spaces = f" Line {place + first + 1} differs only in spaces: the file has {have[first][:_WIDTH]!r}."
    return f"The nearest lines are (* differs):{spaces}\n" + "\n".join(lines)
