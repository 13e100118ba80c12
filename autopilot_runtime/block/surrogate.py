"""Joins surrogate pairs that arrive in two chunks and replaces lone halves: those can be neither sent nor saved."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
REPLACED = "\ufffd"


class SurrogateJoiner:
    """`first_line` is the line of the first half that had to be replaced, or None."""

    def __init__(self) -> None:
        self.first_line: int | None = None
        self._lines = 1
        self._carry = ""

    def feed(self, chunk: str) -> str:
        """The text that is certain now; the first half of a pair waits for the second."""
        if self._carry:
            chunk, self._carry = self._carry + chunk, ""
        if not chunk.isascii():
            chunk = self._clean(chunk)
        if self.first_line is None:
            self._lines += chunk.count("\n")
        return chunk

    def end(self) -> str:
        """What is left when nothing more comes."""
        if not self._carry:
            return ""
        self._carry = ""
        self.first_line = self.first_line or self._lines
        return REPLACED

    def _clean(self, chunk: str) -> str:
        if "\ud800" <= chunk[-1] <= "\udbff":
            chunk, self._carry = chunk[:-1], chunk[-1]
        if not _SURROGATE.search(chunk):
            return chunk
        joined = chunk.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        lone = _SURROGATE.search(joined)
        if lone is None:
            return joined
        if self.first_line is None:
            self.first_line = self._lines + joined.count("\n", 0, lone.start())
        return _SURROGATE.sub(REPLACED, joined)
