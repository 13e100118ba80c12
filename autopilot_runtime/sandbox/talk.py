"""The host's conversation with a worker about one block, with a clock that runs only while the block has the word."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from typing import Any

from autopilot_runtime.core.message import printable
from autopilot_runtime.core.protocols import Failure, Limits, Outcome
from autopilot_runtime.sandbox import wire
from autopilot_runtime.sandbox.blockrun import LOST, BlockRun, diverged
from autopilot_runtime.sandbox.channel import Worker, WorkerGone

# How long a block that was asked to stop may take to unwind before it is killed.
_GRACE_SECONDS = 0.5
_TEXT_CHARS = 20_000
_STOP = getattr(signal, "SIGUSR1", signal.SIGTERM)


class _Overdue(Exception):
    """It was asked to stop and did not."""


class Talk:
    """One block's frames. `broken` afterwards: this worker must not be used again."""

    def __init__(self, worker: Worker, block: BlockRun, limits: Limits) -> None:
        self._worker, self._block, self._limits = worker, block, limits
        self._left = limits.seconds
        self._ended: Failure | None = None
        self.broken = False

    async def hold(self, message: dict[str, Any]) -> Failure | None:
        """Send the block, answer what it asks, until it is done; why it failed, if it did."""
        try:
            return await self._held(message)
        except WorkerGone as gone:
            failure = self._ended or Failure("killed", _death(gone.code))
        except _Overdue:
            failure = self._ended or Failure("killed", "The block did not stop when asked to.")
        except wire.WireError as error:
            failure = Failure("killed", f"The block broke the connection to its host: {error}.")
        self.broken = True
        return Failure(failure.kind, f"{failure.text}\n{LOST}", failure.line)

    async def _held(self, message: dict[str, Any]) -> Failure | None:
        await self._send(message)
        while True:
            frame = await self._receive()
            try:
                word = frame["op"]
                if word == "call":
                    await self._send(await self._called(frame))
                elif word == "text":
                    dropped = _number(frame.get("dropped", 0))
                    self._block.transcript.add("text", _text(frame["s"]), dropped=dropped)
                elif word == "value":
                    self._block.transcript.add("value", _text(frame["s"]))
                elif word == "diverged":
                    self._diverged(_text(frame["text"]))
                elif word == "done":
                    return self._done(frame)
                else:
                    raise wire.WireError("an unknown word")
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise wire.WireError(f"a frame that lacks its parts ({type(error).__name__})") from None

    # ------------------------------------------------------------ the clock

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await self._timed(self._worker.send(message))
        except TimeoutError:
            # Half a frame may be on its way: there is no way back.
            self._ended = self._ended or self._out_of_time()
            raise _Overdue from None

    async def _receive(self) -> dict[str, Any]:
        while True:
            try:
                frame: dict[str, Any] = await self._timed(self._worker.receive())
                return frame
            except TimeoutError:
                if self._ended is not None:
                    raise _Overdue from None
                self._ended = self._out_of_time()
                self._left = _GRACE_SECONDS
                self._worker.signal(_STOP)

    async def _timed(self, step: Coroutine[Any, Any, Any]) -> Any:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, self._left)):
                return await step
        finally:
            self._left -= time.monotonic() - begun

    def _out_of_time(self) -> Failure:
        text = f"The block was stopped after {self._limits.seconds:g} s of its own time (tool calls do not count)."
        return Failure("timeout", text)

    # ------------------------------------------------------------ words

    def _diverged(self, text: str) -> None:
        self._ended = self._ended or diverged(printable(text[:_TEXT_CHARS]))
        self._left = min(self._left, _GRACE_SECONDS)

    async def _called(self, frame: dict[str, Any]) -> dict[str, Any]:
        self._block.reads.note_all(frame["reads"])
        if self._ended is not None:
            return {"fatal": True}
        line = frame["line"]
        outcome = await self._block.answer(
            _text(frame["tool"]),
            tuple(wire.unpack(value) for value in frame["args"]),
            {key: wire.unpack(value) for key, value in frame["kwargs"].items()},
            bare=frame["bare"] is True,
            line=line if isinstance(line, int) else None,
        )
        if outcome.fatal:
            self._ended = self._block.stopped
            self._left = _GRACE_SECONDS
        return _answer(outcome)

    def _done(self, frame: dict[str, Any]) -> Failure | None:
        self._block.reads.note_all(frame["reads"])
        threads = _number(frame["threads"])
        if threads:
            self.broken = True
            note = f"[{threads} thread(s) of the block did not end. {LOST}]\n"
            self._block.transcript.add("text", note)
        said = frame["failure"]
        if said is None:
            return self._ended
        text = printable(_text(said["text"])[:_TEXT_CHARS])
        line = said["line"] if isinstance(said["line"], int) else None
        if self._ended is not None:
            return Failure(self._ended.kind, f"{self._ended.text}\n{text}", line)
        if said["kind"] == "replay":
            return diverged(text, line)
        if said["kind"] == "memory":
            return Failure("memory", f"{text}\nThe block may use {self._limits.memory_mb} MB.", line)
        return Failure("stopped" if said["kind"] == "stopped" else "error", text, line)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 60:
        raise ValueError("no number")
    return value


def _answer(outcome: Outcome) -> dict[str, Any]:
    if outcome.fatal:
        return {"fatal": True}
    if outcome.error is not None:
        return {"error": outcome.error[:_TEXT_CHARS], "type": outcome.error_type}
    try:
        answer = {"value": wire.pack(outcome.value)}
        wire.to_frame(answer)
    except wire.WireError as error:
        text = f"The call took effect, but its result cannot be given to the block: {error}."
        return {"error": text, "type": "ToolError"}
    return answer


def _death(code: int | None) -> str:
    if code is None:
        return "The block's worker was lost."
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"The block's worker was killed by {name}."
    return f"The block's worker ended itself with exit code {code}."
