"""Landscapes to compare optimizers on: texts whose lines teach skills, items that need some, and a scripted writer.

Seeded and without a model. Nothing here knows who is optimizing: everyone gets the same items, the same writer with
the same chances, and pays one rollout for each measurement of one item.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

State = Mapping[str, str]  # component → its text, a line each


@dataclass(frozen=True)
class Item:
    """What it needs (component, skill), and which cluster it is of."""

    name: str
    needs: tuple[tuple[str, str], ...]
    cluster: int = 0


@dataclass(frozen=True)
class Fault:
    """What an evaluator says is wrong: a line that is missing, or one that misleads."""

    kind: str
    component: str
    line: str


@dataclass(frozen=True)
class Seen:
    """One measurement: the score with its noise, and what is wrong."""

    item: Item
    score: float
    faults: tuple[Fault, ...]


@dataclass
class Landscape:
    """`trap_hits` is the share of items that a wrong line misleads, `trap_costs` what remains of their score."""

    seed: int
    noise: float = 0.0
    components: Sequence[str] = ("prompt",)
    skills: int = 16
    train: int = 40
    val: int = 40
    trap_hits: float = 0.3
    trap_costs: float = 0.5
    rollouts: int = 0
    items: dict[str, list[Item]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = random.Random(f"items {self.seed}")
        self._noise = random.Random(f"noise {self.seed}")
        known = [(self.components[at % len(self.components)], f"skill-{at}") for at in range(self.skills)]
        weights = [1 / (1 + at / 4) for at in range(self.skills)]  # some are needed often, some hardly ever
        for split, count in (("train", self.train), ("val", self.val)):
            self.items[split] = [self._item(f"{split}-{at}", known, weights, rng) for at in range(count)]

    def _item(
        self, name: str, known: Sequence[tuple[str, str]], weights: Sequence[float], rng: random.Random
    ) -> Item:
        needs: dict[tuple[str, str], None] = {}
        for one in rng.choices(known, weights, k=rng.choice((1, 2, 2, 3))):
            needs[one] = None
        return Item(name, tuple(needs))

    def first(self) -> dict[str, str]:
        """Where everyone begins."""
        return dict.fromkeys(self.components, "")

    def truth(self, state: State, item: Item) -> float:
        """The score without noise."""
        faults = self._faults(state, item)
        missing = sum(one.kind == "missing" for one in faults)
        traps = sum(one.line.startswith("trap") for one in faults)
        return (1 - missing / len(item.needs)) * self.trap_costs**traps

    def quality(self, state: State) -> float:
        """The mean over the held-out items, without noise: nobody gets to see this."""
        items = self.items["val"]
        return sum(self.truth(state, item) for item in items) / len(items)

    def measure(self, state: State, item: Item) -> Seen:
        """One rollout."""
        self.rollouts += 1
        return Seen(item, self.truth(state, item) + self._noise.gauss(0, self.noise), self._faults(state, item))

    def _faults(self, state: State, item: Item) -> tuple[Fault, ...]:
        have = {(component, line) for component, text in state.items() for line in text.split("\n") if line}
        missing = [Fault("missing", *one) for one in item.needs if one not in have]
        misled = [Fault("misled", *one) for one in sorted(have) if self._hits(one[1], item)]
        return (*missing, *misled)

    def _hits(self, trap: str, item: Item) -> bool:
        if not trap.startswith("trap"):
            return False
        return random.Random(f"{self.seed} {trap} {item.name}").random() < self.trap_hits


@dataclass
class Deceptive(Landscape):
    """Clusters of items with skills of their own, and shortcuts: one lifts every other cluster at once to a middling
    score, above which only several skills together are seen, and halves what its own cluster can ever reach.

    Whoever follows the mean takes a shortcut and is stuck below the goal; whoever keeps what is best at some items
    has something to go back to.
    """

    components: Sequence[str] = ("plan", "tools", "form")
    skills: int = 16
    clusters: int = 4
    lift: float = 0.6

    def _item(
        self, name: str, known: Sequence[tuple[str, str]], weights: Sequence[float], rng: random.Random
    ) -> Item:
        cluster = rng.randrange(self.clusters)
        own = known[cluster :: self.clusters]
        return Item(name, tuple(rng.sample(own, k=min(len(own), rng.choice((1, 2, 3, 3))))), cluster)

    def truth(self, state: State, item: Item) -> float:
        lines = {line for text in state.values() for line in text.split("\n")}
        taken = {cluster for cluster in range(self.clusters) if f"shortcut-{cluster}" in lines}
        plain = super().truth(state, item) * (0.5 if item.cluster in taken else 1.0)
        return max(plain, self.lift) if taken - {item.cluster} else plain

    def _hits(self, trap: str, item: Item) -> bool:
        return trap == f"shortcut-{item.cluster}" if trap.startswith("shortcut") else super()._hits(trap, item)


@dataclass
class Writer:
    """Changes one line a time, by what was seen: often rightly, often not. `insight` is how often it is right."""

    seed: int
    insight: float = 0.4
    forgets: float = 0.1
    shortcuts: float = 0.0
    clusters: int = 4

    def __post_init__(self) -> None:
        self._rng = random.Random(f"writer {self.seed}")
        self._traps = 0

    def write(self, state: State, seen: Sequence[Fault], components: Sequence[str]) -> dict[str, str]:
        """The components that change, with their new texts. `seen` are the faults of one or a few measurements."""
        rng = self._rng
        known = [one for one in seen if one.component in components]
        lines = {component: [line for line in state[component].split("\n") if line] for component in components}
        if rng.random() < self.shortcuts:
            component, line = rng.choice(list(components)), f"shortcut-{rng.randrange(self.clusters)}"
            lines[component] += [line] * (line not in lines[component])
        elif known and rng.random() < self.insight:
            fault = rng.choice(known)
            component = fault.component
            if fault.kind == "misled" and fault.line in lines[component]:
                lines[component].remove(fault.line)
            elif fault.kind == "missing":
                lines[component].append(fault.line)
        else:
            component = rng.choice([one.component for one in known] or list(components))
            self._traps += 1
            lines[component].append(f"trap-{self._traps}")
        if len(lines[component]) > 1 and rng.random() < self.forgets:
            lines[component].remove(rng.choice(lines[component][:-1]))
        return {component: "\n".join(lines[component])}
