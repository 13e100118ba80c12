"""Reads a reply while it arrives: what may be shown at once, and in the end what is to be done.

Any split of the same text into chunks gives the same shown text and the same `Reply`; the cost is linear. Shown are
the prose before the control block (with its display blocks) and the completion, wherever that stands. A completion
before the control block counts, too; what lies between is an aside, and the control block still runs first.
"""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from autopilot_runtime.block import explain
from autopilot_runtime.block.grammar import Fence, language_and_filename, read_fence
from autopilot_runtime.block.lookalike import near_fences, near_word
from autopilot_runtime.block.reply import Control, Payload, Piece, Problem, Reply
from autopilot_runtime.block.scan import FenceScanner
from autopilot_runtime.block.shown import Shown
from autopilot_runtime.block.surrogate import SurrogateJoiner

_MOST_OF_A_KIND = 20

_Role = Literal["display block", "control block", "payload block", "completion block", "second control block"]


@dataclass(slots=True)
class _Block:
    """A block that is open."""

    role: _Role
    fence: Fence
    line: int
    start: int
    parts: list[str] = field(default_factory=list)
    nested: list[Fence] = field(default_factory=list)
    nested_at: int | None = None

    def payload(self, *, closed: bool) -> Payload:
        language, filename = language_and_filename(self.fence.rest)
        return Payload("".join(self.parts), language, filename, self.line, closed)


