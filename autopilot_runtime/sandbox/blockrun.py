"""One run of one block, seen from the host; both engines hand it every call the block makes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from autopilot_runtime.core.errors import ReplayError
from autopilot_runtime.core.protocols import BlockResult, Call, Caller, Failure, Limits, Outcome, ToolSpec
from autopilot_runtime.sandbox.display import label, receipt
from autopilot_runtime.sandbox.reads import Reads, checked
from autopilot_runtime.sandbox.signature import did_you_mean, faults
from autopilot_runtime.sandbox.transcript import Transcript
from autopilot_runtime.sandbox.value import bounded_repr

LOST = "The worker was stopped, so variables of earlier blocks are lost."


def diverged(text: str, line: int | None = None) -> Failure:
    """Why a block that is replayed was stopped."""
    return Failure("error", f"ReplayError: {text}", line)


class BlockRun:
    """Answers a block's calls, keeps its transcript and what it reads, counts its effects."""

    def __init__(
        self, *, tools: Mapping[str, ToolSpec], call: Caller, limits: Limits, reads: Sequence[Any] = ()
    ) -> None:
        self.transcript = Transcript(limits.output_chars)
        try:
            self.given = checked(reads)
        except ValueError as error:
            raise ReplayError(f"The record of what this block read is damaged: {error}.") from error
        self.reads = Reads(self.given)
        self.stopped: Failure | None = None
        self._tools, self._call, self._limits = tools, call, limits
        self._effects: list[str] = []
        self._calls = 0
        self._begun = time.monotonic()

    async def answer(
        self, tool: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, bare: bool, line: int | None
    ) -> Outcome:
        """Make the call a block asks for. A `fatal` outcome is also kept as `stopped`."""
        outcome = self._refused(tool, args, kwargs)
        if outcome is None:
            call = Call(self._calls, tool, args, kwargs, bare, line, tuple(self.reads.take()))
            self._calls += 1
            outcome = await self._made(call)
        self._show(outcome, tool=tool, args=args, kwargs=kwargs, bare=bare)
        if outcome.fatal and self.stopped is None:
            self.stopped = Failure("stopped", outcome.error or "The block was stopped by a call.", line)
        return outcome

    def result(self, failure: Failure | None) -> BlockResult:
        """How the block went; a fatal call is the reason, whatever came after it."""
        return BlockResult(
            items=self.transcript.items(),
            failure=self.stopped or failure,
            effects=tuple(self._effects),
            calls=self._calls,
            elapsed=time.monotonic() - self._begun,
            dropped_chars=self.transcript.dropped,
            reads=tuple(self.reads.take()),
        )

    def _refused(self, tool: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome | None:
        """What must not reach a tool: unknown names, arguments that do not fit, one call too many."""
        spec = self._tools.get(tool)
        if spec is None:
            have = ", ".join(sorted(self._tools)) or "none"
            text = f"no tool {tool!r}{did_you_mean(tool, self._tools)}. Tools here: {have}"
            return Outcome(error=text, error_type="NameError")
        problems = faults(spec, args, kwargs, types=False)
        if problems:
            text = f"{tool}() {'; '.join(problems)}. Signature: {spec.signature}"
            return Outcome(error=text, error_type="TypeError")
        if self._calls >= self._limits.calls:
            text = f"The block made {self._calls} tool calls, the most one block may make; it was stopped."
            self.stopped = Failure("limit", text)
            return Outcome(error=text, fatal=True)
        return None

    async def _made(self, call: Call) -> Outcome:
        try:
            return await self._call(call)
        except Exception as error:
            # A caller reports its tools' errors as outcomes; one that raises itself must not take the block's
            # worker with it, and the reader must learn of it.
            return Outcome(error=f"{type(error).__name__}: {error}"[:4_000])

    def _show(
        self, outcome: Outcome, *, tool: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], bare: bool
    ) -> None:
        if outcome.error is None:
            self._effects.append(label(tool, args, kwargs))
        if bare and outcome.error is None and (outcome.shown is not None or outcome.value is not None):
            shown = outcome.shown
            text = bounded_repr(outcome.value, chars=self._limits.output_chars) if shown is None else shown
            self.transcript.add("shown", text, source=outcome.source, whole=outcome.whole)
        else:
            self.transcript.add("receipt", receipt(tool, args, kwargs, outcome))
