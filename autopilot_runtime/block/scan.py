"""Cuts a text that arrives in chunks into plain text and whole fence lines; holds back only what may become one."""

from __future__ import annotations

import re

from autopilot_runtime.block.grammar import FENCE_CHARS, SHORTEST

_FENCE_AHEAD = re.compile(r"\n(?=[`~])")


class FenceScanner:
    """Gives `(is_fence_line, text)` in order. Every character is looked at a fixed number of times."""

    def __init__(self) -> None:
        self._at_line_start = True
        self._held: list[str] = []  # an unfinished line that may still turn out to be a fence line
        self._char = ""
        self._run = 0
        self._in_run = False

    def feed(self, chunk: str) -> list[tuple[bool, str]]:
        """What this chunk decided."""
        out: list[tuple[bool, str]] = []
        at, size = 0, len(chunk)
        while at < size:
            if self._held or (self._at_line_start and chunk[at] in FENCE_CHARS):
                at = self._grow(chunk, at, out)
                continue
            ahead = _FENCE_AHEAD.search(chunk, at)
            end = ahead.end() if ahead else size
            self._at_line_start = chunk[end - 1] == "\n"
            out.append((False, chunk[at:end]))
            at = end
        return out

    def rest(self) -> str:
        """The unfinished line that was held back; nothing more will come."""
        held, self._held = "".join(self._held), []
        return held

    def _grow(self, chunk: str, at: int, out: list[tuple[bool, str]]) -> int:
        """Add to the held line what is left of it in the chunk, and let it go when it is decided."""
        if not self._held:
            self._char, self._run, self._in_run = chunk[at], 0, True
        end = chunk.find("\n", at) + 1 or len(chunk)
        part = chunk[at:end]
        self._held.append(part)
        ended = part.endswith("\n")
        if not self._still_a_fence(part):
            out.append((False, self.rest()))
        elif ended:
            out.append((True, self.rest()))
        self._at_line_start = ended
        return end

    def _still_a_fence(self, part: str) -> bool:
        info = part
        if self._in_run:
            info = part.lstrip(self._char)
            self._run += len(part) - len(info)
            self._in_run = not info
        if self._in_run:
            return True
        return self._run >= SHORTEST and not (self._char == "`" and "`" in info)
