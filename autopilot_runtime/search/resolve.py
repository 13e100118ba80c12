"""What a call means: which functions of the workspace it may reach, by scope, imports and classes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from autopilot_runtime.search.kinds import module_of

_SYMBOL = (
    "p.id, p.name, p.kind, f.path, p.start, p.end, p.bases, p.file, f.family "
    "FROM pieces p JOIN files f ON f.id = p.file"
)
_DEFINED = "p.kind IN ('function', 'method', 'class')"
_OWN = ("self", "cls", "this", "super()", "super", "Self")
# On an unknown receiver these are nearly always calls of built-in types.
_BUILTIN = frozenset(name for kind in (str, bytes, list, dict, set, tuple, int) for name in dir(kind))
_MANY = 12  # methods of one name; a call on something unknown could be any of them, which says nothing
_MAX_FOUND = 500  # symbols that one name may mean
_CACHED = 20_000


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function, method or class of the workspace, or the module level of a file."""

    id: int
    name: str
    kind: str
    path: str
    line: int
    end: int
    bases: str = ""
    file: int = 0
    family: str = ""

    @property
    def dotted(self) -> str:
        """Its name with that of its module."""
        return module_of(self.path) if self.kind in ("module", "text") else f"{module_of(self.path)}.{self.name}"


@dataclass(frozen=True, slots=True)
class Site:
    """A call as it stands in the index. `imported` is what the first name of it stands for, if that is an import."""

    piece: int
    file: int
    family: str
    name: str
    receiver: str
    hint: str
    line: int
    imported: str | None


# Joined to the sites, because asking for each of thousands takes longer than all else.
SITES = """
SELECT c.piece, p.file, f.family, c.name, c.receiver, c.hint, c.line, i.target
FROM calls c JOIN pieces p ON p.id = c.piece JOIN files f ON f.id = p.file
LEFT JOIN imports i ON i.file = p.file
  AND i.local = iif(c.receiver = '', c.name, substr(c.receiver, 1, instr(c.receiver || '.', '.') - 1))
"""
Reached = tuple[tuple[Symbol, ...], bool]


