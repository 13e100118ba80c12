"""Which files of a folder are meant, said by globs: `*` within a name, `**` for any folders, `!` for all but."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cached_property

from autopilot_runtime.training.fault import ParameterRefused

_ALL = {"**", "**/*"}


class Globs:
    """A file is meant when one of the patterns fits its path and none of those with `!` does."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        wanted = [_parts(one) for one in self.patterns if not one.startswith("!")]
        unwanted = [_parts(one[1:]) for one in self.patterns if one.startswith("!")]
        self._in = re.compile(b"|".join(_whole(parts) for parts in wanted or [["**"]]), re.DOTALL)
        self._way = re.compile(b"|".join(_above(parts) for parts in wanted or [["**"]]), re.DOTALL)
        self._out = re.compile(b"|".join(map(_whole, unwanted)), re.DOTALL) if unwanted else None
        shut = [_whole(parts[:-1]) for parts in unwanted if len(parts) > 1 and parts[-1] == "**"]
        self._shut = re.compile(b"|".join(shut), re.DOTALL) if shut else None

    @cached_property
    def key(self) -> bytes:
        """Tells these globs from others."""
        return os.fsencode("\0".join(self.patterns))

    def takes(self, path: bytes) -> bool:
        """Whether this file is meant."""
        if self._in.fullmatch(path) is None:
            return False
        return self._out is None or self._out.fullmatch(path) is None

    def enters(self, path: bytes) -> bool:
        """Whether something that is meant could lie in this folder."""
        if self._way.fullmatch(path) is None:
            return False
        return self._shut is None or self._shut.fullmatch(path) is None

    def __str__(self) -> str:
        return ", ".join(self.patterns)


class Single:
    """One file, by its name."""

    def __init__(self, name: str) -> None:
        self.key = os.fsencode(name)

    def takes(self, path: bytes) -> bool:
        """Whether it is that one."""
        return path == self.key

    def enters(self, path: bytes) -> bool:
        """It lies in no folder below."""
        return False

    def __str__(self) -> str:
        return os.fsdecode(self.key)


def globs(pattern: str | Sequence[str] | None) -> Globs | None:
    """What these patterns mean; None for everything there is, empty folders and modes of folders included."""
    patterns = [pattern] if isinstance(pattern, str) else list(pattern or ())
    if not patterns or (any(one in _ALL for one in patterns) and not any(one.startswith("!") for one in patterns)):
        return None
    return Globs(patterns)


def _parts(pattern: str) -> list[str]:
    parts = [part for part in pattern.replace(os.sep, "/").split("/") if part not in ("", ".")]
    if pattern.startswith("/") or ".." in parts or not parts:
        raise ParameterRefused(
            f"the pattern {pattern!r} leaves the folder of the parameter: give one relative to it, such as '**/*.py'"
        )
    return parts


def _whole(parts: Sequence[str]) -> bytes:
    """The expression that fits whole paths."""
    made = b""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            made += b".+" if last else b"(?:[^/]+/)*"
        else:
            made += _name(part) + (b"" if last else b"/")
    return b"(?:" + made + b")"


def _above(parts: Sequence[str]) -> bytes:
    """The expression that fits every folder that something meant can lie in."""
    ways = []
    for number in range(1, len(parts) + 1):
        if parts[number - 1] == "**":
            before = b"".join(_name(part) + b"/" for part in parts[: number - 1])
            ways.append(before + b".+")
            break
        if number < len(parts):
            ways.append(_whole(parts[:number]))
    return b"(?:" + (b"|".join(ways) or b"(?!)") + b")"


def _name(part: str) -> bytes:
    """The expression that fits one name: `*`, `?` and `[...]`, none of which fits a slash."""
    made, at = b"", 0
    while at < len(part):
        letter = part[at]
        at += 1
        end = part.find("]", at + 1 + (part[at : at + 1] in ("!", "^"))) if letter == "[" else -1
        if letter == "*":
            made += b"[^/]*"
        elif letter == "?":
            made += b"[^/]"
        elif end >= 0:
            inner, at = part[at:end].replace("\\", "\\\\"), end + 1
            negated = inner[:1] in ("!", "^")
            made += b"(?!/)[" + (b"^" if negated else b"") + os.fsencode(inner[negated:]) + b"]"
        else:
            made += re.escape(os.fsencode(letter))
    return made
