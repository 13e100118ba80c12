"""One regex language for both engines: ripgrep's own spellings, rewritten for Python's `re`.

Where ripgrep cannot (look-around, backreferences) the Python engine does it in both cases; where Python cannot
(set operations in a class, scripts like `\\p{Greek}`) the pattern is refused with a reason.
"""

from __future__ import annotations

import re

from autopilot_runtime.search.letters import category, letters, spaces

_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ", "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ", "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
# In an empty line Python's own \B does not match.
_EDGES = {
    "b": r"\b", "B": r"(?!\b)", "<": r"\b(?=\w)", ">": r"\b(?<=\w)", "start": r"\b(?=\w)", "end": r"\b(?<=\w)",
    "start-half": r"(?<!\w)", "end-half": r"(?!\w)",
}  # fmt: skip
_EDGE = r"(?:(?<=\w)(?!\w)|(?<!\w)(?=\w))"
_FLAGS = re.compile(r"\(\?([a-zA-Z]*)(-[a-zA-Z]+)?\)")
_SCOPED = re.compile(r"\(\?([a-zA-Z]*)(-[a-zA-Z]+)?:")
_REPEAT = re.compile(r"(?:[*+?]|\{\d+(?:,\d*)?\})\??")
_HEX = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})")
_PARENTHESES = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()]", re.DOTALL)
# To ripgrep these speak of the part of a file that is in memory, or of a CR, which it keeps from other patterns.
_BEYOND = re.compile(r"\\\\|(\\[ABzZr]|\\x0[dD]|\\u000[dD]|\\[xuU]\{0*[dD]\}|\(\?[a-zA-Z]*-[a-zA-Z]*[mR])")


def is_read_otherwise(pattern: str) -> bool:
    """Whether ripgrep would take the pattern, but not for what it says of a single line."""
    return any(found[1] for found in _BEYOND.finditer(pattern)) or _closes_too_early(pattern)


def _closes_too_early(pattern: str) -> bool:
    """`a)|(b` is an error, but ripgrep puts its own parentheses around it."""
    depth = 0
    for found in _PARENTHESES.finditer(pattern):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth < 0:
            return True
    return False


class Untranslatable(ValueError):
    """Why Python cannot run the pattern, and where in it."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position


def to_python(pattern: str, *, wide: bool = True) -> str:
    """The pattern for Python's `re`, to be tried on one line at a time. Not `wide`: for ASCII lines only, and faster,
    because it is elsewhere that Python counts other letters to a word."""
    return _Rewriter(pattern, wide=wide).run()


class _Rewriter:
    def __init__(self, pattern: str, *, wide: bool) -> None:
        self.pattern = pattern
        self.wide = wide
        self.at = 0
        self.out: list[str] = []
        # For each open group the `(?i:` that were opened in it for a `(?i)`; they end where the group ends.
        self.groups: list[list[str]] = [[]]
        self.begins: list[int] = []  # where in `out` each open group begins
        self.atom: int | None = None  # where in `out` that begins which a `+` would repeat

    def run(self) -> str:
        while self.at < len(self.pattern):
            char = self.pattern[self.at]
            if char == "(":
                self.open_group()
            elif char in "|)":
                self.close_flags(char)
            elif repeat := _REPEAT.match(self.pattern, self.at):
                self.repeat(repeat)
            else:
                self.atom = len(self.out)
                self.out.append(self.single(char))
        return "".join(self.out) + ")" * len(self.groups[-1])

    def single(self, char: str) -> str:
        if char == "\\":
            return self.escape(inside=False)
        if char == "[":
            return self.char_class()
        if char == "\n":
            raise Untranslatable("a line feed never matches: the search goes line by line", self.at)
        self.at += 1
        return char

    def repeat(self, found: re.Match[str]) -> None:
        """`a{2}{3}` and `^+` are allowed here, and `a++` is nothing special: so what is repeated is made a group."""
        if self.atom is not None:
            self.out.insert(self.atom, "(?:")
            self.out.append(")")
        self.out.append(found[0])
        self.at = found.end()

    def open_group(self) -> None:
        flags, scoped = _FLAGS.match(self.pattern, self.at), _SCOPED.match(self.pattern, self.at)
        self.atom = None
        if flags:
            self.out.append(opened := f"(?{self.flags(flags[1], flags[2])}:")
            self.groups[-1].append(opened)
            self.at = flags.end()
            return
        if self.pattern.startswith("(?#", self.at):
            end = self.pattern.find(")", self.at) + 1 or len(self.pattern)
            self.out.append(self.pattern[self.at : end])
            self.at = end
            return
        self.begins.append(len(self.out))
        if scoped:
            self.out.append(f"(?{self.flags(scoped[1], scoped[2])}:")
            self.groups.append([])
            self.at = scoped.end()
        else:
            named = re.compile(r"\(\?<(?![=!])").match(self.pattern, self.at)
            self.out.append("(?P<" if named else "(")
            self.groups.append([])
            self.at = named.end() if named else self.at + 1

    def flags(self, on: str, off: str | None) -> str:
        unknown = set(on) - set("imsxuR") | set((off or "-")[1:]) - set("imsxR")
        if unknown:
            raise Untranslatable(f"the flag {min(unknown)!r} needs ripgrep", self.at)
        # Python has Unicode always, and lines are cut at CRLF before it sees them.
        kept = "".join(sorted(set(on) & set("imsx")))
        dropped = "".join(sorted(set(off or "") & set("imsx")))
        return kept + (f"-{dropped}" if dropped else "")

    def close_flags(self, char: str) -> None:
        opened = self.groups[-1]
        self.out.append(")" * len(opened) + char)
        self.atom = None
        if char == "|":
            self.out.extend(opened)
        elif len(self.groups) > 1:
            self.groups.pop()
            self.atom = self.begins.pop()
        self.at += 1

    def escape(self, *, inside: bool) -> str:
        """One escape sequence, `self.at` on its backslash."""
        start, char = self.at, self.pattern[self.at + 1 : self.at + 2]
        if number := _HEX.match(self.pattern, start):
            self.at = number.end()
            return number[0]
        self.at += 2
        if char in ("p", "P"):
            return self.unicode_class(start, negated=char == "P", inside=inside)
        if char in ("x", "u", "U") and self.braced() is not None:
            return self.character(start)
        if char in ("s", "S") or (char in ("w", "W") and self.wide):
            members = (spaces if char in "sS" else letters)(negated=char.isupper())
            return members if inside else f"[{members}]"
        return "\\" + char if inside else self.outside_class(start, char)

    def outside_class(self, start: int, char: str) -> str:
        """What has this meaning only outside of [...]."""
        if char == "n":
            raise Untranslatable(r"\n never matches: the search goes line by line", start)
        if char == "z":
            return r"\Z"
        name = char
        if char == "b" and self.braced() in _EDGES:
            name = self.take_braced()
        edge = _EDGES.get(name, "\\" + char)
        return edge.replace(r"\b", _EDGE).replace(r"\w", f"[{letters()}]") if self.wide and name in _EDGES else edge

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
        members = category(name)
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
