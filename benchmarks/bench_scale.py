"""Many runtimes in one process: what 500 cost idle, how long a step of each waits, and how the loop fares meanwhile.

python benchmarks/bench_scale.py [--quick] [--restless]

What would stall the loop most is Python's collector, whose full rounds look at every object of the process. With many
runtimes open they are made rare (core/calm.py); `--restless` shows what it is like without.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from autopilot_runtime import AsyncRuntime, EventType, ScriptedProvider
from autopilot_runtime.core.calm import CALM_ENV
from autopilot_runtime.core.message import Message

COUNT = 50 if "--quick" in sys.argv else 500
STEPS = 10
THINKING = 5.0  # seconds a model takes for a reply: with nothing else in the way, a step takes as long
AGENT = {
    "agent": {
        "name": "Many",
        "model": {"provider": "scripted", "name": "scripted"},
        "runtime": {"work_dir": "work"},
        "tools": ["read_file", "write_file"],
    }
}
BLOCK = 'I look.\n\n```codepilot\nprint(read_file("a.txt"))\n```\n'
DONE = "```completion\nDone.\n```"


def resident() -> float:
    """Megabytes of this process."""
    fields = Path("/proc/self/smaps_rollup").read_text().split("Rss:")[1].split()
    return int(fields[0]) / 1024


class Pulse:
    """How long the loop was not there for others; `work` is the same in CPU time of its thread.

    On a machine that is busy with other things, the loop waits for a processor, too: that is in the first only.
    """

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self.work: list[float] = []
        self._task = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            begun, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            self.gaps.append(time.perf_counter() - begun - 0.001)
            self.work.append(time.thread_time() - cpu)

    def take(self) -> str:
        """The gaps since the last look, in words."""
        gaps, work = sorted(self.gaps) or [0.0], sorted(self.work) or [0.0]
        self.gaps, self.work = [], []
        nearly = int(len(gaps) * 0.99)
        return (
            f"longest stall {gaps[-1] * 1000:.1f} ms, p99 {gaps[nearly] * 1000:.1f} ms "
            f"(CPU: {work[-1] * 1000:.1f}, {work[nearly] * 1000:.1f} ms)"
        )

    def stop(self) -> None:
        self._task.cancel()


class Rounds:
    """The full rounds of the collector, and how long each kept everything else waiting."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self._begun = 0.0
        gc.callbacks.append(self._told)

    def _told(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] == 2 and phase == "start":
            self._begun = time.perf_counter()
        elif info["generation"] == 2:
            self.taken.append(time.perf_counter() - self._begun)

    def take(self) -> str:
        """What there was of them since the last look."""
        taken, self.taken = self.taken, []
        return f"{len(taken)} full collections" + (f", the longest {max(taken) * 1000:.0f} ms" if taken else "")


async def think(messages: Sequence[Message]) -> str:
    """What a model says, after the time it takes."""
    await asyncio.sleep(THINKING)
    replies = sum(message.role == "assistant" for message in messages)
    return DONE if replies % STEPS == STEPS - 1 else BLOCK


def opened(folder: Path, number: int) -> AsyncRuntime:
    """One of many, with a session on disk."""
    model = ScriptedProvider(think)
    runtime = AsyncRuntime(folder / "agent.yaml", "file", f"session-{number}", folder / "sessions", provider=model)
    runtime.hooks.clear()
    return runtime


async def steps_of(runtime: AsyncRuntime) -> list[float]:
    """Run it; how long each step took."""
    marks: list[float] = []
    feed = runtime.open_feed()
    await runtime.run("Go")
    assert runtime.last is not None
    assert runtime.last.status == "completed", runtime.last
    feed.close()
    marks = [event.ts async for event in feed if event.type in (EventType.STEP, EventType.RUN_ENDED)]
    return [after - before for before, after in pairwise(marks)]


async def measure(folder: Path) -> None:
    one = opened(folder, -1)
    (folder / "work").mkdir()
    (folder / "work" / "a.txt").write_text("hello\n")
    pulse = Pulse()
    await asyncio.sleep(0.05)
    gc.collect()
    before = resident()
    pulse.take()
    begun = time.perf_counter()
    runtimes = []
    for number in range(COUNT):
        runtimes.append(opened(folder, number))
        await asyncio.sleep(0)
    built = time.perf_counter() - begun
    stalls = pulse.take()
    gc.collect()
    each = (resident() - before) / COUNT
    print(f"{COUNT} runtimes: {built / COUNT * 1000:.2f} ms to make one, {each:.3f} MB each, idle")
    print(f"loop while they are made: {stalls}")
    await asyncio.sleep(0.01)  # the collection above is ours
    pulse.take()
    begun = time.perf_counter()

    async def late(number: int) -> list[float]:
        await asyncio.sleep(THINKING * number / COUNT)  # users do not all begin at once
        return await steps_of(runtimes[number])

    rounds = Rounds()
    taken: list[list[float]] = await asyncio.gather(*(late(number) for number in range(COUNT)))
    whole = time.perf_counter() - begun
    stalls = pulse.take()
    steps = sorted(step for one_of in taken for step in one_of)
    print(f"{len(steps)} steps in {whole:.1f} s (ideal {THINKING * (STEPS + 1):.1f} s)")
    print(
        f"a step: median {statistics.median(steps) / THINKING:.2f}x the ideal, "
        f"slowest {steps[-1] / THINKING:.2f}x (asked: <= 2)"
    )
    print(f"loop while they run: {stalls}, asked: <= 10")
    print(f"meanwhile: {rounds.take()}")
    await asyncio.sleep(0.01)  # counting was ours
    pulse.take()
    begun = time.perf_counter()
    await asyncio.gather(*(one.run("Go again") for one in runtimes))
    stalls = pulse.take()
    whole = time.perf_counter() - begun
    print(f"all in the same instant: {whole:.1f} s (ideal {THINKING * STEPS:.1f} s); {rounds.take()}")
    print(f"loop meanwhile: {stalls}")
    gc.collect()
    print(f"afterwards: {(resident() - before) / COUNT:.3f} MB each, idle (asked: <= 1)")
    pulse.stop()
    for runtime in (one, *runtimes):
        await runtime.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "agent.yaml").write_text(json.dumps(AGENT))
        if "--restless" in sys.argv:
            os.environ[CALM_ENV] = "0"
        asyncio.run(measure(folder))


if __name__ == "__main__":
    _: Any = main()
