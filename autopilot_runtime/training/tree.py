"""What came from what: the states of one experiment as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from autopilot_runtime.training.ranking import best_of, shown
from autopilot_runtime.training.record import Commit, EpochRow, Record
from autopilot_runtime.training.treedraw import draw

_SIGNS = {"seed": "●", "accept": "●", "discard": "✗", "rollback": "↩", "stop": "■"}


@dataclass(slots=True, eq=False)
class Node:
    """One state: where it came from, what was made of it, and how the epochs that tried it ended."""

    commit: Commit
    epochs: list[EpochRow] = field(default_factory=list)
    refs: list[str] = field(default_factory=list)
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The id of the commit."""
        return self.commit.id

    @property
    def verdict(self) -> str:
        """The last one on it; "" for a step within an epoch."""
        return self.epochs[-1].verdict if self.epochs else ""

    @property
    def metrics(self) -> dict[str, float]:
        """What was last measured of it."""
        return next((dict(row.metrics) for row in reversed(self.epochs) if row.metrics), {})

    @property
    def path(self) -> list[Node]:
        """From the first state down to this one."""
        found: list[Node] = []
        node: Node | None = self
        while node is not None:
            found.append(node)
            node = node.parent
        return found[::-1]

    def to_dict(self) -> dict[str, Any]:
        """Itself without what hangs on it, ready for JSON."""
        reason = self.epochs[-1].reason if self.epochs else ""
        return {
            "commit": self.id,
            "parents": list(self.commit.parents),
            "epoch": self.commit.epoch,
            "step": self.commit.step,
            "verdict": self.verdict,
            "reason": reason,
            "metrics": self.metrics,
            "refs": list(self.refs),
            "why": self.commit.why,
            "source": self.commit.source,
            "children": [child.id for child in self.children],
        }


class Tree:
    """The states of one experiment, as the record has them now. A merge hangs on its first parent."""

    def __init__(self, record: Record, experiment: Any) -> None:
        self.experiment = record.experiment(getattr(experiment, "slug", experiment)).slug
        self._record = record
        self._nodes = {commit.id: Node(commit) for commit in record.commits(self.experiment)}
        for row in record.epochs(self.experiment):
            if row.commit in self._nodes:
                self._nodes[row.commit].epochs.append(row)
        for name, target in record.refs(self.experiment).items():
            if target in self._nodes:
                self._nodes[target].refs.append(name)
        for node in self._nodes.values():
            above = next((self._nodes[one] for one in node.commit.parents if one in self._nodes), None)
            if above is not None:
                node.parent = above
                above.children.append(node)

    @property
    def nodes(self) -> list[Node]:
        """All states, oldest first."""
        return list(self._nodes.values())

    @property
    def roots(self) -> list[Node]:
        """Those that came from no other."""
        return [node for node in self._nodes.values() if node.parent is None]

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def node(self, wanted: str | Commit | Node) -> Node:
        """The state with this id, the beginning of it, a ref or `epoch-N`."""
        if isinstance(wanted, (Commit, Node)):
            wanted = wanted.id
        return self._nodes[self._record.get_commit(wanted, self.experiment).id]

    def children(self, wanted: str | Commit | Node) -> list[Node]:
        """What was made of a state."""
        return self.node(wanted).children

    def path(self, wanted: str | Commit | Node) -> list[Node]:
        """From the first state down to this one."""
        return self.node(wanted).path

    def best(self, metric: str = "", *, higher_is_better: bool | None = None, accepted: bool = True) -> Node | None:
        """The state that measured best (of the accepted ones); without a metric, where the ref "best" points."""
        if not metric:
            found = self._record.ref(self.experiment, "best")
            return self._nodes.get(found) if found else None
        some = [node for node in self._nodes.values() if not accepted or node.verdict in ("seed", "accept")]
        return best_of(some, metric, higher_is_better)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "experiment": self.experiment,
            "roots": [node.id for node in self.roots],
            "nodes": {node.id: node.to_dict() for node in self._nodes.values()},
        }

    def draw(self, metric: str = "") -> str:
        """As text, one line for each state; the line that leads to what stands goes straight down."""
        stands = self._record.ref(self.experiment, "last_accepted")
        trunk = {id(node) for node in (self._nodes[stands].path if stands in self._nodes else [])}
        return draw(self.roots, lambda n: n.children, lambda n: _said(n, metric), trunk=lambda n: id(n) in trunk)

    __str__ = draw


def _said(node: Node, metric: str) -> str:
    sign = _SIGNS.get(node.verdict, "·")
    where = "seed" if node.verdict == "seed" else f"epoch {node.commit.epoch}"
    refs = f"({', '.join(node.refs)})" if node.refs else ""
    reason = node.commit.why or (node.epochs[-1].reason if node.epochs else "")
    said = " ".join(reason.split())
    short = said if len(said) <= 60 else said[:59] + "…"
    return "  ".join(filter(None, [f"{sign} {where} {node.id[:10]}", shown(node.metrics, metric), refs, short]))
