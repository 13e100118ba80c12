"""What the Monty interpreter cannot run, found in a block's text before any of it runs. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from autopilot_runtime.core.protocols import Failure

_SHOWN = 5
_HAS = (
    "__future__ asyncio base64 binascii bisect collections copy csv dataclasses datetime decimal functools hashlib "
    "itertools json math os os.path pathlib posixpath random re sys time tomllib typing unicodedata"
)
_MODULES = frozenset(_HAS.split())
_BASES = frozenset({"object"})
_DECORATORS = frozenset({"property", "staticmethod", "classmethod"})
_INSTEAD = "Write it without, or with plain functions, lists and dicts. Nothing of this block ran."


def unsupported(tree: ast.Module) -> Failure | None:
    """Why this interpreter cannot run the block, or None. Syntax and modules only: a missing method shows later."""
    found = list(_found(tree))
    if not found:
        return None
    lines = [f"  line {line}: no {what}" for line, what in found[:_SHOWN]]
    more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    head = "This interpreter runs a part of Python only; the block uses what it does not have:"
    return Failure("check", "\n".join([head, *lines, *more, _INSTEAD]), found[0][0])


def _found(tree: ast.Module) -> Iterator[tuple[int, str]]:
    optional = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        what = _what(node)
        if what is not None:
            yield node.lineno, what  # type: ignore[attr-defined]
        elif isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in optional:
            for name in _missing(node):
                yield node.lineno, f"module {name!r}"


def _what(node: ast.AST) -> str | None:
    match node:
        case ast.ClassDef(bases=bases, keywords=keywords) if keywords or not all(_is_plain(base) for base in bases):
            return f"class inheritance (class {node.name})"
        case ast.Yield() | ast.YieldFrom():
            return "generators (yield)"
        case ast.Delete():
            return "del statement"
        case ast.TryStar():
            return "except* clause"
        case ast.FunctionDef(decorator_list=decorators):
            names = [one.id for one in decorators if isinstance(one, ast.Name) and one.id in _DECORATORS]
            return f"@{names[0]}" if names else None
    return None


def _is_plain(base: ast.expr) -> bool:
    return isinstance(base, ast.Name) and base.id in _BASES


def _missing(node: ast.Import | ast.ImportFrom) -> list[str]:
    names = [node.module or "."] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return [name for name in names if name not in _MODULES]