class ReplyParser:
    """Feed it chunks, stream the pieces it gives, then `finish` once."""

    def __init__(self) -> None:
        self._joiner = SurrogateJoiner()
        self._scan = FenceScanner()
        self._shown = Shown()
        self._raw: list[str] = []
        self._line = 1
        self._offset = 0
        self._block: _Block | None = None
        self._closed: tuple[_Block, int] | None = None  # the block closed last, and where, if its end may be disputed
        self._text_since = False
        self._spans: list[tuple[int, int]] = []
        self._asides: list[str] = []
        self._control: Control | None = None
        self._control_line = 0
        self._payloads: list[Payload] = []
        self._problems: list[Problem] = []
        self._early: list[Problem] = []  # told only if a control block follows; else it is a chat with examples
        self._kinds: Counter[str] = Counter()

    def feed(self, chunk: str) -> list[Piece]:
        """Take the next chunk; gives what may be streamed now."""
        self._take(self._joiner.feed(chunk))
        return self._shown.pieces()

    def finish(self, cut: bool = False) -> Reply:
        """The whole reply. `cut`: the token limit (or the connection) ended it, not the model."""
        self._take(self._joiner.end())
        partial = self._scan.rest()
        if partial:
            self._end_inside_a_fence_line(partial, cut=cut)
        text = "".join(self._raw)
        if cut:
            self._judge_cut(partial)
        self._end_open_block(cut=cut)
        self._hint_near_fences(text)
        if self._joiner.first_line is not None:
            self._report(explain.surrogates(self._joiner.first_line))
        state = self._shown.completion_state
        return Reply(
            text=text,
            prose=self._shown.prose,
            control=self._control,
            payloads=tuple(self._payloads),
            completion=None if state == "none" or (cut and state == "open") else self._shown.completion,
            completion_closed=state == "closed",
            asides="".join(self._asides),
            problems=tuple(sorted(self._problems, key=lambda one: one.line)),
            kind=self._kind(text),
            cut=cut,
            tail=tuple(self._shown.pieces()),
        )

    # -------------------------------------------------------- line by line

    def _take(self, chunk: str) -> None:
        self._raw.append(chunk)
        for is_fence_line, text in self._scan.feed(chunk):
            fence = read_fence(text) if is_fence_line else None
            if fence is None:
                self._text(text)
            elif self._block is None:
                self._open(fence, text)
            else:
                self._inside(self._block, fence, text)
            self._line += text.count("\n")
            self._offset += len(text)

    def _text(self, text: str) -> None:
        block = self._block
        if block is not None and block.role == "completion block":
            self._shown.say(text)
        elif block is not None and block.role != "display block":
            block.parts.append(text)
        elif self._control_line == 0 and self._shown.completion_state == "none":
            self._shown.tell(text)
        else:
            self._asides.append(text)
            if block is None and not self._text_since:
                self._text_since = bool(text.strip())

    def _open(self, fence: Fence, line: str) -> None:
        role: _Role
        if fence.role == "control":
            role = self._open_control()
        elif fence.role == "completion":
            role = "completion block"
            if self._shown.completion_state == "closed":
                self._report(explain.two_completions(self._line))
            self._shown.open_completion()
        else:
            role = "payload block" if self._control_line else "display block"
            self._look_at_opening(fence, role)
            if role == "display block":
                self._text(line)
        self._block = _Block(role, fence, self._line, self._offset)

    def _open_control(self) -> _Role:
        if self._control_line:
            self._report(explain.two_controls(self._control_line, self._line))
            return "second control block"
        self._control_line = self._line
        for early in self._early[:_MOST_OF_A_KIND]:
            self._report(early)
        self._shown.mark("opened")
        return "control block"

    def _look_at_opening(self, fence: Fence, role: _Role) -> None:
        if fence.bare:
            if self._closed and self._text_since:
                block, closed = self._closed
                self._report(explain.ambiguous(self._line, outer=block.role, opened=block.line, closed=closed))
            return
        near = near_word(fence.rest)
        name = language_and_filename(fence.rest)[1] if role == "display block" else None
        if near:
            self._report(explain.look_alike(self._line, *near))
        elif name:
            self._early.append(explain.early_payload(self._line, name))

    def _inside(self, block: _Block, fence: Fence, line: str) -> None:
        """A fence line in an open block: its end, the beginning or end of a nested one, or content."""
        inner = block.nested[-1] if block.nested else None
        if fence.reaches(inner or block.fence):
            if fence.bare and inner is None:
                self._close(block, line)
                return
            if fence.bare:
                block.nested.pop()
            elif fence.names_something:
                self._nest(block, fence)
        self._text(line)

    def _nest(self, block: _Block, fence: Fence) -> None:
        if block.role in ("control block", "second control block"):
            self._report(explain.fence_in_control(self._line, fence.shown, block.line))
            return
        block.nested.append(fence)
        block.nested_at = block.nested_at or self._line
        of_payload = block.role == "payload block" and language_and_filename(fence.rest)[1] is not None
        if fence.role or of_payload:
            self._report(explain.swallowed(self._line, fence.shown, outer=block.role, opened=block.line))

    def _close(self, block: _Block, line: str) -> None:
        if block.role == "control block":
            self._control = Control("".join(block.parts), block.line, True)
            self._shown.mark("closed")
        elif block.role == "payload block":
            self._payloads.append(block.payload(closed=True))
        elif block.role == "completion block":
            self._shown.close_completion()
        elif block.role == "display block":
            self._text(line)
        # After a control block a bare fence is no riddle: code cut inside a string does not pass the syntax check.
        self._closed = (block, self._line) if block.role in ("payload block", "completion block") else None
        self._text_since = False
        self._spans.append((block.start, self._offset))
        self._block = None

    # -------------------------------------------------------- the end

    def _end_inside_a_fence_line(self, partial: str, *, cut: bool) -> None:
        fence = read_fence(partial)
        if self._block is not None:
            # After a cut: the next token might have made the line longer, or given it an info string.
            if fence is None or cut:
                self._text(partial)
            else:
                self._inside(self._block, fence, partial)
        elif fence is not None and (not cut or fence.role or self._control_line):
            self._open(fence, partial)
        elif not cut:
            self._text(partial)
        # else: a cut piece of a line that would have become a fence is not worth showing
        self._offset += len(partial)

    def _judge_cut(self, partial: str) -> None:
        """What the token limit means for this reply; only what was complete before it counts."""
        block = self._block
        if block is not None and block.role in ("control block", "payload block", "second control block"):
            self._report(explain.cut_inside(block.line, block.role))
        elif block is not None and block.role == "completion block":
            self._report(explain.cut_in_completion(block.line, acts=self._control is not None))
        elif self._control is not None and partial:
            self._report(explain.cut_inside(self._line, "payload block"))
        elif self._control is not None or self._shown.completion_state == "closed":
            self._report(explain.cut_after(self._line))
        else:
            self._report(explain.cut_before_action(self._line))

    def _end_open_block(self, *, cut: bool) -> None:
        block = self._block
        if block is None:
            return
        self._spans.append((block.start, self._offset))
        if block.role == "control block":
            self._control = Control("".join(block.parts), block.line, False)
        elif block.role == "payload block":
            self._payloads.append(block.payload(closed=False))
        elif block.role == "completion block":
            self._shown.close_completion(ended=False)
        if cut or block.role == "display block":
            return
        if block.role == "completion block":
            self._report(explain.unclosed_completion(block.line))
        else:
            self._report(explain.unclosed(block.line, block.role, nested_at=block.nested_at))

    # -------------------------------------------------------- findings

    def _report(self, problem: Problem) -> None:
        # Counted per kind, so that no number of hints can crowd out an error.
        self._kinds[problem.kind] += 1
        if self._kinds[problem.kind] <= _MOST_OF_A_KIND:
            self._problems.append(problem)

    def _hint_near_fences(self, text: str) -> None:
        for offset, word, why in near_fences(text):
            at = bisect.bisect_right(self._spans, (offset, len(text))) - 1
            if at >= 0 and offset < self._spans[at][1]:
                continue
            if self._kinds["hint"] >= _MOST_OF_A_KIND:
                return
            self._report(explain.look_alike(1 + text.count("\n", 0, offset), word, why))

    def _kind(self, text: str) -> Literal["action", "completion", "chat", "empty"]:
        if self._control_line:
            return "action"
        if self._shown.completion_state != "none":
            return "completion"
        return "chat" if text.strip() else "empty"


def parse_reply(text: str, *, cut: bool = False) -> Reply:
    """Read a reply that is already complete."""
    parser = ReplyParser()
    parser.feed(text)
    return parser.finish(cut)
