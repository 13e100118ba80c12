"""Pieces, calls and imports of a Python file, from its parse tree."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable
from typing import Any

from autopilot_runtime.search.pieces import CallSite, Kind, Piece, Source, fill

# Half of all nodes, and nothing below them is of interest.
_LEAVES = frozenset(
    [ast.Name, ast.Constant, ast.alias, ast.Load, ast.Store, ast.Del, ast.Pass, ast.Global, ast.Nonlocal]
    + [kind for group in (ast.operator, ast.cmpop, ast.unaryop, ast.boolop) for kind in group.__subclasses__()]
)
_SKIPPED = frozenset([*_LEAVES, str, int, bool, type(None), float, complex, bytes, type(...)])


def parse_python(text: str, module: str, *, is_package: bool = False) -> Source | None:
    """None when it is not Python that this Python can read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes in somebody else's strings
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return _Reader(text, module, is_package=is_package).read(tree)


class _Reader:
    def __init__(self, text: str, module: str, *, is_package: bool) -> None:
        self.lines = text.split("\n")
        self.package = module.split(".") if is_package else module.split(".")[:-1]
        self.source = Source([Piece(module, "module", 1, max(1, len(self.lines)))])
        # (function piece or class name, variable) → the class of what it holds, where that can be seen
        self.types: dict[tuple[object, str], str] = {}
        self.classes: dict[int, str] = {}  # piece → the class it is in, or is

    def read(self, tree: ast.Module) -> Source:
        # An explicit stack: a deep tree must not run into the limit of recursion.
        stack: list[tuple[ast.AST, int]] = [(tree, 0)]
        while stack:
            node, owner = stack.pop()
            handle = _HANDLERS.get(type(node))
            if handle is not None:
                owner = handle(self, node, owner)
            for value in node.__dict__.values():
                kind = type(value)
                if kind is list:
                    stack += [(item, owner) for item in value if type(item) not in _SKIPPED]
                elif kind not in _SKIPPED:
                    stack.append((value, owner))
        self.hint()
        fill(self.source.pieces, self.lines)
        return self.source

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, owner: int) -> int:
        outer = self.source.pieces[owner]
        index = owner  # a function inside a function is part of it
        if outer.kind not in ("function", "method"):
            index = self.add(node, owner, "method" if outer.kind == "class" else "function")
            if owner in self.classes:
                self.classes[index] = self.classes[owner]
        self.types.update({(index, name): hint for name, hint in _annotated(node)})
        return index

    def class_(self, node: ast.ClassDef, owner: int) -> int:
        index = self.add(node, owner, "class", bases=tuple(filter(None, map(_dotted, node.bases))))
        self.classes[index] = self.source.pieces[index].name
        return index

    def add(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
        owner: int,
        kind: Kind,
        *,
        bases: tuple[str, ...] = (),
    ) -> int:
        outer = self.source.pieces[owner]
        name = node.name if outer.kind == "module" else f"{outer.name}.{node.name}"
        start = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        self.source.pieces.append(Piece(name, kind, start, node.end_lineno or start, bases=bases))
        return len(self.source.pieces) - 1

    def call(self, node: ast.Call, owner: int) -> int:
        function = node.func
        if isinstance(function, ast.Name):
            self.source.calls.append(CallSite(owner, function.id, "", node.lineno))
        elif isinstance(function, ast.Attribute):
            receiver = _dotted(function.value)
            hint = ""
            if not receiver and isinstance(function.value, ast.Call):
                made = _dotted(function.value.func)
                receiver = "super()" if made == "super" else "()"
                hint = made if made.rpartition(".")[2][:1].isupper() else ""
            line = function.end_lineno or node.lineno
            self.source.calls.append(CallSite(owner, function.attr, receiver or "?", line, hint))
        return owner

    def assign(self, node: ast.Assign | ast.AnnAssign, owner: int) -> int:
        """`x = Thing(...)`, `self.x = Thing(...)`, `x: Thing`: then `x.go()` is a call of `Thing.go`."""
        hint = ""
        if isinstance(node, ast.AnnAssign):
            hint = _class_of(node.annotation)
        elif isinstance(node.value, ast.Call):
            hint = _dotted(node.value.func)
        if not hint or not hint.rpartition(".")[2].lstrip("_")[:1].isupper():
            return owner
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            name = _dotted(target)
            if name.startswith("self.") and owner in self.classes:
                self.types[self.classes[owner], name] = hint
            elif name and self.source.pieces[owner].kind == "class":
                self.types[self.classes[owner], f"self.{name}"] = hint
            elif name:
                self.types[owner, name] = hint
        return owner

    def hint(self) -> None:
        for call in self.source.calls:
            if call.receiver in ("self", "cls", "super()"):
                call.hint = self.classes.get(call.piece, "")
            elif call.receiver and not call.hint:
                scopes = (call.piece, self.classes.get(call.piece), 0)
                found = (self.types.get((scope, call.receiver)) for scope in scopes)
                call.hint = next(filter(None, found), "")

    def imported(self, node: ast.Import | ast.ImportFrom, owner: int) -> int:
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.partition(".")[0]
                self.source.imports[local] = alias.name if alias.asname else local
            return owner
        base = node.module or ""
        if node.level:
            kept = self.package[: max(0, len(self.package) - node.level + 1)]
            base = ".".join([*kept, *([base] if base else [])])
        for alias in node.names:
            self.source.imports[alias.asname or alias.name] = f"{base}.{alias.name}" if base else alias.name
        return owner


_HANDLERS: dict[type[ast.AST], Callable[[_Reader, Any, int], int]] = {
    ast.FunctionDef: _Reader.function,
    ast.AsyncFunctionDef: _Reader.function,
    ast.ClassDef: _Reader.class_,
    ast.Call: _Reader.call,
    ast.Assign: _Reader.assign,
    ast.AnnAssign: _Reader.assign,
    ast.Import: _Reader.imported,
    ast.ImportFrom: _Reader.imported,
}


def _annotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[tuple[str, str]]:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [(one.arg, hint) for one in arguments if one.annotation and (hint := _class_of(one.annotation))]


def _class_of(annotation: ast.expr) -> str:
    """`Thing`, `pkg.Thing`, `"Thing"`, `Thing | None`: the class; anything else: ""."""
    if isinstance(annotation, ast.BinOp):
        return _class_of(annotation.left)
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value if annotation.value.replace(".", "").isidentifier() else ""
    name = _dotted(annotation)
    return name if name.rpartition(".")[2].lstrip("_")[:1].isupper() else ""


def _dotted(node: ast.AST) -> str:
    """`a.b.c` as text; "" for anything that is not names and dots."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute) and len(parts) < 8:
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])
