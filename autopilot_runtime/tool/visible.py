"""Makes text safe to look at: what is invisible, moves the cursor or reorders letters is spelt out."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Escapes are written in these brackets, and the brackets themselves are escaped: no two texts look the same.
_OPEN, _CLOSE = "⟨", "⟩"
_NAMES = {0: "NUL", 7: "BEL", 8: "BS", 9: "TAB", 10: "LF", 13: "CR", 27: "ESC", 127: "DEL"}
_PLAIN = re.compile(r"[\x20-\x7e]*\Z")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@lru_cache(maxsize=4096)
def _spelt(char: str) -> str:
    code = ord(char)
    if char in (_OPEN, _CLOSE) or unicodedata.category(char) in _HIDDEN:
        return f"{_OPEN}{_NAMES.get(code) or f'U+{code:04X}'}{_CLOSE}"
    # Every space but the plain one: some look like nothing at all.
    if char != " " and unicodedata.category(char) == "Zs":
        return f"{_OPEN}U+{code:04X}{_CLOSE}"
    return char


def visible(text: str, *, lines: bool = False, limit: int | None = None) -> str:
    """The text on one line with everything hidden spelt out; `lines` keeps line feeds and tabs."""
    cut = ""
    if limit is not None and len(text) > limit:
        cut = f" … (+{len(text) - limit} characters)"
        text = text[:limit]
    if _PLAIN.match(text):
        return text + cut
    kept = "\n\t" if lines else ""
    return "".join(char if char in kept else _spelt(char) for char in text) + cut
