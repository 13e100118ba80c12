"""Text from elsewhere, made harmless for a terminal: nothing in it can move the cursor, recolour or reorder."""

from __future__ import annotations

import re
import unicodedata

# Control characters, what turns the direction of text, what cannot be encoded. Line feeds and tabs stay.
_UNSAFE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def prose(text: str) -> str:
    """Text of several lines, as safe to print. Carriage returns are dropped: they only overwrite."""
    return _UNSAFE.sub(_escape, text.replace("\r", ""))


def one_line(text: str, limit: int = 2_000) -> str:
    """Text on one line, with every character that shows as nothing, or as something else, spelt out."""
    cut = f" … (+{len(text) - limit} characters)" if len(text) > limit else ""
    return _NOT_PLAIN.sub(_spelt, text[:limit]) + cut


def _spelt(found: re.Match[str]) -> str:
    char = found[0]
    hidden = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return char.encode("unicode_escape").decode() if hidden else char
