"""Looking at terminals and processes from outside."""

from __future__ import annotations

import asyncio
from pathlib import Path

from autopilot_runtime.shell.pool import TerminalPool
from autopilot_runtime.shell.terminal import CommandResult

LONG = 20.0


async def until(pool: TerminalPool, name: str, text: str, first: CommandResult | None = None) -> str:
    """All that is seen of a command until `text` is in it."""
    seen = first.output if first else ""
    async with asyncio.timeout(LONG):
        while text not in seen:
            look = await pool.read_output(name, 0.2)
            seen = seen + "\n" + look.output if look.mode == "delta" else look.output
            await asyncio.sleep(0 if look.status == "running" else 0.005)
    return seen


async def screen(pool: TerminalPool, keys: str, wanted: str) -> str:
    """Type into a full-screen program until its screen is as wanted."""
    look = await pool.send_input("main", keys, 2)
    async with asyncio.timeout(LONG):
        while wanted not in look.output:
            look = await pool.read_output("main", 0.2)
    return look.output


def lives(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent does not."""
    try:
        stat_line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat_line.rpartition(")")[2].split()[0] not in "ZX"
