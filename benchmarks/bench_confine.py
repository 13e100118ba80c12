"""Confined shells against unconfined ones in the same run: what a start costs, and what a command costs.

python benchmarks/bench_confine.py [--quick]
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from autopilot_runtime.confine.choice import best, open_wall
from autopilot_runtime.confine.policy import Policy
from autopilot_runtime.confine.wall import Kind
from autopilot_runtime.shell.environ import child_environment
from autopilot_runtime.shell.pool import TerminalPool

BAR = 3.0


def kinds() -> list[Kind]:
    """What can be had here, the bare shell first."""
    here = best()[0]
    found: dict[Kind, list[Kind]] = {"bwrap": ["none", "bwrap", "landlock"], "none": ["none"]}
    return found.get(here, ["none", here])


async def main(*, quick: bool) -> None:
    """Starts and commands, taken in turn so that all kinds meet the same machine."""
    env = child_environment(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        pools = {
            kind: TerminalPool(
                folder, env, open_wall=lambda readable, kind=kind: open_wall(  # type: ignore[misc]
                    "off" if kind == "none" else "auto", Policy(folder), env, readable=readable, kind=kind
                ),
            )
            for kind in kinds()
        }  # fmt: skip
        opening: dict[str, float] = {}
        for kind, pool in pools.items():
            began = time.perf_counter()
            await pool.execute("main", "true")
            opening[kind] = time.perf_counter() - began
        starts: dict[str, list[float]] = {kind: [] for kind in pools}
        commands: dict[str, list[float]] = {kind: [] for kind in pools}
        for number in range(15 if quick else 100):
            for kind, pool in pools.items():
                began = time.perf_counter()
                await pool.execute(f"t{number}", "true", 10, new_terminal=True)
                starts[kind].append(time.perf_counter() - began)
                await pool.terminate(f"t{number}")
                for _ in range(10):
                    began = time.perf_counter()
                    await pool.execute("main", "true")
                    commands[kind].append(time.perf_counter() - began)
        for pool in pools.values():
            await pool.close()
    print(f"kind       first shell ms   a shell ms   x unconfined (asked: <= {BAR:g})   a command ms   x unconfined")
    for kind in pools:
        start, command = (statistics.median(times[kind]) * 1e3 for times in (starts, commands))
        bare, bare_command = (statistics.median(times["none"]) * 1e3 for times in (starts, commands))
        print(
            f"{kind:<10} {opening[kind] * 1e3:14.1f} {start:12.2f} {start / bare:14.2f} {command:32.3f} "
            f"{command / bare_command:14.2f}"
        )


if __name__ == "__main__":
    asyncio.run(main(quick="--quick" in sys.argv))
