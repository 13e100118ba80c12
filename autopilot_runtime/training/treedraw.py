"""Draws trees as text: a long line stays a line, only what branches off is set in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Node = TypeVar("Node")


def draw(
    roots: Iterable[Node],
    children: Callable[[Node], Sequence[Node]],
    label: Callable[[Node], str],
    *,
    trunk: Callable[[Node], bool] = lambda _: False,
) -> str:
    """One line for each node. Of several children the one on the trunk goes on straight down, else the one with most
    below it."""
    lines: list[str] = []
    for root in roots:
        _line(root, children, label, trunk, _sizes(root, children), "", "", lines)
    return "\n".join(lines)


def _sizes(root: Node, children: Callable[[Node], Sequence[Node]]) -> dict[int, int]:
    """How many nodes hang on each, itself included."""
    order, waiting = [root], [root]
    while waiting:
        below = children(waiting.pop())
        order += below
        waiting += below
    sizes: dict[int, int] = {}
    for node in reversed(order):
        sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children(node))
    return sizes


def _line(
    node: Node,
    children: Callable[[Node], Sequence[Node]],
    label: Callable[[Node], str],
    trunk: Callable[[Node], bool],
    sizes: dict[int, int],
    first: str,
    rest: str,
    lines: list[str],
) -> None:
    """A node, what branches off from it, and straight down. Called anew only for what branches off, which is never
    the larger part: it does not go deep."""
    lead = first
    while True:
        lines.append(lead + label(node))
        below = list(children(node))
        if not below:
            return
        straight = max(below, key=lambda child: (trunk(child), sizes[id(child)], -below.index(child)))
        for child in below:
            if child is not straight:
                _line(child, children, label, trunk, sizes, f"{rest}├─ ", f"{rest}│  ", lines)
        node, lead = straight, rest
