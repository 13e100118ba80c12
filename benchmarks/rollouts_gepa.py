"""Runs gepa, in any of its configurations, on a landscape; counts rollouts until its best program is good enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landscape import Item, Landscape, Seen, State, Writer


class Quiet:
    """gepa's logger, saying nothing."""

    def log(self, message: str) -> None: ...


class Bridge:
    """gepa's adapter: measures, and hands what was seen to the writer as it is."""

    propose_new_texts = None

    def __init__(self, land: Landscape) -> None:
        self.land = land

    def evaluate(self, batch: list[Item], candidate: State, capture_traces: bool = False) -> Any:
        from gepa.core.adapter import EvaluationBatch

        seen = [self.land.measure(candidate, item) for item in batch]
        return EvaluationBatch(
            outputs=[None] * len(seen),
            scores=[one.score for one in seen],
            trajectories=seen if capture_traces else None,
        )

    def make_reflective_dataset(self, candidate: State, eval_batch: Any, components_to_update: list[str]) -> Any:
        return {component: [{"seen": one} for one in eval_batch.trajectories] for component in components_to_update}


class Arrival:
    """Notes how many rollouts it took until the best program is truly good enough; then asks to stop."""

    def __init__(self, land: Landscape, goal: float) -> None:
        self.land, self.goal = land, goal
        self.at: int | None = None

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        if self.at is None and event["is_best_program"] and self.land.quality(event["candidate"]) >= self.goal:
            self.at = self.land.rollouts

    def __call__(self, state: Any) -> bool:
        return self.at is not None


def run(land: Landscape, writer: Writer, *, goal: float, limit: int, **settings: Any) -> int | None:
    """Rollouts until the goal, or None when `limit` came first."""
    import gepa

    if n := settings.pop("same_parent", 0):
        from gepa.strategies.proposal_sampling import SameParentSampling
        from gepa.strategies.proposal_selection import BestImprovement

        settings |= {"sampling_strategy": SameParentSampling(n), "selection_strategy": BestImprovement()}

    def propose(candidate: dict[str, str], data: Mapping[str, Sequence[Any]], update: list[str]) -> dict[str, str]:
        seen: list[Seen] = [row["seen"] for row in next(iter(data.values()))]
        faults = [fault for one in seen for fault in one.faults]
        if not faults:
            raise LookupError("nothing was wrong: there is nothing to write")  # costs gepa nothing further
        return writer.write(candidate, faults, update)

    arrival = Arrival(land, goal)
    gepa.optimize(
        seed_candidate=land.first(),
        trainset=land.items["train"],
        valset=land.items["val"],
        adapter=Bridge(land),
        custom_candidate_proposer=propose,
        callbacks=[arrival],
        stop_callbacks=arrival,
        max_metric_calls=limit,
        logger=Quiet(),
        seed=land.seed,
        raise_on_exception=False,
        **settings,
    )
    return arrival.at
