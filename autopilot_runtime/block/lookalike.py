"""Finds what nearly is a runtime block but is not, and says which character is in the way."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from autopilot_runtime.block.grammar import RUNTIME_WORDS

_LONGEST = 80
_CANDIDATES = 2_000
_TICKS = "`´ˋ‵′'‘’＇｀~˜∼～"
# Cyrillic and Greek letters that look like the Latin ones in the runtime words.
_LATIN = str.maketrans(dict(zip("асоԁерімпӏɑοιαρτυνıɩ", "acodepimnlaoiaptuvii", strict=True)))
_WORD = re.compile("|".join(RUNTIME_WORDS))
_TICK = re.compile(rf"[{_TICKS}]")


def _is_filler(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) in ("Cf", "Cc", "Mn", "Me")


def _skeleton(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_LATIN)
    return "".join(char for char in folded if not _is_filler(char))


def named(char: str) -> str:
    """The code point and the name of a character that cannot be seen or is easily mistaken."""
    name = unicodedata.name(char, "") or {"\t": "TAB", "\r": "CARRIAGE RETURN", "\0": "NUL"}.get(char, "control")
    return f"U+{ord(char):04X} {name}"


@lru_cache(maxsize=512)
def _inspect(info: str) -> tuple[str, str] | None:
    plain = _skeleton(info)
    word = next((word for word in RUNTIME_WORDS if plain.startswith(word)), None)
    if word is None:
        near = difflib.get_close_matches(plain, RUNTIME_WORDS, n=1, cutoff=0.88) if 7 <= len(plain) <= 12 else []
        return (near[0], f"the word is spelt {plain!r}") if near else None
    return word, _difference(info, word)


def _difference(info: str, word: str) -> str:
    """What stands where `info` first departs from `word`."""
    at = next((i for i, char in enumerate(info) if char != word[i : i + 1]), len(info))
    if at == len(word):
        after = info[at:].strip(" \t")
        plain = after[0].isascii() and after[0].isprintable()
        return f"{after[:20]!r} follows the word" if plain else f"{named(after[0])} follows the word"
    char = info[at]
    if char.isascii() and char.isalpha():
        return "the word must be written in small letters"
    return f"{named(char)} stands at character {at + 1} of it"


def near_word(rest: str) -> tuple[str, str] | None:
    """For an info string that is almost a runtime word: the word, and what is wrong with it."""
    info = rest[:_LONGEST].rstrip(" \t")
    if not info or info in RUNTIME_WORDS:
        return None
    return _inspect(info)


def near_fences(text: str) -> Iterator[tuple[int, str, str]]:
    """Lines that are no fence lines but look like the opening of a runtime block: offset, word, what is wrong."""
    for number, found in enumerate(_WORD.finditer(text)):
        if number >= _CANDIDATES:
            return
        if text[found.end() : found.end() + 1].strip():
            continue
        begin = text.rfind("\n", max(0, found.start() - _LONGEST), found.start()) + 1
        if begin == 0 and found.start() > _LONGEST:
            begin = found.start() - _LONGEST
        why = _what_is_wrong(text[begin : found.start()], text[found.end() : found.end() + _LONGEST])
        if why:
            yield found.start(), found.group(), why


def _what_is_wrong(before: str, after: str) -> str | None:
    line_ends_here = not after.split("\n", 1)[0].strip(" \t\r")
    if not line_ends_here:
        return None
    ticks = "".join(char for char in before if not _is_filler(char))
    if len(ticks) >= 3 and all(char in _TICKS for char in ticks):
        strange = next((char for char in before if char not in "`~"), None)
        if strange is None:
            return None
        if strange in " \t" and before.lstrip(" \t").startswith(("```", "~~~")):
            return "the fence is indented; it must begin at the first character of its line"
        return f"{named(strange)} stands in or before the fence"
    if before.endswith(("```", "~~~")) and ticks:
        return "the fence must begin at the first character of a line of its own"
    return None
