"""What a gate lets through under noise: a greedy one against the paired tests, on the same proposals.

python benchmarks/bench_gate.py

A proposal changes the true score of some items; most are no better. A gate sees measurements only. Counted over many
seeded runs: the true gain in the end, the accepted proposals that were truly no better, and the evaluations spent.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from autopilot_runtime.training.acceptor import Acceptor, PairedAcceptor, Scores, StrictAcceptor, WilcoxonAcceptor

ITEMS, PROPOSALS, RUNS = 40, 60, 40
GOOD = 0.15  # so many proposals are better
SIZE = 0.04  # by so much on average; the others are as much worse, or change nothing, half and half


@dataclass
class Tally:
    """What came of one run, or of many."""

    gain: float = 0.0
    false: float = 0.0
    right: float = 0.0
    evaluations: float = 0.0


class Anew(StrictAcceptor):
    """Greedy, too, but measures what it has again each time instead of comparing with its luckiest moment."""


class Measurer:
    """True scores, measured with noise. What was measured is kept, as the trainer's record keeps it."""

    def __init__(self, noise: float, rng: random.Random) -> None:
        self.noise, self.rng, self.count = noise, rng, 0

    def measure(self, truth: list[float], kept: dict[str, list[float]], replicates: int) -> Scores:
        """So many measurements of each item."""
        for at, true in enumerate(truth):
            values = kept.setdefault(f"item{at}", [])
            while len(values) < replicates:
                values.append(true + self.rng.gauss(0, self.noise))
                self.count += 1
        return kept


def proposals(seed: int) -> list[list[float]]:
    """What each would change, item by item: the same for every gate."""
    rng, found = random.Random(f"proposals {seed}"), []
    for _ in range(PROPOSALS):
        kind = 1.0 if rng.random() < GOOD else rng.choice((0.0, -1.0))
        touched = rng.sample(range(ITEMS), 8)
        change = [0.0] * ITEMS
        for at in touched:
            change[at] = kind * SIZE * ITEMS / 8 * rng.uniform(0.5, 1.5)
        found.append(change)
    return found


def run(acceptor: Acceptor, noise: float, seed: int) -> Tally:
    """All proposals of a seed through one gate."""
    measurer, tally = Measurer(noise, random.Random(f"noise {seed}")), Tally()
    truth = [random.Random(f"items {seed} {at}").random() for at in range(ITEMS)]
    old: dict[str, list[float]] = {}
    measurer.measure(truth, old, 1 if isinstance(acceptor, StrictAcceptor) else 2)
    begun = statistics.fmean(truth)
    for change in proposals(seed):
        candidate = [true + more for true, more in zip(truth, change, strict=True)]
        new: dict[str, list[float]] = {}
        if isinstance(acceptor, Anew):
            old = {}

        def more(replicates: int, sides: tuple[Any, ...] = (candidate, new, truth, old)) -> tuple[Scores, Scores]:
            return measurer.measure(*sides[:2], replicates), measurer.measure(*sides[2:], replicates)

        if acceptor.judge(*more(1), more=more, noise=noise).passed:
            better = sum(change) > 0
            tally.right += better
            tally.false += not better
            truth, old = candidate, new
    tally.gain, tally.evaluations = statistics.fmean(truth) - begun, measurer.count
    return tally


def total(make: Callable[[], Acceptor], noise: float) -> Tally:
    """The mean of all runs."""
    runs = [run(make(), noise, seed) for seed in range(RUNS)]
    return Tally(*(statistics.fmean(getattr(one, name) for one in runs) for name in Tally.__dataclass_fields__))


def main() -> None:
    print(f"{ITEMS} items, {PROPOSALS} proposals, {GOOD:.0%} of them better by {SIZE}; mean of {RUNS} runs")
    gates: dict[str, Callable[[], Acceptor]] = {
        "greedy": StrictAcceptor,
        "greedy, parent measured anew": Anew,
        "paired (at most 8 replicates)": PairedAcceptor,
        "paired, at most 16 replicates": lambda: PairedAcceptor(max_replicates=16),
        "paired, at most 32 replicates": lambda: PairedAcceptor(max_replicates=32),
        "wilcoxon, at most 8 replicates": lambda: WilcoxonAcceptor(max_replicates=8),
    }
    for noise in (0.1, 0.2, 0.4):
        greedy = total(StrictAcceptor, noise)
        print(f"\nnoise {noise} of one measurement of one item")
        for name, make in gates.items():
            one = total(make, noise)
            print(
                f"{name:31} true gain {one.gain:+.3f} ({one.gain / greedy.gain:5.2f} x)   better {one.right:4.1f}"
                f"   false accepts {one.false:5.2f} ({one.false / greedy.false:4.2f} x)"
                f"   evaluations {one.evaluations:6.0f} ({one.evaluations / greedy.evaluations:4.2f} x)"
            )
    best = statistics.fmean(sum(max(0.0, sum(one)) for one in proposals(seed)) / ITEMS for seed in range(RUNS))
    print(f"\na gate that knew the truth would gain {best:+.3f}")
    print("asked of the gate: true gain >= 2 x, false accepts <= 0.2 x of greedy")


if __name__ == "__main__":
    main()
