"""Noticing what others changed in a thousand files the agent has touched, beside a thousand calls of `os.stat`.

python benchmarks/bench_watch.py [--quick]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from autopilot_runtime.tool.watch import Notice, Watch, describe
from autopilot_runtime.tool.workspace import Workspace

FILES = 100 if "--quick" in sys.argv else 1_000
CHANGED = 30
ROUNDS = 15
LONG_AGO = (1_700_000_000, 1_700_000_000)


def plant(root: Path) -> Workspace:
    """A workspace whose agent has read every file."""
    workspace = Workspace(root)
    for number in range(FILES):
        path = root / f"d{number % 40}" / f"f{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"line {line} of {number}\n" for line in range(200)))
        os.utime(path, LONG_AGO)
        workspace.read(str(path.relative_to(root)))
    return workspace


def milliseconds(work: Callable[[], object], before: Callable[[], object] = bool) -> float:
    """The median of some rounds, each after `before`."""
    times = []
    for _ in range(ROUNDS):
        before()
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def main() -> None:
    """Nothing changed; a few changed; all touched; one grew to a gigabyte."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        workspace = plant(root)
        watch = Watch(workspace)
        watch.settle()
        paths = [os.fspath(path) for path in sorted(root.glob("*/*"))]
        version = [0]

        def edit() -> None:
            version[0] += 1
            for path in paths[:CHANGED]:
                Path(path).write_text("".join(f"line {line} of {version[0]}\n" for line in range(200)))

        def touch() -> None:
            for path in paths:
                os.utime(path)

        def told() -> list[Notice]:
            found = watch.changes()
            describe(found)
            return found

        stat = milliseconds(lambda: [os.stat(path) for path in paths])  # noqa: PTH116 - what is compared with
        rows = [
            ("compared, nothing changed", milliseconds(told)),
            ("looked at when a step ends", milliseconds(watch.settle)),
            (f"compared, {CHANGED} files changed", milliseconds(told, edit)),
            ("compared, all touched and none changed", milliseconds(told, touch)),
        ]
        os.truncate(paths[0], 1 << 30)
        rows.append(("compared, one file grew to a gigabyte", milliseconds(told, lambda: os.utime(paths[0]))))
        print(f"{FILES:,} bare os.stat calls: {stat:.2f} ms")
        for name, spent in rows:
            print(f"{name:40} {spent:7.2f} ms  {spent / stat:6.1f} x   (budget 20 ms when nothing changed)")


if __name__ == "__main__":
    main()
