"""What a control block costs: starting, calling, computing, and a worker's memory.

Run: python benchmarks/bench_sandbox.py
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from autopilot_runtime.core.errors import SandboxUnavailable
from autopilot_runtime.core.protocols import Call, Limits, Outcome, Param, Sandbox, ToolSpec
from autopilot_runtime.sandbox.engine import Kind, open_sandbox

TOOLS = {"echo": ToolSpec("echo", "Give it back.", (Param("value", {}),))}
LIMITS = Limits(seconds=120, memory_mb=2_000, calls=100_000)
LOOP = "def loop():\n    n = 0\n    for i in range(1_000_000):\n        n += i\n    return n\nloop()\n"
READS = "import time\nfor i in range(9_000):\n    time.time()\n"
ROUNDS = 30


async def echo(call: Call) -> Outcome:
    """The tool of the benchmark."""
    return Outcome(value=call.args[0])


async def median(work: Callable[[], Awaitable[object]], rounds: int = ROUNDS) -> float:
    """Median milliseconds of some rounds."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        await work()
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


async def block(box: Sandbox, code: str) -> None:
    """Run one block; it must go well."""
    result = await box.run(code, tools=TOOLS, call=echo, limits=LIMITS)
    assert result.failure is None, result.failure


async def measure(kind: Kind) -> dict[str, float]:
    """Every figure of one engine."""
    begun = time.perf_counter()
    box = open_sandbox(kind)
    await box.start()
    figures = {"first start (ms)": (time.perf_counter() - begun) * 1e3}

    async def one_life() -> None:
        other = open_sandbox(kind)
        await other.start()
        await other.close()

    figures["next start and close (ms)"] = await median(one_life)
    figures["empty block (ms)"] = await median(lambda: block(box, "pass\n"))
    pid = getattr(getattr(box, "_worker", None), "pid", None)
    if pid is not None:
        figures["worker's own memory (MB)"] = private_memory(pid)
    figures["block with one call (ms)"] = await median(lambda: block(box, "echo(1)\n"))
    many = "for i in range(1000):\n    x = echo(i)\n"
    figures["tool call (us)"] = await median(lambda: block(box, many), 5)
    figures["loop of a million (ms)"] = await median(lambda: block(box, LOOP), 5)
    empty = figures["empty block (ms)"]
    figures["clock read (us)"] = (await median(lambda: block(box, READS), 5) - empty) / 9
    figures["10 MB to a tool and back (ms)"] = await median(lambda: block(box, 'x = echo("x" * 10_000_000)\n'), 3)
    await box.close()
    return figures


def private_memory(pid: int) -> float:
    """What only this process holds, in MB. (A confined worker can be looked at by root alone.)"""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return float("nan")
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def plain(code: str) -> float:
    """The code in this interpreter, in ms."""
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        exec(compile(code, "plain", "exec"), {})
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def main() -> None:
    """Print a table for each engine that can be had here."""
    base, read = plain(LOOP), plain(READS) / 9
    kinds: tuple[Kind, ...] = ("python", "monty")
    for kind in kinds:
        try:
            figures = asyncio.run(measure(kind))
        except SandboxUnavailable as error:
            print(f"{kind}: {error}")
            continue
        print(f"{kind}")
        for name, value in figures.items():
            print(f"  {name:32}{value:10.2f}")
        print(f"  {'clock read over plain one (us)':32}{figures['clock read (us)'] - read:10.2f}")
        print(f"  {'loop against plain Python':32}{figures['loop of a million (ms)'] / base:10.2f} x")


if __name__ == "__main__":
    main()
