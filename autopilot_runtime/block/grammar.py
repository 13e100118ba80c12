"""The reply grammar: what a fence line is, which blocks mean something to the runtime, what an info string says.

- A line ends with "\\n" (a "\\r" before it belongs to the end). Nothing else ends a line: not NEL, U+2028, VT or FF.
- A fence line stands at column 0: three or more backticks (or tildes), then an info string; a backtick in the
  info string of a backtick fence makes it ordinary text. An indented fence is ordinary text: fences in lists and
  docstrings can neither open nor close a block, whatever they contain.
- A block is closed by a line of at least as many of the same character and nothing else but spaces and tabs.
- `codepilot`, `autopilot` and `completion` must be the whole info string, byte for byte.
- Inside a payload, a completion or a display block, a fence line *with* an info string and no fewer characters is
  taken for a nested block, and the next bare fence closes that one first. Inside a control block it is not: the
  first bare fence closes, and the syntax check finds a block that was cut inside a string.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

CONTROL_WORDS = ("codepilot", "autopilot")
COMPLETION_WORD = "completion"
RUNTIME_WORDS = (*CONTROL_WORDS, COMPLETION_WORD)
FENCE_CHARS = "`~"
SHORTEST = 3

_FILENAME = re.compile(r"(?:^|[ \t])filename=(\"[^\"]*\"|'[^']*'|[^ \t]*)")


@dataclass(frozen=True, slots=True)
class Fence:
    """A fence line: its character, how many of them, and what stands after them."""

    char: str
    count: int
    rest: str

    @property
    def bare(self) -> bool:
        """Whether nothing but spaces and tabs stands after the run: such a line can close a block."""
        return not self.rest.strip(" \t")

    @property
    def names_something(self) -> bool:
        """Whether a visible info string follows: inside a block that is how a nested block begins."""
        return bool(self.rest.strip())

    @property
    def role(self) -> Literal["control", "completion"] | None:
        """What the runtime reads in this opening line; None for every other fence."""
        word = self.rest.rstrip(" \t")
        if word in CONTROL_WORDS:
            return "control"
        return "completion" if word == COMPLETION_WORD else None

    @property
    def shown(self) -> str:
        """The line as it can be quoted in a message."""
        run = self.char * self.count if self.count <= 12 else f"{self.char * 3}...({self.count})"
        return run + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in self.rest.strip()[:48])

    def reaches(self, other: Fence) -> bool:
        """Whether this line is long enough, and of the right character, to close what `other` opened."""
        return self.char == other.char and self.count >= other.count


def read_fence(line: str) -> Fence | None:
    """The fence on this line (with or without its line end), or None when it is ordinary text."""
    if not line.startswith(("```", "~~~")):
        return None
    body = line.removesuffix("\n").removesuffix("\r")
    char = body[0]
    rest = body.lstrip(char)
    if char == "`" and "`" in rest:
        return None
    return Fence(char, len(body) - len(rest), rest)


def language_and_filename(rest: str) -> tuple[str, str | None]:
    """The first word of an info string (unless it is an attribute), and the value of `filename=`."""
    info = rest.strip(" \t")
    found = _FILENAME.search(info)
    name = found.group(1) if found else ""
    if len(name) >= 2 and name[0] == name[-1] and name[0] in "\"'":
        name = name[1:-1]
    first = re.split(r"[ \t]", info, maxsplit=1)[0]
    return ("" if "=" in first else first), (name or None)
