"""Chooses which accepted state the next change starts from."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from autopilot_runtime.training.fault import TrainingError


@dataclass(frozen=True, slots=True)
class Candidate:
    """An accepted state. `scores` are per item, higher is better; `visits` is how often it was chosen before."""

    commit: str
    scores: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    epoch: int = 0
    parent: str = ""
    visits: int = 0

    @property
    def mean(self) -> float:
        """The mean of the scores that are numbers; minus infinity when there is none."""
        known = [score for score in self.scores.values() if math.isfinite(score)]
        return math.fsum(known) / len(known) if known else -math.inf


@runtime_checkable
class Selector(Protocol):
    """Chooses one of the pool. All chance comes from `rng`, so that a resumed fit chooses the same."""

    def select(self, pool: Sequence[Candidate], *, rng: random.Random) -> Candidate: ...


class BestSelector:
    """The best on average; of equals the one that was started from least often, then the newest."""

    def select(self, pool: Sequence[Candidate], *, rng: random.Random) -> Candidate:
        """That one."""
        return max(_some(pool), key=_rank)


class TopKSelector:
    """One of the `k` best on average, each as likely as the others."""

    def __init__(self, k: int = 3) -> None:
        if k < 1:
            raise TrainingError(f"TopKSelector(k={k}) would choose among none: k is at least 1")
        self.k = k

    def select(self, pool: Sequence[Candidate], *, rng: random.Random) -> Candidate:
        """One of them."""
        return rng.choice(sorted(_some(pool), key=_rank, reverse=True)[: self.k])


class ParetoSelector:
    """One that is best at something: the more items it leads, the likelier.

    `tolerance` is what counts as leading with the leader: with noisy scores, about the noise of one measurement.
    An item that all lead alike says nothing and is passed over. Candidates that another one equals on all items
    they lead, and beats on average, do not take part.
    """

    def __init__(self, *, tolerance: float = 0.0) -> None:
        self.tolerance = tolerance

    def select(self, pool: Sequence[Candidate], *, rng: random.Random) -> Candidate:
        """One of the front."""
        led = self.leads(_some(pool))
        front = [one for one in pool if led[one.commit]]
        if not front:
            return max(pool, key=_rank)
        return rng.choices(front, weights=[len(led[one.commit]) for one in front])[0]

    def leads(self, pool: Sequence[Candidate]) -> dict[str, set[str]]:
        """Commit → the items it leads; nothing for those that do not take part."""
        led: dict[str, set[str]] = {one.commit: set() for one in pool}
        for item in dict.fromkeys(item for one in pool for item in one.scores):
            for commit in self._leaders(pool, item):
                led[commit].add(item)
        kept: list[set[str]] = []
        for one in sorted(pool, key=_rank, reverse=True):  # the better is asked first, so equals go to it
            if any(led[one.commit] <= other for other in kept):
                led[one.commit] = set()
            elif led[one.commit]:
                kept.append(led[one.commit])
        return led

    def _leaders(self, pool: Sequence[Candidate], item: str) -> list[str]:
        """Who is best at it; nobody, when all are alike."""
        having = {one.commit: one.scores[item] for one in pool if math.isfinite(one.scores.get(item, math.nan))}
        top = max(having.values(), default=0.0) - self.tolerance
        leaders = [commit for commit, score in having.items() if score >= top]
        return leaders if len(leaders) < len(pool) or len(pool) == 1 else []


class TreeSelector:
    """The one whose branch promises most: its mean, and a bonus that falls with how often it was started from.

    `explore` weighs the bonus against the means, as in a search tree (upper confidence bounds): 0 is `BestSelector`.
    """

    def __init__(self, explore: float = 0.1) -> None:
        if explore < 0:
            raise TrainingError(f"TreeSelector(explore={explore}) would avoid what is new: explore is at least 0")
        self.explore = explore

    def select(self, pool: Sequence[Candidate], *, rng: random.Random) -> Candidate:
        """That one."""
        total = math.log(1 + sum(one.visits for one in _some(pool)))

        def promise(one: Candidate) -> tuple[float, tuple[float, int, int, str]]:
            return one.mean + self.explore * math.sqrt(total / (1 + one.visits)), _rank(one)

        return max(pool, key=promise)


def _rank(one: Candidate) -> tuple[float, int, int, str]:
    return (one.mean, -one.visits, one.epoch, one.commit)


def _some(pool: Sequence[Candidate]) -> Sequence[Candidate]:
    if not pool:
        raise TrainingError(
            "there is no accepted state to start from: the first state of a fit belongs into the pool"
        )
    return pool
