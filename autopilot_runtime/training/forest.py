"""The experiments of a record as a forest: each hangs on the one it was begun from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autopilot_runtime.training.fault import TrainingError, meant
from autopilot_runtime.training.ranking import best_of, shown, standing_metrics
from autopilot_runtime.training.record import ExperimentRow, Record
from autopilot_runtime.training.tree import Tree
from autopilot_runtime.training.treedraw import draw


class Grown:
    """One experiment in a forest."""

    def __init__(self, row: ExperimentRow, record: Record) -> None:
        self.row = row
        self.parent: Grown | None = None
        self.children: list[Grown] = []
        self._record = record

    @property
    def slug(self) -> str:
        """Its name."""
        return self.row.slug

    @property
    def metrics(self) -> dict[str, float]:
        """Those of the state that stands."""
        return standing_metrics(self._record, self.slug)

    @property
    def path(self) -> list[Grown]:
        """From the first experiment down to this one."""
        return [*(self.parent.path if self.parent else []), self]


class Forest:
    """All experiments of a record, each below the one it was begun from."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._nodes = {row.slug: Grown(row, record) for row in record.experiments()}
        for node in self._nodes.values():
            if node.row.parent in self._nodes:
                node.parent = self._nodes[node.row.parent]
                node.parent.children.append(node)

    @property
    def nodes(self) -> list[Grown]:
        """All of them, in the order they were begun."""
        return list(self._nodes.values())

    @property
    def roots(self) -> list[Grown]:
        """Those that were begun from no other."""
        return [node for node in self._nodes.values() if node.parent is None]

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Grown]:
        return iter(self.nodes)

    def node(self, slug: str) -> Grown:
        """One of them."""
        if slug not in self._nodes:
            raise TrainingError(f"There is no experiment {slug!r} in {self._record.where}.{meant(slug, self._nodes)}")
        return self._nodes[slug]

    def children(self, slug: str) -> list[Grown]:
        """What was begun from one of them."""
        return self.node(slug).children

    def path(self, slug: str) -> list[Grown]:
        """From the first experiment down to this one."""
        return self.node(slug).path

    def tree(self, slug: str) -> Tree:
        """The states of one of them."""
        return Tree(self._record, self.node(slug).slug)

    def best(self, metric: str, *, higher_is_better: bool | None = None) -> Grown | None:
        """The one whose accepted state measured best; what was invalidated does not count."""
        some = [node for node in self._nodes.values() if node.row.status != "invalidated"]
        return best_of(some, metric, higher_is_better)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            node.slug: {
                "status": node.row.status,
                "parent": node.row.parent,
                "children": [child.slug for child in node.children],
                "tags": list(node.row.tags),
                "why": node.row.why,
                "metrics": node.metrics,
            }
            for node in self._nodes.values()
        }

    def draw(self, metric: str = "") -> str:
        """As text, one line for each experiment."""

        def label(node: Grown) -> str:
            parts = [node.slug, f"[{node.row.status}]", shown(node.metrics, metric), node.row.why]
            return "  ".join(filter(None, parts))

        return draw(self.roots, lambda node: node.children, label)

    __str__ = draw
