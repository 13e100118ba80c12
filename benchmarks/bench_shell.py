"""Terminals against a bare pseudo-terminal in the same run: round trip, throughput, and what a thousand leave behind.

python benchmarks/bench_shell.py [--quick]
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import ptyprocess

sys.path.insert(0, str(Path(__file__).parents[1]))
from autopilot_runtime.shell.environ import child_environment
from autopilot_runtime.shell.pool import TerminalPool

MEGABYTES = 100
FLOODS = {
    "lines of 99": f"head -c {MEGABYTES}000000 /dev/zero | tr '\\0' x | fold -w 99; echo",
    "lines of one (yes)": f"yes | head -c {MEGABYTES}M",
}
SHELLS = {
    "bash": ["bash", "--noprofile", "--norc", "--noediting", "-i"],
    "sh": ["sh", "-i"],
    "zsh": ["zsh", "-f", "-i", "-o", "NO_ZLE", "-o", "NO_PROMPT_SP", "-o", "NO_PROMPT_CR"],
}


class Bare:
    """A shell on a pseudo-terminal and a sentinel: the least that can know when a command ended."""

    def __init__(self, shell: str = "bash") -> None:
        env = child_environment(os.environ) | {"PS1": ""}
        self.pty = ptyprocess.PtyProcess.spawn(SHELLS[shell], env=env, echo=False)
        self.run("PS1=")

    def run(self, command: str) -> None:
        os.write(self.pty.fd, f"{command}; echo E''ND-OF-IT\n".encode())
        tail = b""
        while b"END-OF-IT" not in tail:
            tail = tail[-20:] + os.read(self.pty.fd, 65_536)

    def close(self) -> None:
        self.pty.close(force=True)


async def round_trips(shell: str, command: str, count: int) -> None:
    """One command over and over, taken in turn so that both meet the same machine."""
    bare, pool = Bare(shell), TerminalPool(tempfile.gettempdir(), shell=shell)
    await pool.execute("main", "true")
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await pool.execute("main", command)
        ours.append((time.perf_counter() - began) * 1e3)
        began = time.perf_counter()
        bare.run(command)
        theirs.append((time.perf_counter() - began) * 1e3)
    bare.close()
    await pool.close()
    report(f"round trip of {command} in {shell}", statistics.median(ours), statistics.median(theirs), "ms", "<= 2 x")
    p95 = int(count * 0.95)
    print(f"  p95 {sorted(ours)[p95]:.2f} ms, bare {sorted(theirs)[p95]:.2f} ms")


async def flood(kind: str) -> None:
    """Much output, bounded in memory and in what is shown."""
    bare, pool = Bare(), TerminalPool(tempfile.gettempdir())
    await pool.execute("main", "true")
    began = time.perf_counter()
    result = await pool.execute("main", FLOODS[kind], 120)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    bare.run(FLOODS[kind])
    theirs = time.perf_counter() - began
    bare.close()
    await pool.close()
    report(f"{MEGABYTES} MB of output, {kind}", MEGABYTES / ours, MEGABYTES / theirs, "MB/s", ">= 0.5 x")
    print(f"  {len(result.output):,} characters shown of {result.total_bytes:,} bytes")


async def cycles(count: int) -> None:
    """Open, use and close shells, eight at a time: descriptors, children and files must be as before."""
    pool = TerminalPool(tempfile.gettempdir())
    await pool.execute("main", "true")
    await pool.terminate("main")
    before = left(pool)
    began = time.perf_counter()
    for batch in range(count // 8):
        names = [f"{batch}-{n}" for n in range(8)]
        await asyncio.gather(*(pool.execute(name, "sleep 1000 & echo x", 10, True) for name in names))
        await asyncio.gather(*(pool.terminate(name) for name in names))
    each = (time.perf_counter() - began) / count
    after = left(pool)
    await pool.close()
    verdict = "nothing left" if before == after else f"LEFT OVER: {before} -> {after}"
    print(f"{count} shells opened, used, closed: {each * 1e3:.1f} ms each; {verdict}")


def left(pool: TerminalPool) -> tuple[int, int, int]:
    """Descriptors, children (zombies, too), and files of the pool."""
    if not sys.platform.startswith("linux"):
        return (0, 0, 0)
    kids = sum(len(Path(task, "children").read_text().split()) for task in Path("/proc/self/task").iterdir())
    return len(list(Path("/proc/self/fd").iterdir())), kids, len(list(pool.run_dir.iterdir()))


def report(what: str, ours: float, theirs: float, unit: str, bar: str) -> None:
    """One line: ours, bare, ratio, what was asked for."""
    print(f"{what}: {ours:.2f} {unit}, bare pty {theirs:.2f} {unit}, ratio {ours / theirs:.2f} (asked: {bar})")


async def main(*, quick: bool) -> None:
    """All of it."""
    count = 100 if quick else 1_000
    for shell in filter(shutil.which, SHELLS):
        await round_trips(shell, "true", count)
    await round_trips("bash", "/bin/true", count // 4)
    for kind in FLOODS:
        await flood(kind)
    await cycles(40 if quick else 1_000)


if __name__ == "__main__":
    asyncio.run(main(quick="--quick" in sys.argv))
