"""What reading a reply costs, as ratios against what no reader can avoid: joining the chunks, finding the newlines.

Run: python benchmarks/bench_parser.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from autopilot_runtime.block.parser import ReplyParser

MEGABYTE = 1_000_000
PROSE = "Some prose about `code` in the file, of quite ordinary length and shape.\n\n"
REPLY = (
    PROSE * 3 + "```codepilot\nwrite_file('a.py')\n```\n\n```python filename=a.py\n"
    "%s```\n\n```completion\nDone: it works.\n```\n"
)
CASES: dict[str, tuple[str, int]] = {
    "prose, 4 KB chunks": (PROSE * (5 * MEGABYTE // len(PROSE)), 4_096),
    "prose, 20 character chunks": (PROSE * (MEGABYTE // len(PROSE)), 20),
    "non-ASCII prose, 4 KB chunks": ("Größe: 😀 naïve \u2028 text\n" * 100_000, 4_096),
    "one action with a 1 MB payload, 4 KB chunks": (REPLY % ("    return value\n" * 60_000), 4_096),
    "one line of 5 MB, 20 character chunks": ("x" * 5 * MEGABYTE, 20),
    "one held-back line of 5 MB, 20 character chunks": ("```" + "x" * 5 * MEGABYTE, 20),
    "10,000 fences, 4 KB chunks": ("```text\nx\n```\n" * 5_000, 4_096),
    "64 KB of backticks, 20 character chunks": ("`" * 65_536, 20),
}


def read(chunks: list[str]) -> None:
    """Parse it as the runtime does."""
    parser = ReplyParser()
    for chunk in chunks:
        parser.feed(chunk)
    parser.finish()


def touch(chunks: list[str]) -> None:
    """The baseline: one look at every chunk, then one at the whole."""
    kept: list[str] = []
    for chunk in chunks:
        kept.append(chunk)
        chunk.count("\n")
    "".join(kept).split("\n")


def best(work: Callable[[list[str]], None], chunks: list[str]) -> float:
    """The best of five, in seconds."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        work(chunks)
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    """Print one row per case."""
    print(f"{'case':50} {'x baseline':>10} {'MB/s':>8} {'us/chunk':>9}")
    for name, (text, size) in CASES.items():
        chunks = [text[at : at + size] for at in range(0, len(text), size)]
        base, cost = best(touch, chunks), best(read, chunks)
        speed = len(text) / MEGABYTE / cost
        print(f"{name:50} {cost / base:10.1f} {speed:8.0f} {cost / len(chunks) * 1e6:9.2f}")
    small = [PROSE * 10_000], [PROSE * 40_000]
    print(f"four times the text costs {best(read, small[1]) / best(read, small[0]):.1f} times the time")


if __name__ == "__main__":
    main()
