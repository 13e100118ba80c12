"""How full the context window is: a tokenizer-free estimate, corrected by what the provider really counted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# What tokenizers tend to make one token of: a short word with the space or underscore before it, up to three
# digits, a line end with the indent after it, a CJK letter, a few letters of another script, two signs.
_PIECE = re.compile(
    r"[ _]?[A-Z]?[a-z]{1,9}|[ _]?[A-Z]{1,4}|\d{1,3}|\n[ \t]*|[ \t]{2,}"
    r"|[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\W\da-zA-Z_]{1,3}|[^\w\s]{1,2}|_+"
)
_SLICE = 1 << 16  # the pieces of one slice are in memory at a time
_PER_MESSAGE = 4
_LOWEST, _HIGHEST = 0.3, 4.0


def raw_tokens(text: str) -> int:
    """About how many tokens a text has, before any correction. Linear, no tokenizer, no download."""
    return sum(len(_PIECE.findall(text[at : at + _SLICE])) for at in range(0, len(text), _SLICE))


class Estimate:
    """A count that learns from the provider how far off it is for this model and this kind of text."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self._calibrated = False

    def tokens(self, text: str) -> int:
        """The corrected estimate for a text."""
        return round(raw_tokens(text) * self.factor)

    def calibrate(self, estimated: int, actual: int) -> None:
        """Learn from one call: `estimated` is the raw count of what was sent, `actual` what the provider said."""
        if estimated <= 0 or actual <= 0:
            return
        seen = min(max(actual / estimated, _LOWEST), _HIGHEST)
        self.factor = (self.factor + seen) / 2 if self._calibrated else seen
        self._calibrated = True


@dataclass(frozen=True, slots=True)
class Status:
    """The figures of the status block."""

    used: int
    window: int
    percent: int

    @property
    def left(self) -> int:
        """Tokens still free; never below zero."""
        return max(self.window - self.used, 0)


class Meter:
    """The running total of a conversation. A step costs what the step added, never what was there before."""

    def __init__(self, window: int, *, estimate: Estimate | None = None) -> None:
        self.window = max(window, 1)
        self.estimate = estimate or Estimate()
        self._known = 0  # what the provider counted, at its last word
        self._new = 0  # raw count of what came since
        self._raw = 0  # raw count of all of it

    def add(self, text: str) -> int:
        """Count a message (or the system prompt) that joins the conversation. Gives its estimated tokens."""
        raw = raw_tokens(text) + _PER_MESSAGE
        self._new += raw
        self._raw += raw
        return round(raw * self.estimate.factor)

    def measured(self, input_total: int | None, output: int | None, *, reply: str) -> None:
        """Take the provider's count for all that was added so far and the reply to it, which joins now."""
        if not input_total:
            self.add(reply)
            return
        self.estimate.calibrate(self._raw, input_total)
        raw = raw_tokens(reply) + _PER_MESSAGE
        self._raw += raw
        self._known = input_total + (output if output is not None else round(raw * self.estimate.factor))
        self._new = 0

    def reset(self) -> None:
        """Nothing is in the window any more."""
        self.rewrite(())

    def rewrite(self, texts: Iterable[str]) -> None:
        """Count anew, after the history itself was rewritten (archive, summary)."""
        self._known = self._new = self._raw = 0
        for text in texts:
            self.add(text)

    @property
    def used(self) -> int:
        """Tokens in the window now: the provider's count plus the estimate of what came since."""
        return self._known + round(self._new * self.estimate.factor)

    @property
    def percent(self) -> int:
        """How much of the window is used, rounded up; above 100 when it does not fit any more."""
        return -(-self.used * 100 // self.window)

    @property
    def status(self) -> Status:
        """All figures at once."""
        return Status(self.used, self.window, self.percent)
