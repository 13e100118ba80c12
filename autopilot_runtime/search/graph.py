"""Who calls whom: callers, callees and the graph around a function, from parse trees, with file and line."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from autopilot_runtime.search.resolve import Resolver, Site, Symbol

MAX_EDGES = 200
_MAX_SITES = 5_000  # calls of one name that are looked at
_MAX_ALIASES = 20
_SITE = "c.piece, p.file, c.name, c.receiver, c.hint, c.line FROM calls c JOIN pieces p ON p.id = c.piece"


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


def trace_callers(connection: sqlite3.Connection, symbol: str, *, limit: int = MAX_EDGES) -> Trace:
    """Every place that calls it."""
    resolver = Resolver(connection)
    symbols = resolver.find(symbol)
    edges = sorted({edge for one in symbols for edge in _callers(resolver, one)}, key=_order)
    return Trace(tuple(symbols), tuple(edges[:limit]), more=len(edges) > limit)


def trace_callees(connection: sqlite3.Connection, symbol: str, *, limit: int = MAX_EDGES) -> Trace:
    """Everything it calls."""
    resolver = Resolver(connection)
    symbols = resolver.find(symbol)
    edges: dict[Edge, None] = {}
    outside: dict[str, None] = {}
    for one in symbols:
        for site, reached, sure in _calls(resolver, one):
            if not reached:
                outside[f"{site.receiver}.{site.name}" if site.receiver else site.name] = None
            edges.update({Edge(resolver.symbol(site.piece), callee, site.line, sure): None for callee in reached})
    return Trace(tuple(symbols), tuple(list(edges)[:limit]), tuple(outside), more=len(edges) > limit)


def trace_graph(connection: sqlite3.Connection, symbol: str, *, depth: int = 2, limit: int = MAX_EDGES) -> Trace:
    """Callers and callees up to `depth` calls away, nearest first."""
    resolver = Resolver(connection)
    symbols = resolver.find(symbol)
    edges: dict[Edge, None] = {}
    for direction in (_callers, _callees):
        seen = {one.id for one in symbols}
        ring = list(symbols)
        room = limit // 2 + (limit // 2 - len(edges) if direction is _callees else 0)
        before = len(edges)
        for _ in range(max(1, depth)):
            outer: list[Symbol] = []
            for one in ring:
                for edge in sorted(direction(resolver, one), key=_order):
                    if len(edges) - before > room:
                        return Trace(tuple(symbols), tuple(edges)[:limit], more=True)
                    edges[edge] = None
                    far = edge.caller if direction is _callers else edge.callee
                    # What is only guessed leads nowhere: guesses on guesses would fill the page.
                    if far.id not in seen and edge.sure and far.kind != "module":
                        seen.add(far.id)
                        outer.append(far)
            ring = outer
    return Trace(tuple(symbols), tuple(edges))


def _order(edge: Edge) -> tuple[bool, str, int, int]:
    return (not edge.sure, edge.caller.path, edge.line, edge.callee.id)


def _callers(resolver: Resolver, symbol: Symbol) -> Iterator[Edge]:
    last = symbol.name.rpartition(".")[2]
    if last in ("__init__", "constructor", "initialize", "new") and "." in symbol.name:
        owner = symbol.name.rpartition(".")[0]
        for one in resolver.named(owner.rpartition(".")[2]):
            if one.file == symbol.file and one.name == owner:
                yield from _callers(resolver, one)
    for site in _sites(resolver.connection, last):
        reached, sure = resolver.reached(site)
        if any(one.id == symbol.id for one in reached):
            yield Edge(resolver.symbol(site.piece), symbol, site.line, sure and len(reached) == 1)


def _sites(connection: sqlite3.Connection, name: str) -> Iterator[Site]:
    """Calls of that name, and of the names under which it is imported."""
    aliases = connection.execute(
        "SELECT DISTINCT local FROM imports WHERE last = ? AND local != ? LIMIT ?", (name, name, _MAX_ALIASES)
    ).fetchall()
    for one in [name, *(alias for (alias,) in aliases)]:
        rows = connection.execute(f"SELECT {_SITE} WHERE c.name = ? LIMIT ?", (one, _MAX_SITES))
        yield from (Site(*row) for row in rows.fetchall())


def _callees(resolver: Resolver, symbol: Symbol) -> Iterator[Edge]:
    for site, reached, sure in _calls(resolver, symbol):
        for one in reached:
            yield Edge(resolver.symbol(site.piece), one, site.line, sure and len(reached) == 1)


def _calls(resolver: Resolver, symbol: Symbol) -> Iterator[tuple[Site, tuple[Symbol, ...], bool]]:
    """The calls in a function, or in all of a class."""
    where, values = "c.piece = ?", [symbol.id]
    if symbol.kind == "class":
        where = "p.file = ? AND p.start >= ? AND p.end <= ?"
        values = [symbol.file, symbol.line, symbol.end]
    rows = resolver.connection.execute(f"SELECT {_SITE} WHERE {where} ORDER BY c.line LIMIT {_MAX_SITES}", values)
    for row in rows.fetchall():
        site = Site(*row)
        yield site, *resolver.reached(site)
