"""Who calls whom: callers, callees and the graph around a function, from parse trees, with file and line."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from autopilot_runtime.search.resolve import SITES, Resolver, Site, Symbol

MAX_EDGES = 200
SECONDS = 5.0  # one trace may take; in huge workspaces a name like `get` is called everywhere
_MAX_SITES = 5_000  # calls of one name that are looked at
_MAX_ALIASES = 20
_Direction = Callable[[Sequence[Symbol]], Iterable["Edge"]]


@dataclass(frozen=True, slots=True)
class Edge:
    """`caller` calls `callee` at `line` of the caller's file. Not `sure`: on an object whose class does not show."""

    caller: Symbol
    callee: Symbol
    line: int
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Trace:
    """What was found around `symbols` (the name may mean several). `outside` are calls of what is not in here."""

    symbols: tuple[Symbol, ...]
    edges: tuple[Edge, ...] = ()
    outside: tuple[str, ...] = ()
    more: bool = False


def trace_callers(
    connection: sqlite3.Connection, symbol: str, *, limit: int = MAX_EDGES, seconds: float = SECONDS
) -> Trace:
    """Every place that calls it."""
    walk = _Walk(connection, seconds)
    symbols = walk.resolver.find(symbol)
    edges = sorted(walk.callers(symbols), key=_order)
    return Trace(tuple(symbols), tuple(edges[:limit]), more=len(edges) > limit or walk.is_late)


def trace_callees(
    connection: sqlite3.Connection, symbol: str, *, limit: int = MAX_EDGES, seconds: float = SECONDS
) -> Trace:
    """Everything it calls."""
    walk = _Walk(connection, seconds)
    symbols = walk.resolver.find(symbol)
    edges = list(walk.callees(symbols))
    outside = tuple(walk.outside)
    return Trace(tuple(symbols), tuple(edges[:limit]), outside, more=len(edges) > limit or walk.is_late)


def trace_graph(
    connection: sqlite3.Connection, symbol: str, *, depth: int = 2, limit: int = MAX_EDGES, seconds: float = SECONDS
) -> Trace:
    """Callers and callees up to `depth` calls away, nearest first; half the room is for the callers."""
    walk = _Walk(connection, seconds)
    symbols = walk.resolver.find(symbol)
    up, more_up = walk.rings(symbols, walk.callers, depth, limit=limit // 2)
    down, more_down = walk.rings(symbols, walk.callees, depth, limit=limit - len(up))
    edges = dict.fromkeys([*up, *down])
    return Trace(tuple(symbols), tuple(edges), more=more_up or more_down or walk.is_late)


class _Walk:
    """One trace through the graph, which ends when its time is up."""

    def __init__(self, connection: sqlite3.Connection, seconds: float) -> None:
        self.connection = connection
        self.resolver = Resolver(connection)
        self.outside: dict[str, None] = {}
        self._until = time.monotonic() + seconds

    @property
    def is_late(self) -> bool:
        """Whether it has to end."""
        return time.monotonic() > self._until

    def rings(
        self, symbols: Sequence[Symbol], direction: _Direction, depth: int, *, limit: int
    ) -> tuple[list[Edge], bool]:
        """The edges ring by ring around the symbols, and whether there are more."""
        edges: dict[Edge, None] = {}
        seen = {one.id for one in symbols}
        ring = list(symbols)
        for _ in range(max(1, depth)):
            found = sorted(direction(ring), key=_order)
            edges.update(dict.fromkeys(found))
            if len(edges) > limit or self.is_late:
                return list(edges)[:limit], True
            # What is only guessed leads nowhere: guesses on guesses would fill the page.
            ends = {end for edge in found if edge.sure for end in (edge.caller, edge.callee)}
            ring = sorted(
                (one for one in ends if one.id not in seen and one.kind != "module"), key=lambda one: one.id
            )
            seen.update(one.id for one in ring)
        return list(edges), False

    def callers(self, symbols: Sequence[Symbol]) -> set[Edge]:
        """The calls that reach one of them. Calls of one name are gone through once for all its symbols."""
        wanted = {one.id: one for symbol in symbols for one in self._made_by(symbol)}
        edges: set[Edge] = set()
        for name in sorted({one.name.rpartition(".")[2] for one in wanted.values()}):
            for site in self._sites(name):
                reached, sure = self.resolver.reached(site)
                sure = sure and len(reached) == 1
                for one in reached:
                    if one.id in wanted:
                        edges.add(Edge(self.resolver.symbol(site.piece), wanted[one.id], site.line, sure))
                if self.is_late:
                    return edges
        return edges

    def _made_by(self, symbol: Symbol) -> Iterator[Symbol]:
        """The symbol, and for the maker of a class the class: whoever calls that calls this."""
        yield symbol
        owner, _, last = symbol.name.rpartition(".")
        if owner and last in ("__init__", "constructor", "initialize"):
            found = self.resolver.in_file(symbol.file, owner.rpartition(".")[2])
            yield from (one for one in found if one.name == owner)

    def _sites(self, name: str) -> Iterator[Site]:
        """Calls of that name, and of the names under which it is imported."""
        aliases = self.connection.execute(
            "SELECT DISTINCT local FROM imports WHERE last = ? AND local != ? LIMIT ?", (name, name, _MAX_ALIASES)
        ).fetchall()
        for one in [name, *(alias for (alias,) in aliases)]:
            rows = self.connection.execute(f"{SITES} WHERE c.name = ? LIMIT ?", (one, _MAX_SITES))
            yield from (Site(*row) for row in rows.fetchall())

    def callees(self, symbols: Sequence[Symbol]) -> Iterator[Edge]:
        """What they call, in the order of their lines; what is not in the workspace goes to `outside`."""
        for symbol in symbols:
            for site in self._inside(symbol):
                reached, sure = self.resolver.reached(site)
                if not reached:
                    self.outside[f"{site.receiver}.{site.name}" if site.receiver else site.name] = None
                for one in reached:
                    yield Edge(self.resolver.symbol(site.piece), one, site.line, sure and len(reached) == 1)
            if self.is_late:
                return

    def _inside(self, symbol: Symbol) -> Iterator[Site]:
        """The calls in a function, or in all of a class."""
        where, values = "c.piece = ?", [symbol.id]
        if symbol.kind == "class":
            where = "p.file = ? AND p.start >= ? AND p.end <= ?"
            values = [symbol.file, symbol.line, symbol.end]
        rows = self.connection.execute(f"{SITES} WHERE {where} ORDER BY c.line LIMIT {_MAX_SITES}", values)
        yield from (Site(*row) for row in rows.fetchall())


def _order(edge: Edge) -> tuple[bool, str, int, int]:
    return (not edge.sure, edge.caller.path, edge.line, edge.callee.id)