class Resolver:
    """Looks calls up in one index. Cheap to make; remembers what it looked up."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.symbol = lru_cache(_CACHED)(self._symbol)
        self.in_file = lru_cache(_CACHED)(self._in_file)
        self._named = lru_cache(_CACHED)(self._some_named)
        self._target = lru_cache(_CACHED)(self._find_target)
        self._modules = lru_cache(_CACHED)(self._find_modules)
        self._at = lru_cache(_CACHED)(self._find_at)
        self._class = lru_cache(_CACHED)(self._find_class)
        self._method = lru_cache(_CACHED)(self._find_method)

    def _symbols(self, where: str, *values: object) -> Iterator[Symbol]:
        rows = self.connection.execute(f"SELECT {_SYMBOL} WHERE {where}", values)
        return (Symbol(*row) for row in rows)

    def _symbol(self, piece: int) -> Symbol:
        return next(self._symbols("p.id = ?", piece))

    def _in_file(self, file: int, last: str) -> tuple[Symbol, ...]:
        """What a file defines under a name, at any depth."""
        return tuple(self._symbols(f"p.last = ? AND p.file = ? AND {_DEFINED} ORDER BY p.start", last, file))

    def _some_named(self, last: str, family: str, *kinds: str) -> tuple[Symbol, ...]:
        """What is defined under a name anywhere: all, when that is few."""
        where = f"p.last = ? AND f.family = ? AND p.kind IN ({', '.join('?' * len(kinds))}) ORDER BY f.path, p.start"
        return tuple(islice(self._symbols(where, last, family, *kinds), _MANY + 1))

    def find(self, query: str) -> list[Symbol]:
        """What a name of any length means: `go`, `Class.go`, `pkg.mod.go`, `src/mod.py:go`."""
        wanted = query.strip().removesuffix("()").replace("::", ":").replace("#", ".")
        path, _, name = wanted.rpartition(":")
        name = name.replace("/", ".").strip(".")
        found = (
            one
            for one in self._symbols(f"p.last = ? AND {_DEFINED} ORDER BY f.path, p.start", name.rpartition(".")[2])
            if _ends_with(one.dotted, name) and (not path or one.path == path or one.path.endswith("/" + path))
        )
        return list(islice(found, _MAX_FOUND))

    def reached(self, site: Site) -> Reached:
        """What the call may reach, and whether that is sure."""
        if not site.receiver:
            return self._plain(site)
        if site.hint:
            return self._on_class(site)
        if site.imported is not None:
            rest = site.receiver.partition(".")[2]
            return self._at(".".join(filter(None, [site.imported, rest, site.name]))), True
        wanted = f"{site.receiver}.{site.name}"
        local = tuple(one for one in self.in_file(site.file, site.name) if one.name == wanted)
        return (local, True) if local else (self._anybody(site), False)

    def _plain(self, site: Site) -> Reached:
        here = tuple(one for one in self.in_file(site.file, site.name) if one.name == site.name)
        if here:
            return here, True
        if site.imported is not None:
            return self._at(site.imported), True
        if site.family == "py" and self._target(site.file, "*") is None:
            return (), True  # a built-in, a parameter, or a function inside the function
        free = self._named(site.name, site.family, "function", "class")[:_MANY]
        return free, len(free) == 1

    def _on_class(self, site: Site) -> Reached:
        """A method of a class that is known, or of those it inherits from (`super`: only of those)."""
        above = site.receiver.startswith("super")
        own = self._method(site.hint, site.file, site.family, site.name, above)
        if own:
            return own, True
        if site.receiver in _OWN and not above:
            return self._anybody(site), False  # a mixin calls what its heirs have
        return (), True

    def _find_method(self, hint: str, file: int, family: str, name: str, above: bool) -> tuple[Symbol, ...]:
        classes = self._class(hint, file, family)
        if above:
            classes = tuple(base for one in classes for base in self._bases(one))
        for one in self._lineage(classes):
            wanted = f"{one.name}.{name}"
            own = tuple(method for method in self.in_file(one.file, name) if method.name == wanted)
            if own:
                return own
        return ()

    def _lineage(self, classes: Sequence[Symbol]) -> Iterator[Symbol]:
        todo, seen = list(classes), set[int]()
        while todo and len(seen) < 50:
            one = todo.pop(0)
            if one.id not in seen:
                seen.add(one.id)
                yield one
                todo += self._bases(one)

    def _bases(self, one: Symbol) -> list[Symbol]:
        names = filter(None, one.bases.split(","))
        return [base for name in names for base in self._class(name, one.file, one.family)]

    def _find_class(self, name: str, file: int, family: str) -> tuple[Symbol, ...]:
        """The class that a name means in a file."""
        last = name.rpartition(".")[2]
        here = tuple(one for one in self.in_file(file, last) if one.kind == "class" and one.name == name)
        if here:
            return here
        first, _, rest = name.partition(".")
        target = self._target(file, first)
        if target is not None:
            found = self._at(".".join(filter(None, [target, rest])))
            return tuple(one for one in found if one.kind == "class")
        classes = self._named(last, family, "class")
        return classes if len(classes) == 1 else ()

    def _find_target(self, file: int, local: str) -> str | None:
        """What a name stands for that a file imports."""
        row = self.connection.execute("SELECT target FROM imports WHERE file = ? AND local = ?", (file, local))
        return next((str(target) for (target,) in row), None)

    def _find_at(self, target: str, depth: int = 0) -> tuple[Symbol, ...]:
        """What a dotted import names, also when a package only passes it on."""
        parts = target.split(".")
        found: list[Symbol] = []
        for cut in range(len(parts) - 1, 0, -1):
            name = ".".join(parts[cut:])
            for file in self._modules(".".join(parts[:cut])):
                found += [one for one in self.in_file(file, parts[-1]) if one.name == name]
        if found or depth > 3:
            return tuple(found)
        package, _, name = target.rpartition(".")
        ways = (self._target(file, name) for file in self._modules(package)) if package else ()
        passed_on = next((way for way in ways if way is not None and way != target), None)
        return self._find_at(passed_on, depth + 1) if passed_on else ()

    def _find_modules(self, module: str) -> tuple[int, ...]:
        """The files an import of `module` may mean: for `json` `src/json.py`, but not that of a package."""
        rows = self.connection.execute(
            "SELECT id, path FROM files WHERE stem = ? AND family = 'py' ORDER BY path", (module.rpartition(".")[2],)
        )
        found = [(file, module_of(path)) for file, path in rows.fetchall()]
        return tuple(
            file
            for file, whole in found
            if _ends_with(whole, module) and not self._is_package(whole[: -len(module) - 1])
        )

    def _is_package(self, module: str) -> bool:
        path = f"{module.replace('.', '/')}/__init__.py"
        found = self.connection.execute("SELECT 1 FROM files WHERE path = ?", (path,))
        return bool(module) and found.fetchone() is not None

    def _anybody(self, site: Site) -> tuple[Symbol, ...]:
        """All methods of that name, when there are few enough for a guess."""
        if site.name in _BUILTIN:
            return ()
        methods = self._named(site.name, site.family, "method")
        return methods if len(methods) <= _MANY else ()


def _ends_with(dotted: str, name: str) -> bool:
    return dotted == name or dotted.endswith("." + name)
