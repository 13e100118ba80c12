"""How full the context window is: a tokenizer-free estimate, corrected by what the provider really counted."""

from __future__ import annotations

import re
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


def rough_tokens(text: str) -> int:
    """The same from the length alone, for what is too much to be looked at: a session of thousands of messages."""
    return (len(text) * 2 // 7 if text.isascii() else len(text.encode("utf-8", "replace")) // 3) + _PER_MESSAGE


def message_tokens(text: str) -> int:
    """The raw count of a message: its text, and what marks it as one."""
    return raw_tokens(text) + _PER_MESSAGE


class Estimate:
    """A count that learns from the provider how far off it is for this model and this kind of text."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.calibrated = False

    def tokens(self, text: str) -> int:
        """The corrected estimate for a text."""
        return round(raw_tokens(text) * self.factor)

    def calibrate(self, estimated: int, actual: int) -> None:
        """Learn from one call: `estimated` is the raw count of what was sent, `actual` what the provider said."""
        if estimated <= 0 or actual <= 0:
            return
        seen = min(max(actual / estimated, _LOWEST), _HIGHEST)
        self.factor = (self.factor + seen) / 2 if self.calibrated else seen
        self.calibrated = True


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
        self._system = 0  # of which this much is the system prompt
        self.newest = 0  # raw count of the message that joined last

    def begin(self, system: str) -> None:
        """Count the system prompt, in place of the one before."""
        raw = message_tokens(system)
        self._new += raw - self._system
        self._raw += raw - self._system
        self._system = raw

    def add(self, text: str) -> int:
        """Count a message that joins the conversation. Gives its estimated tokens."""
        self.newest = message_tokens(text)
        self._new += self.newest
        self._raw += self.newest
        return self.tokens(self.newest)

    def measured(self, input_total: int | None, output: int | None, *, reply: str) -> None:
        """Take the provider's count for all that was added so far and the reply to it, which joins now."""
        if not input_total:
            self.add(reply)
            return
        self.estimate.calibrate(self._raw, input_total)
        self.newest = message_tokens(reply)
        self._raw += self.newest
        self._known = input_total + (output if output is not None else self.tokens(self.newest))
        self._new = 0

    def recount(self, raw: int) -> None:
        """What is sent was rewritten (archive, summary): the messages are now this much, by their raw counts."""
        self._known = 0
        self._new = self._raw = raw + self._system

    @property
    def numbers(self) -> list[float]:
        """All it knows, to be kept beside the conversation: loading that must not mean counting it."""
        known = float(self.estimate.calibrated)
        return [self._known, self._new, self._raw, self._system, round(self.estimate.factor, 6), known]

    def restore(self, numbers: object) -> bool:
        """Take `numbers` back; False when they are not what this wrote."""
        if not isinstance(numbers, list) or len(numbers) != len(self.numbers):
            return False
        if not all(isinstance(one, (int, float)) and abs(one) < 1e12 for one in numbers):
            return False
        self._known, self._new, self._raw, self._system = map(int, numbers[:4])
        self.estimate.factor = min(max(float(numbers[4]), _LOWEST), _HIGHEST)
        self.estimate.calibrated = bool(numbers[5])
        return True

    @property
    def used(self) -> int:
        """Tokens in the window now: the provider's count plus the estimate of what came since."""
        return max(0, self._known + self.tokens(self._new))

    def tokens(self, raw: int) -> int:
        """What a raw count comes to, as far as the provider has taught us."""
        return round(raw * self.estimate.factor)

    @property
    def percent(self) -> int:
        """How much of the window is used, rounded up; above 100 when it does not fit any more."""
        return -(-self.used * 100 // self.window)

    @property
    def status(self) -> Status:
        """All figures at once."""
        return Status(self.used, self.window, self.percent)
