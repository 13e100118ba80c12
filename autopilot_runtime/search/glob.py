"""Globs as `.gitignore` files and `include=` write them, turned into regular expressions that cannot be made slow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

_MAX_DEEP = 3  # `**` in one pattern: each multiplies the ways a path can be tried
_MAX_SPREAD = 64  # patterns that `{a,b}{c,d}` may unfold into
_TOKEN = re.compile(r"\\.|\[[!^]?\]?[^\]]*\]|[{}\[\\]", re.DOTALL)
_CLASS = re.compile(r"\[[!^]?\]?[^\]/]*\]")
# Without what ripgrep takes for something else: `?` is one byte to it, and `{,a}` only `a`.
_NAME_GLOB = re.compile(r"(?=.*\*)(?!.*\*\*)(?:[\w.*+@-]|\{[\w.*+@-]+(?:,[\w.*+@-]+)*\})+\Z", re.ASCII)
NEVER = r"(?!)"


def spread(glob: str, *, empty: bool = True) -> list[str]:
    """The patterns without braces that a pattern with `{a,b}` stands for. Not `empty`: `{,a}` is only `a`."""
    done: list[str] = []
    todo = [glob]
    while todo and len(done) + len(todo) <= _MAX_SPREAD:
        one = todo.pop()
        found = _first_braces(one)
        if found is None:
            done.append(one)
            continue
        start, end, choices = found
        todo.extend(one[:start] + choice + one[end:] for choice in reversed(choices) if choice or empty)
    return done + todo


def is_sound(glob: str) -> bool:
    """Whether ripgrep takes the pattern: all is closed, braces hold no braces, and no backslash is left over."""
    inside = False
    for found in _TOKEN.finditer(glob):
        if found[0] in ("[", "\\") or found[0] == ("{" if inside else "}"):
            return False
        inside = found[0] == "{" or (inside and found[0] != "}")
    return not inside


def _first_braces(glob: str) -> tuple[int, int, list[str]] | None:
    """Where the first outermost `{...}` begins and ends, and what it offers."""
    depth, start, cuts, skip = 0, 0, [0], False
    for index, char in enumerate(glob):
        if skip or char == "\\":
            skip = not skip
        elif char == "{":
            depth += 1
            if depth == 1:
                start, cuts = index, [index]
        elif char == "," and depth == 1:
            cuts.append(index)
        elif char == "}" and depth:
            depth -= 1
            if not depth:
                ends = [*cuts[1:], index]
                return start, index + 1, [glob[a + 1 : b] for a, b in zip(cuts, ends, strict=True)]
    return None


@lru_cache(maxsize=4096)
def to_regex(glob: str) -> str:
    """A regular expression for the whole of a `/`-separated path. `*` and `?` stay within one name."""
    given = glob.split("/")
    parts = [part for part, before in zip(given, ["", *given], strict=False) if not part == before == "**"]
    if parts.count("**") > _MAX_DEEP:
        return NEVER
    text = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part != "**":
            text += _name(part) + ("" if last else "/")
        elif last:
            text += ".+" if index else ".*"
        else:
            text += "(?:[^/]+/)*"
    return text


def _name(part: str) -> str:
    """One name. Between two stars the first place that fits is as good as any, so no star ever tries again."""
    pieces: list[str] = [""]
    index = 0
    while index < len(part):
        char = part[index]
        if char == "*":
            pieces.append("")
        elif char == "?":
            pieces[-1] += "[^/]"
        elif char == "[" and (found := _CLASS.match(part, index)):
            pieces[-1] += _class(found[0])
            index = found.end() - 1
        elif char == "\\" and index + 1 < len(part):
            index += 1
            pieces[-1] += re.escape(part[index])
        else:
            pieces[-1] += re.escape(char)
        index += 1
    if len(pieces) == 1:
        return pieces[0]
    middle = "".join(f"(?>[^/]*?{piece})" for piece in pieces[1:-1] if piece)
    return pieces[0] + middle + "[^/]*" + pieces[-1]


def _class(text: str) -> str:
    inside = text[1:-1]
    negated = inside[:1] in ("!", "^")
    body = re.sub(r"([\\\[\]&~|])", r"\\\1", inside[1:] if negated else inside)
    if body.startswith("^"):
        body = "\\" + body
    try:
        re.compile(f"[{body}]")
    except re.error:
        return NEVER  # a range like [z-a]
    return f"(?!/)[^{body}]" if negated else f"(?!/)[{body}]"


class Include:
    """Which paths an `include=` selects: globs, `!` excludes, the last one that fits decides.

    A hidden file or folder has to be named, by a glob with a name that begins with a dot.
    """

    def __init__(self, globs: Sequence[str]) -> None:
        self.globs = tuple(globs)
        self._rules = [
            (not glob.startswith("!"), _names_hidden(glob), _compiled(glob.removeprefix("!"))) for glob in globs
        ]
        self._default = not any(wanted for wanted, _, _ in self._rules)
        # Plain patterns for file names, which ripgrep can apply by itself before it opens a file.
        self.typed = bool(globs) and all(_NAME_GLOB.match(glob) for glob in globs)
        self.hidden = any(wanted and dotted for wanted, dotted, _ in self._rules)

    def selects(self, path: str, start: str = "") -> bool:
        """Whether the file is wanted; `start` is the folder below which it was found."""
        hidden = "/." in f"/{path[len(start) :]}"
        for wanted, dotted, pattern in reversed(self._rules):
            if (dotted or not (wanted and hidden)) and pattern.fullmatch(path):
                return wanted
        return self._default and not hidden


def _names_hidden(glob: str) -> bool:
    return any(
        part[:1] == "." for one in spread(glob.removeprefix("!").removeprefix("./")) for part in one.split("/")
    )


def _compiled(glob: str) -> re.Pattern[str]:
    regexes = []
    for one in spread(glob.removeprefix("./")):
        anchored = "/" in one.rstrip("/")
        whole = one.strip("/") if anchored else f"**/{one.rstrip('/')}"
        regexes.append(to_regex(whole))
        # `tests/` and a folder's own name mean everything below it.
        if one.endswith("/") or not re.search(r"[*?\[]", one):
            regexes.append(to_regex(f"{whole}/**"))
    return re.compile("|".join(f"(?:{regex})" for regex in regexes), re.DOTALL)
