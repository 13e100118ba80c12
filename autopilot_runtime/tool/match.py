"""Whether a rule's pattern matches: narrowly for what is allowed, widely for what is not. Pure."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from autopilot_runtime.tool.shellwords import active, commands


def matches_text(pattern: str, text: str, *, wide: bool) -> bool:
    """`*` stands for anything."""
    if wide:
        pattern, text = pattern.casefold(), text.casefold()
    return _stars(pattern).match(text) is not None


def matches_command(pattern: str, command: str, *, wide: bool) -> bool:
    """`pytest *` matches `pytest` with any words. Narrow: one plain command, or operators the pattern spells out."""
    if wide:
        pattern = " ".join(pattern.split()).casefold()
        return any(_stars(pattern).match(one.casefold()) for one in (command, *commands(command)))
    found = _stars(pattern).match(command)
    if found is None:
        return False
    # The shell would act at these places; each must be in the pattern's own words, not in what a star stands for.
    spans = [found.span(n) for n in range(1, (found.lastindex or 0) + 1)]
    special = active(command)
    if not spans:
        return True
    return not any(start <= at < end or at == len(command) for at in special for start, end in spans if start >= 0)


@lru_cache(maxsize=512)
def _stars(pattern: str) -> re.Pattern[str]:
    """A pattern with `*`, each a group. Atomic, so that no text can make it slow."""
    # `pytest *` is meant to match a bare `pytest`, too.
    tail = r"\Z"
    if pattern.endswith(" *") and len(pattern) > 2:
        pattern, tail = pattern[:-2], r"(?:[ \t]([\s\S]*))?\Z"
    first, *rest = [re.escape(part) for part in re.split(r"\*+", pattern)]
    if not rest:
        return re.compile(first + tail)
    middle = "".join(rf"(?>([\s\S]*?){part})" for part in rest[:-1])
    # With an optional tail the last part may lie anywhere; else it is at the very end.
    last = rf"(?>([\s\S]*?){rest[-1]})" if tail != r"\Z" else rf"([\s\S]*){rest[-1]}"
    return re.compile(first + middle + last + tail)


def matches_path(pattern: str, path: str, *, wide: bool) -> bool:
    """`*` stays in one folder, `**` crosses folders. A bare name: only at the top (narrow), in any folder (wide)."""
    pattern = pattern.removeprefix("./")
    if wide:
        pattern, path = _folded(pattern), _folded(path)
        if "/" not in pattern.rstrip("/"):
            pattern = "**/" + pattern
        # A rule about a folder is about what is in it.
        inside = _path(pattern.rstrip("/") + "/**")
        if inside.match(path):
            return True
    return _path(pattern).match(path) is not None


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|[^*?]+")
_GLOB = {"**/": "(?:[^/]+/)*+", "**": r"[\s\S]*", "*": "[^/]*", "?": "[^/]"}


@lru_cache(maxsize=512)
def _path(pattern: str) -> re.Pattern[str]:
    if pattern == "*":
        pattern = "**"
    pieces = [_GLOB.get(token) or re.escape(token) for token in _TOKENS.findall(pattern)]
    return re.compile("".join(pieces) + r"\Z")
