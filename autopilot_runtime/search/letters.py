"""What counts as a letter, a space or a member of a Unicode category for ripgrep, as the inside of a `[...]`."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import groupby

Ranges = list[tuple[int, int]]
_NAMES = {
    "alphabetic": "L", "letter": "L", "uppercase": "Lu", "upper": "Lu", "lowercase": "Ll", "lower": "Ll", "mark": "M",
    "number": "N", "digit": "Nd", "punctuation": "P", "punct": "P", "symbol": "S", "separator": "Z", "other": "C",
}  # fmt: skip
_SPACES = [
    (0x09, 0x0D), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
    (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000),
]  # fmt: skip
# Letters in circles and squares, and what joins letters without being one: Python has these otherwise.
_ALSO_WORD = [(0x200C, 0x200D), (0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189)]


def category(name: str) -> str:
    """The members of a general category such as `Lu`, `L` or `letter`; "" when there is none such."""
    short = _NAMES.get(name.replace("_", "").lower(), name)
    return _inside(_of(short)) if re.fullmatch(r"[LMNPSZC][a-z]?", short) else ""


@cache
def letters(*, negated: bool = False) -> str:
    r"""What `\w` means, or `\W`: marks belong to words, and `½` does not."""
    found = sorted([*_of("L", "M", "Nl", "Nd", "Pc"), *_ALSO_WORD])
    return _inside(_others(found) if negated else found)


@cache
def spaces(*, negated: bool = False) -> str:
    r"""What `\s` means, or `\S`: Python's own has four control characters more."""
    return _inside(_others(_SPACES) if negated else _SPACES)


@cache
def _categories() -> list[tuple[str, int, int]]:
    found = []
    for name, run in groupby(range(sys.maxunicode + 1), lambda code: unicodedata.category(chr(code))):
        codes = list(run)
        found.append((name, codes[0], codes[-1]))
    return found


def _of(*names: str) -> Ranges:
    return [(first, last) for name, first, last in _categories() if name.startswith(names)]


def _others(ranges: Ranges) -> Ranges:
    """Everything but the ranges, which are in order."""
    ends = [-1, *(last for _, last in ranges)]
    starts = [*(first for first, _ in ranges), sys.maxunicode + 1]
    return [(end + 1, start - 1) for end, start in zip(ends, starts, strict=True) if end + 1 < start]


def _inside(ranges: Iterable[tuple[int, int]]) -> str:
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
