"""Enough of a shell's grammar to tell one plain command from several. Pure."""

from __future__ import annotations

import os
import re
import shlex

# Outside quotes these start another command, another file, or another program's output. `#` hides what follows.
_ACTIVE = frozenset(";&|\n\r<>()`$#")
_IN_DOUBLE = frozenset("$`")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_SPACE = re.compile(r"[ \t]+")


_ANYWHERE = _ACTIVE | frozenset("%^")


def active(command: str, *, posix: bool = os.name != "nt") -> list[int]:
    """Positions at which a command does more than run one program with fixed words. An open quote counts, too."""
    if not posix:
        # Each shell of Windows has quotes and escapes of its own, so none of them is trusted.
        return [at for at, char in enumerate(command) if char in _ANYWHERE or _is_control(char)]
    return _Lexer().read(command)


class _Lexer:
    """Goes through a POSIX command letter by letter and notes where the shell would act."""

    def __init__(self) -> None:
        self.found: list[int] = []
        self.quote = ""

    def read(self, command: str) -> list[int]:
        escaped = False
        for at, char in enumerate(command):
            if escaped:
                escaped = False
                # Harmless to a POSIX shell. A reader may miss the stroke, and another shell does not know it.
                acts = not self.quote and char in _ACTIVE
            elif char == "\\" and self.quote != "'":
                escaped, acts = True, False
            else:
                acts = self.in_quotes(char) if self.quote else self.outside(char, command[at - 1 : at])
            if acts:
                self.found.append(at)
        if self.quote or escaped:
            self.found.append(len(command))
        return self.found

    def in_quotes(self, char: str) -> bool:
        if char == self.quote:
            self.quote = ""
            return False
        return (self.quote == '"' and char in _IN_DOUBLE) or char in "\n\r"

    def outside(self, char: str, before: str) -> bool:
        if char in "'\"":
            self.quote = char
            return False
        within_word = char == "#" and before != "" and not before.isspace()
        return _is_control(char) or (char in _ACTIVE and not within_word)


def _is_control(char: str) -> bool:
    return ord(char) < 32 and char != "\t"


def commands(text: str) -> list[str]:
    """Every command in a line, as plain words: what chained, substituted and grouped parts would run."""
    cuts = {at for at in active(text) if at < len(text)}
    parts = "".join("\n" if at in cuts else char for at, char in enumerate(text)).split("\n")
    # What stands in quotes can be a command as well: `bash -c "..."`.
    inner = [found[1] or found[2] or "" for found in _QUOTED.finditer(text)]
    spelt = [_SPACE.sub(" ", text).strip(), *map(_words, parts), *map(_words, inner)]
    return [part for part in dict.fromkeys(spelt) if part]


_PREFIX = re.compile(r"(?:(?:\w+=\S*|sudo|env|command|exec|nohup|time|then|do|else|[{!]) +)+")


def _words(part: str) -> str:
    """One command without quotes, doubled spaces, and what may stand before its name."""
    try:
        words = " ".join(shlex.split(part, posix=True))
    except ValueError:
        words = _SPACE.sub(" ", part).strip()
    return _PREFIX.sub("", words, count=1) if _PREFIX.match(words) else words
