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
    if pattern in ("*", "**"):
        return True
    if not wide:
        return _parts_match(pattern.split("/"), path.split("/"))
    parts = _folded(pattern).rstrip("/").split("/")
    if len(parts) == 1:
        parts.insert(0, "**")
    found = _folded(path).split("/")
    # A rule about a folder is about what is in it, too.
    return _parts_match(parts, found) or _parts_match([*parts, "**"], found)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _parts_match(pattern: list[str], path: list[str]) -> bool:
    """Folder by folder: `reached` holds how many parts of the pattern can be used up so far. Never exponential."""
    reached = _skip({0}, pattern)
    for part in path:
        step = {at for at in reached if at < len(pattern) and pattern[at] == "**"}
        step |= {at + 1 for at in reached - step if at < len(pattern) and _part(pattern[at]).match(part)}
        reached = _skip(step, pattern)
    return len(pattern) in reached


def _skip(reached: set[int], pattern: list[str]) -> set[int]:
    """`**` may stand for no folder at all."""
    for at in sorted(reached):
        end = at
        while end < len(pattern) and pattern[end] == "**":
            end += 1
            reached.add(end)
    return reached


_TOKENS = re.compile(r"\*+|\?|[^*?]+")


@lru_cache(maxsize=1024)
def _part(pattern: str) -> re.Pattern[str]:
    """One folder or file name with `*` and `?`. Atomic, as above."""
    tokens = _TOKENS.findall(pattern)
    out, pending = "", ""
    stars = 0
    for token in tokens:
        if token.startswith("*"):
            out += f"(?>[^/]*?{pending})" if stars else pending
            pending, stars = "", stars + 1
        else:
            pending += "[^/]" if token == "?" else re.escape(token)
    return re.compile(out + (f"[^/]*{pending}" if stars else pending) + r"\Z")
