"""A model that answers from a cassette, or that fills one: modes replay, record, auto."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from autopilot_runtime.core.errors import ReplayError, SetupError
from autopilot_runtime.core.ids import slug
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Delta, Provider, Retrying, Stopped, Text, Thought, Usage, Used
from autopilot_runtime.model.cassette import Cassette, Chunk, Record, newest, normalise
from autopilot_runtime.model.retry import ending, notices

Mode = Literal["replay", "record", "auto"]
Mask = Callable[[str], str]


class ReplayProvider:
    """Replays strictly: a call that was not recorded is an error that shows the difference.

    `record` always asks the real model, `auto` only for what is not there. `pace` 1.0 replays as slowly as
    it was recorded. The system prompt is not compared: editing it must not break every cassette.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: Mode = "replay",
        inner: Provider | None = None,
        mask: Mask = str,
        volatile: Mask | None = None,
        pace: float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if mode not in get_args(Mode):
            raise SetupError(f"{mode!r} is not a replay mode: replay, record, auto.")
        if mode != "replay" and inner is None:
            raise SetupError(f"Replay mode {mode!r} needs a real model to record.")
        if mode == "replay" and not path.exists():
            raise SetupError(f"There is no cassette {path}. Record it with AUTOPILOT_REPLAY_MODE=record (or auto).")
        self.name = inner.name if inner is not None else "replay"
        self.model = inner.model if inner is not None else path.stem
        self.mode = mode
        self.cassette = Cassette(path)
        self.recorded_cost: float | None = 0.0
        self._inner = inner
        self._mask = mask
        self._volatile = volatile
        self._pace = pace
        self._sleep = sleep
        self._clock = clock

    def notices(self) -> list[str]:
        """What the real model wants said once."""
        return notices(self._inner) if self._inner is not None else []

    async def close(self) -> None:
        """Close the real model, when there is one."""
        if self._inner is not None:
            await self._inner.close()

    async def stream(
        self, messages: Sequence[Message], *, system: str, max_tokens: int | None = None
    ) -> AsyncIterator[Delta]:
        """The deltas of the recorded reply, or of the real one while it is recorded."""
        step, new = newest(messages)
        prompt = self._mask(normalise(self._mask(new), self._volatile))
        record = None if self.mode == "record" else self.cassette.take(step, prompt)
        if record is not None:
            async for delta in self._play(record):
                yield delta
            return
        if self._inner is None or self.mode == "replay":
            raise ReplayError(self.cassette.explain(step, prompt))
        taker = _Taker(step, prompt, self._mask, clock=self._clock)
        stream = self._inner.stream(messages, system=system, max_tokens=max_tokens)
        async with ending(stream) as deltas:
            async for delta in deltas:
                taker.note(delta)
                if isinstance(delta, Stopped):
                    self.cassette.add(taker.record(delta, self._inner.model))
                yield delta

    async def _play(self, record: Record) -> AsyncIterator[Delta]:
        for chunk in record.chunks:
            if self._pace and chunk.after_ms:
                await self._sleep(chunk.after_ms / 1000 * self._pace)
            yield Thought(chunk.text) if chunk.thought else Text(chunk.text)
        cost = record.usage.cost_usd
        self.recorded_cost = None if cost is None or self.recorded_cost is None else self.recorded_cost + cost
        # Replaying costs nothing, and that is known; what it cost once is in `recorded_cost`.
        yield Used(replace(record.usage, cost_usd=0.0, cost_source="price_table"))
        yield Stopped(record.stop, record.detail)  # type: ignore[arg-type]


class _Taker:
    """Collects one reply while it streams."""

    def __init__(self, step: int, prompt: str, mask: Mask, *, clock: Callable[[], float]) -> None:
        self._step = step
        self._prompt = prompt
        self._mask = mask
        self._clock = clock
        self._last = clock()
        self._chunks: list[Chunk] = []
        self._usage = Usage()

    def note(self, delta: Delta) -> None:
        now = self._clock()
        if isinstance(delta, (Text, Thought)):
            passed = round((now - self._last) * 1000)
            self._chunks.append(Chunk(delta.text, passed, isinstance(delta, Thought)))
            self._last = now
        elif isinstance(delta, Used):
            self._usage = delta.usage
        elif isinstance(delta, Retrying):
            self._chunks.clear()

    def record(self, stopped: Stopped, model: str) -> Record:
        chunks = (*self._clean(thought=True), *self._clean(thought=False))
        return Record(
            self._step, self._prompt, chunks, self._usage, model, stopped.reason, self._mask(stopped.detail)
        )

    def _clean(self, *, thought: bool) -> list[Chunk]:
        """The chunks as they came, unless a secret is in them: then one, because it may lie across several."""
        chunks = [chunk for chunk in self._chunks if chunk.thought is thought]
        text = "".join(chunk.text for chunk in chunks)
        masked = self._mask(text)
        if masked == text:
            return chunks
        return [Chunk(masked, sum(chunk.after_ms for chunk in chunks), thought)]


def cassette_in(place: Path, name: str, *, mode: Mode) -> Path:
    """The cassette of an agent: `place` itself when it is a file, else `<place>/<agent>.jsonl`.

    A folder with one single cassette serves any agent.
    """
    if place.is_file() or place.suffix == ".jsonl":
        return place
    path = place / f"{slug(name)}.jsonl"
    if mode == "replay" and not path.exists() and place.is_dir():
        found = sorted(place.glob("*.jsonl"))
        if len(found) == 1:
            return found[0]
        there = ", ".join(p.name for p in found[:10]) or "nothing"
        raise SetupError(f"There is no cassette {path}; in the folder: {there}.")
    return path
