"""How busy executors keep eight workers with evaluations of 20 ms, and what one evaluation costs besides.

python benchmarks/bench_executor.py [--quick]
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autopilot_runtime.training import Executor, Job, LocalExecutor, ProcessExecutor

WORKERS = 8
SECONDS = 0.02
JOBS = 200 if "--quick" in sys.argv else 800
TIMES = 3
KINDS: dict[str, Callable[[], Executor]] = {
    "threads": lambda: LocalExecutor(WORKERS),
    "processes, shared": lambda: ProcessExecutor(WORKERS, fresh=False),
    "processes, fresh": lambda: ProcessExecutor(WORKERS),
}


def evaluate(seconds: float) -> float:
    """Waits, as for a model."""
    time.sleep(seconds)
    return seconds


def wall(executor: Executor, jobs: int, seconds: float) -> float:
    """Seconds that so many take."""
    began = time.perf_counter()
    for future in [executor.submit(Job(evaluate, (seconds,))) for _ in range(jobs)]:
        future.result()
    return time.perf_counter() - began


def computed() -> float:
    """Seconds of processor time of this process and of its ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def cost(make: Callable[[], Executor], jobs: int) -> float:
    """Processor time of that many, the end of all processes included."""
    before, executor = computed(), make()
    wall(executor, jobs, 0.0)
    executor.shutdown()
    return computed() - before


def main() -> None:
    """One line for each kind."""
    # What the system itself loses: the same number of naps, one after the other.
    began = time.perf_counter()
    for _ in range(50):
        time.sleep(SECONDS)
    asleep = 50 * SECONDS / (time.perf_counter() - began)
    print(f"{WORKERS} workers, evaluations that wait {SECONDS * 1000:.0f} ms; a plain loop of naps: {asleep:.1%}")
    for name, make in KINDS.items():
        executor = make()
        wall(executor, 4 * WORKERS, SECONDS)  # processes are begun, modules loaded
        best = min(wall(executor, JOBS, SECONDS) for _ in range(TIMES))
        executor.shutdown()
        each = (cost(make, 450) - cost(make, 50)) / 400 * 1000
        print(f"{name:<20}{JOBS * SECONDS / WORKERS / best:7.1%} busy, {each:6.2f} ms computed a job")


if __name__ == "__main__":
    main()
