"""One regex language for both engines: ripgrep's own spellings, rewritten for Python's `re`.

Where ripgrep cannot (look-around, backreferences) the Python engine does it in both cases; where Python cannot
(set operations in a class, scripts like `\\p{Greek}`) the pattern is refused with a reason.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ", "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ", "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_LONG = {
    "alphabetic": "L", "letter": "L", "uppercase": "Lu", "upper": "Lu", "lowercase": "Ll", "lower": "Ll", "mark": "M",
    "number": "N", "digit": "Nd", "punctuation": "P", "punct": "P", "symbol": "S", "separator": "Z", "other": "C",
}  # fmt: skip
_EDGES = {"<": r"(?:\b(?=\w))", ">": r"(?:\b(?<=\w))", "z": r"\Z"}
_HALVES = {"start": _EDGES["<"], "end": _EDGES[">"], "start-half": r"(?<!\w)", "end-half": r"(?!\w)"}
_FLAGS = re.compile(r"\(\?([a-zA-Z]*)(-[a-zA-Z]+)?\)")
_SCOPED = re.compile(r"\(\?([a-zA-Z]*)(-[a-zA-Z]+)?:")


class Untranslatable(ValueError):
    """Why Python cannot run the pattern, and where in it."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position


def to_python(pattern: str) -> str:
    """The pattern for Python's `re`, to be tried on one line at a time."""
    return _Rewriter(pattern).run()


class _Rewriter:
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.out: list[str] = []
        # For each open group the `(?i:` that were opened in it for a `(?i)`; they end where the group ends.
        self.groups: list[list[str]] = [[]]

    def run(self) -> str:
        while self.at < len(self.pattern):
            char = self.pattern[self.at]
            if char == "\\":
                self.out.append(self.escape(inside=False))
            elif char == "[":
                self.out.append(self.char_class())
            elif char == "(":
                self.open_group()
            elif char in "|)":
                self.close_flags(char)
            elif char == "\n":
                raise Untranslatable("a line feed never matches: the search goes line by line", self.at)
            else:
                self.out.append(char)
                self.at += 1
        return "".join(self.out) + ")" * len(self.groups[-1])

    def open_group(self) -> None:
        flags, scoped = _FLAGS.match(self.pattern, self.at), _SCOPED.match(self.pattern, self.at)
        if flags:
            self.out.append(opened := f"(?{self.flags(flags[1], flags[2])}:")
            self.groups[-1].append(opened)
            self.at = flags.end()
        elif scoped:
            self.out.append(f"(?{self.flags(scoped[1], scoped[2])}:")
            self.groups.append([])
            self.at = scoped.end()
        else:
            named = re.compile(r"\(\?<(?![=!])").match(self.pattern, self.at)
            self.out.append("(?P<" if named else "(")
            self.groups.append([])
            self.at = named.end() if named else self.at + 1

    def flags(self, on: str, off: str | None) -> str:
        unknown = set(on + (off or "-")[1:]) - set("imsxuR")
        if unknown:
            raise Untranslatable(f"the flag {min(unknown)!r} needs ripgrep", self.at)
        # Python has Unicode always, and lines are cut at CRLF before it sees them.
        kept = "".join(sorted(set(on) & set("imsx")))
        dropped = "".join(sorted(set(off or "") & set("imsx")))
        return kept + (f"-{dropped}" if dropped else "")

    def close_flags(self, char: str) -> None:
        opened = self.groups[-1]
        self.out.append(")" * len(opened) + char)
        if char == "|":
            self.out.extend(opened)
        elif len(self.groups) > 1:
            self.groups.pop()
        self.at += 1

    def escape(self, *, inside: bool) -> str:
        """One escape sequence, `self.at` on its backslash."""
        start, char = self.at, self.pattern[self.at + 1 : self.at + 2]
        self.at += 2
        if char in ("p", "P"):
            return self.unicode_class(start, negated=char == "P", inside=inside)
        if char in ("x", "u", "U") and self.braced() is not None:
            return self.character(start)
        return "\\" + char if inside else self.outside_class(start, char)

    def outside_class(self, start: int, char: str) -> str:
        """What has this meaning only outside of [...]."""
        if char == "n":
            raise Untranslatable(r"\n never matches: the search goes line by line", start)
        if char == "b" and (edge := _HALVES.get(self.braced() or "")):
            self.take_braced()
            return edge
        return _EDGES.get(char, "\\" + char)

    def character(self, start: int) -> str:
        """The one whose number is in the braces."""
        digits = self.take_braced()
        try:
            return re.escape(chr(int(digits, 16)))
        except (ValueError, OverflowError):
            raise Untranslatable(f"{digits!r} is not the number of a character", start) from None

    def braced(self) -> str | None:
        found = re.compile(r"\{([^{}]*)\}").match(self.pattern, self.at)
        return found[1] if found else None

    def take_braced(self) -> str:
        text = self.braced() or ""
        self.at += len(text) + 2
        return text

    def unicode_class(self, start: int, *, negated: bool, inside: bool) -> str:
        name = self.take_braced() if self.braced() is not None else self.pattern[self.at : self.at + 1]
        if name and self.pattern[self.at - 1] != "}":
            self.at += 1
        if name.startswith("^"):
            name, negated = name[1:], not negated
        short = _LONG.get(name.replace("_", "").lower(), name)
        members = _category(short)
        if not members:
            raise Untranslatable(f"\\p{{{name}}} needs ripgrep", start)
        if inside and negated:
            raise Untranslatable(f"\\P{{{name}}} inside [...] needs ripgrep", start)
        return members if inside else f"[{'^' if negated else ''}{members}]"

    def char_class(self) -> str:
        start = self.at
        self.at += 1
        text = "["
        if self.pattern[self.at : self.at + 1] == "^":
            text, self.at = "[^", self.at + 1
        first = True
        while self.at < len(self.pattern):
            char = self.pattern[self.at]
            two = self.pattern[self.at : self.at + 2]
            if char == "]" and not first:
                self.at += 1
                return text + "]"
            first = False
            if char == "\\":
                text += self.escape(inside=True)
                continue
            if two == "[:" and (posix := re.compile(r"\[:(\^?)(\w+):\]").match(self.pattern, self.at)):
                text += self.posix(posix)
                continue
            if two in ("&&", "--", "~~"):
                raise Untranslatable(
                    f"{two!r} in [...] needs ripgrep; for the plain characters write a backslash", self.at
                )
            if char == "[" and "]" in self.pattern[self.pattern.find("]", self.at) + 1 :]:
                raise Untranslatable("[ inside [...] needs ripgrep; for the plain character write \\[", self.at)
            text += "\\[" if char == "[" else char
            self.at += 1
        raise Untranslatable("[ without its ]", start)

    def posix(self, found: re.Match[str]) -> str:
        if found[2] not in _POSIX or found[1]:
            raise Untranslatable(f"{found[0]} needs ripgrep", self.at)
        self.at = found.end()
        return _POSIX[found[2]]


@cache
def _category(name: str) -> str:
    """The members of a Unicode general category as the inside of a character class; "" when there is none such."""
    if not re.fullmatch(r"[LMNPSZC][a-z]?", name):
        return ""
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)).startswith(name):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)
