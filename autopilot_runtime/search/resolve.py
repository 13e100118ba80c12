"""What a call means: which functions of the workspace it may reach, by scope, imports and classes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from autopilot_runtime.search.kinds import module_of

_SYMBOL = "p.id, p.name, p.kind, f.path, p.start, p.end, p.bases, p.file FROM pieces p JOIN files f ON f.id = p.file"
_DEFINED = "p.kind IN ('function', 'method', 'class')"
_OWN = ("self", "cls", "this", "super()", "super", "Self")
# On an unknown receiver these are nearly always calls of built-in types.
_BUILTIN = frozenset(name for kind in (str, bytes, list, dict, set, tuple, int) for name in dir(kind))
_MANY = 12  # methods of one name; a call on something unknown could be any of them, which says nothing
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

    @property
    def dotted(self) -> str:
        """Its name with that of its module."""
        return module_of(self.path) if self.kind in ("module", "text") else f"{module_of(self.path)}.{self.name}"


@dataclass(frozen=True, slots=True)
class Site:
    """A call as it stands in the index."""

    piece: int
    file: int
    name: str
    receiver: str
    hint: str
    line: int


class Resolver:
    """Looks calls up in one index. Cheap to make; remembers what it looked up."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.named = lru_cache(_CACHED)(self._named)
        self.imports = lru_cache(_CACHED)(self._imports)
        self.symbol = lru_cache(_CACHED)(self._symbol)
        self.reached = lru_cache(_CACHED)(self._reached)
        self.is_package = lru_cache(_CACHED)(self._is_package)

    def _named(self, last: str) -> tuple[Symbol, ...]:
        """Everything defined under a name."""
        rows = self.connection.execute(
            f"SELECT {_SYMBOL} WHERE p.last = ? AND {_DEFINED} ORDER BY f.path, p.start LIMIT 500", (last,)
        )
        return tuple(Symbol(*row) for row in rows)

    def _imports(self, file: int) -> dict[str, str]:
        return dict(self.connection.execute("SELECT local, target FROM imports WHERE file = ?", (file,)).fetchall())

    def _symbol(self, piece: int) -> Symbol:
        return Symbol(*self.connection.execute(f"SELECT {_SYMBOL} WHERE p.id = ?", (piece,)).fetchone())

    def find(self, query: str) -> list[Symbol]:
        """What a name of any length means: `go`, `Class.go`, `pkg.mod.go`, `src/mod.py:go`."""
        wanted = query.strip().removesuffix("()").replace("::", ":").replace("#", ".")
        path, _, name = wanted.rpartition(":")
        name = name.replace("/", ".").strip(".")
        found = [one for one in self.named(name.rpartition(".")[2]) if _ends_with(one.dotted, name)]
        return [one for one in found if not path or one.path == path or one.path.endswith("/" + path)]

    def _reached(self, site: Site) -> tuple[tuple[Symbol, ...], bool]:
        """What the call may reach, and whether that is sure."""
        symbol = self.symbol(site.piece)
        if not site.receiver:
            return self._plain(site, symbol)
        if site.receiver in _OWN and site.hint:
            return self._on_class(site, symbol, above=site.receiver.startswith("super"))
        if site.hint:
            return self._on_class(site, symbol)
        imports = self.imports(site.file)
        first, _, rest = site.receiver.partition(".")
        if first in imports:
            target = ".".join(filter(None, [imports[first], rest, site.name]))
            return self._imported(target), True
        local = [
            one
            for one in self.named(site.name)
            if one.file == site.file and one.name == f"{site.receiver}.{site.name}"
        ]
        if local:
            return tuple(local), True
        return self._anybody(site), False

    def _plain(self, site: Site, symbol: Symbol) -> tuple[tuple[Symbol, ...], bool]:
        here = [one for one in self.named(site.name) if one.file == site.file and one.name == site.name]
        if here:
            return tuple(here), True
        imports = self.imports(site.file)
        if site.name in imports:
            return self._imported(imports[site.name]), True
        if symbol.path.endswith(".py") and "*" not in imports:
            return (), True  # a built-in, a parameter, or a function inside the function
        free = [one for one in self.named(site.name) if one.kind != "method" and _kin(one.path, symbol.path)]
        return tuple(free[:_MANY]), len(free) == 1

    def _on_class(self, site: Site, symbol: Symbol, *, above: bool = False) -> tuple[tuple[Symbol, ...], bool]:
        """A method of a class that is known, or of those it inherits from (`above`: only of those)."""
        classes = self._class(site.hint, site.file)
        if above:
            classes = [base for one in classes for base in self._bases(one)]
        for one in self._lineage(classes):
            wanted = f"{one.name}.{site.name}"
            own = [method for method in self.named(site.name) if method.file == one.file and method.name == wanted]
            if own:
                return tuple(own), True
        if site.receiver in _OWN and not above:
            return self._anybody(site), False  # a mixin calls what its heirs have
        return (), True

    def _lineage(self, classes: Sequence[Symbol]) -> Iterator[Symbol]:
        todo, seen = list(classes), set[int]()
        while todo and len(seen) < 50:
            one = todo.pop(0)
            if one.id not in seen:
                seen.add(one.id)
                yield one
                todo += self._bases(one)

    def _bases(self, one: Symbol) -> list[Symbol]:
        return [base for name in filter(None, one.bases.split(",")) for base in self._class(name, one.file)]

    def _class(self, name: str, file: int) -> list[Symbol]:
        """The class that a name means in a file."""
        last = name.rpartition(".")[2]
        classes = [one for one in self.named(last) if one.kind == "class"]
        here = [one for one in classes if one.file == file and one.name == name]
        if here:
            return here
        imports = self.imports(file)
        first, _, rest = name.partition(".")
        if first in imports:
            return [
                one for one in self._imported(".".join(filter(None, [imports[first], rest]))) if one.kind == "class"
            ]
        return classes if len(classes) == 1 else []

    def _imported(self, target: str, depth: int = 0) -> tuple[Symbol, ...]:
        """What a dotted name is, also when a package only passes it on."""
        last = target.rpartition(".")[2]
        found = tuple(one for one in self.named(last) if self._is_at(one, target))
        if found or depth > 3:
            return found
        package, _, name = target.rpartition(".")
        tail = package.replace(".", "/")
        if not tail:
            return ()
        ways = (f"{tail}/__init__.py", f"{tail}.py")
        row = self.connection.execute(
            "SELECT i.target FROM imports i JOIN files f ON f.id = i.file WHERE i.local = ? AND "
            "(f.path IN (?, ?) OR f.path LIKE ? OR f.path LIKE ?) LIMIT 1",
            (name, *ways, *(f"%/{way}" for way in ways)),
        ).fetchone()
        return self._imported(row[0], depth + 1) if row and row[0] != target else ()

    def _is_at(self, one: Symbol, target: str) -> bool:
        """Whether a dotted import names it: `json.loads` is `src/json.py:loads`, but not that of `flask/json.py`."""
        if not _ends_with(one.dotted, target):
            return False
        folder = one.dotted[: -len(target) - 1].replace(".", "/")
        return not folder or not self.is_package(folder)

    def _is_package(self, folder: str) -> bool:
        found = self.connection.execute("SELECT 1 FROM files WHERE path = ?", (f"{folder}/__init__.py",))
        return found.fetchone() is not None

    def _anybody(self, site: Site) -> tuple[Symbol, ...]:
        """All methods of that name, when there are few enough for a guess."""
        if site.name in _BUILTIN:
            return ()
        home = self.symbol(site.piece).path
        methods = [one for one in self.named(site.name) if one.kind == "method" and _kin(one.path, home)]
        return tuple(methods) if len(methods) <= _MANY else ()


def _ends_with(dotted: str, name: str) -> bool:
    return dotted == name or dotted.endswith("." + name)


def _kin(one: str, other: str) -> bool:
    """Whether code of one file can call that of another: one language, or languages that mix."""
    return _family(one) == _family(other)


def _family(path: str) -> str:
    ending = path.rpartition(".")[2].lower()
    if ending in ("js", "jsx", "mjs", "cjs", "ts", "tsx", "mts", "cts", "vue", "svelte"):
        return "js"
    return "c" if ending in ("c", "h", "cc", "cpp", "cxx", "hpp", "hh") else ending
