"""Rollouts until the held-out quality is 0.90: a `Trainer` against gepa 0.1.4, same landscapes, same scripted writer.

python benchmarks/bench_rollouts.py [--sweep]     needs `pip install gepa==0.1.4`, else only ours is measured

11 seeds, medians; one rollout is one measurement of one item, whatever for. What counts is the moment at which the
state that one would get (gepa: its best program; ours: what `fit` leaves) is truly good enough. gepa runs with its
defaults and in the configurations that `--sweep`, over all of them, found best.
"""

from __future__ import annotations

import importlib.util
import itertools
import statistics
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
import rollouts_gepa
import rollouts_ours
from landscape import Deceptive, Landscape, Writer

from autopilot_runtime.training.selector import BestSelector, ParetoSelector

GOAL, LIMIT, SEEDS = 0.90, 3_000, range(11)
Runner = Callable[..., int | None]

PLAIN: list[dict[str, Any]] = [
    {"candidate_selection_strategy": "pareto", "reflection_minibatch_size": 1},
    {"candidate_selection_strategy": "current_best", "reflection_minibatch_size": 1},
    {"candidate_selection_strategy": "current_best", "reflection_minibatch_size": 1, "same_parent": 3},
]
DECEPTIVE: list[dict[str, Any]] = [
    {"candidate_selection_strategy": "top_k_pareto", "reflection_minibatch_size": 1, "module_selector": "all"},
    {"candidate_selection_strategy": "pareto", "reflection_minibatch_size": 1, "module_selector": "all"},
    {
        "candidate_selection_strategy": "pareto",
        "reflection_minibatch_size": 1,
        "module_selector": "all",
        "same_parent": 3,
    },
]


def everything() -> Iterable[dict[str, Any]]:
    """The configurations of gepa that concern how it searches."""
    for selector, size, rule in itertools.product(
        ("pareto", "current_best", "epsilon_greedy", "top_k_pareto"),
        (1, 2, 3, 5),
        ("strict_improvement", "improvement_or_equal"),
    ):
        yield {
            "candidate_selection_strategy": selector,
            "reflection_minibatch_size": size,
            "acceptance_criterion": rule,
            "module_selector": "all",
        }
    for selector in ("pareto", "current_best"):
        yield {
            "candidate_selection_strategy": selector,
            "reflection_minibatch_size": 1,
            "module_selector": "all",
            "same_parent": 3,
        }
        yield {
            "candidate_selection_strategy": selector,
            "reflection_minibatch_size": 1,
            "module_selector": "all",
            "use_merge": True,
        }


def one(kind: str, noise: float, runner: Runner, settings: dict[str, Any], seed: int) -> int:
    """A single run; one that does not get there counts as the limit."""
    land = Landscape(seed, noise) if kind == "plain" else Deceptive(seed, noise)
    writer = Writer(seed, shortcuts=0.0 if kind == "plain" else 0.15)
    return runner(land, writer, goal=GOAL, limit=LIMIT, **settings) or LIMIT


def measured(
    pool: ProcessPoolExecutor, kind: str, noise: float, runner: Runner, settings: dict[str, Any]
) -> list[int]:
    """All seeds."""
    return sorted(pool.map(partial(one, kind, noise, runner, settings), SEEDS))


def said(name: str, found: list[int], than: float | None = None) -> None:
    """A line of the table."""
    median, missed = statistics.median(found), sum(rollouts >= LIMIT for rollouts in found)
    text = f"  {name:62} {'>= ' if median >= LIMIT else '   '}{median:5.0f}  ({found[0]}..{found[-1]})"
    print(
        text + (f"  {than / median:4.2f} x" if than else "") + (f"  {missed} of 11 never" if missed else ""),
        flush=True,
    )


def short(settings: dict[str, Any]) -> str:
    """A configuration in few words."""
    return ", ".join(str(value) if isinstance(value, str) else f"{key} {value}" for key, value in settings.items())


def compare(pool: ProcessPoolExecutor, kind: str, noise: float, tried: Iterable[dict[str, Any]]) -> None:
    """One landscape, at one noise."""
    print(f"{kind} landscape, noise {noise}: ours as a share of each", flush=True)
    ours = {}
    for selector in (BestSelector, ParetoSelector) if kind == "deceptive" else (BestSelector,):
        found = measured(pool, kind, noise, rollouts_ours.run, {"selector": selector})
        ours[selector] = statistics.median(found)
        said(f"ours, {selector.__name__}", found)
    if importlib.util.find_spec("gepa") is None:
        print("  gepa is not installed: pip install gepa==0.1.4")
        return
    mine = ours[ParetoSelector] if kind == "deceptive" else ours[BestSelector]
    said("gepa, its defaults", measured(pool, kind, noise, rollouts_gepa.run, {}), mine)
    for settings in tried:
        said(f"gepa, {short(settings)}", measured(pool, kind, noise, rollouts_gepa.run, settings), mine)


def main() -> None:
    sweep = "--sweep" in sys.argv
    with ProcessPoolExecutor(2) as pool:
        for kind, tried in (("plain", PLAIN), ("deceptive", DECEPTIVE)):
            for noise in (0.0, 0.1):
                compare(pool, kind, noise, everything() if sweep else tried)
    print("bars: plain <= 0.4 x of gepa's defaults and <= 0.8 x of its best, deceptive <= 1.0 x of its best")


if __name__ == "__main__":
    main()
