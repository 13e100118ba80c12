"""What source text tells of a tool call: its literal arguments, the payload blocks it certainly takes. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autopilot_runtime.core.protocols import ToolSpec
from autopilot_runtime.sandbox.display import tool_called
from autopilot_runtime.sandbox.signature import UNKNOWN, bind

_LISTED = 5
_LEAVES = frozenset({"exit", "quit", "_exit", "abort"})


def arguments(call: ast.Call) -> tuple[list[Any], dict[str, Any], bool]:
    """Literal arguments as values, others as UNKNOWN, and whether `*x` or `**x` may bring more."""
    args: list[Any] = []
    open_ended = False
    for arg in call.args:
        if isinstance(arg, ast.Starred):
            open_ended = True
            break  # what follows a `*x` has no known position
        args.append(_literal(arg))
    kwargs: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            open_ended = True
        else:
            kwargs[keyword.arg] = _literal(keyword.value)
    return args, kwargs, open_ended


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return UNKNOWN


def shortage(tree: ast.Module, tools: Mapping[str, ToolSpec], bound: Iterable[str], *, have: int) -> str | None:
    """Where code that certainly runs takes more payload blocks than there are: which calls, how many."""
    shadowed = frozenset(bound)
    needed = 0
    takers: list[str] = []
    for call in _certain_calls(tree.body):
        name = tool_called(call, tools, shadowed)
        count = _takes(tools[name], call) if name is not None else 0
        if name is not None and count:
            needed += count
            takers.append(f"{name}() in line {call.lineno}")
    if needed <= have:
        return None
    shown = ", ".join(takers[:_LISTED]) + (", ..." if len(takers) > _LISTED else "")
    return f"PayloadError: {shown} take {needed} payload blocks, but {have} follow the control block."


def _takes(spec: ToolSpec, call: ast.Call) -> int:
    """The fewest payload blocks this call can take. What only running can tell counts as none."""
    args, kwargs, open_ended = arguments(call)
    if spec.payloads is None or open_ended:
        return 0
    given, _ = bind(spec, args, kwargs)
    known = {name: value for name, value in given.items() if value is not UNKNOWN}
    try:
        # An argument that is there but unknown may be what makes a payload unnecessary: ask both ways.
        return min(int(spec.payloads(known)), int(spec.payloads(given)))
    except Exception:
        # A pack's own function, given a value it did not expect: the call itself will tell at run time.
        return 0


def _certain_calls(body: list[ast.stmt]) -> Iterator[ast.Call]:
    """Calls that run once if the block runs to its end: no branch, loop, function or try is entered."""
    for statement in body:
        match statement:
            case ast.Expr(value=value) | ast.Assign(value=value) | ast.AugAssign(value=value):
                yield from _unconditional(value)
            case ast.AnnAssign(value=ast.expr() as value):
                yield from _unconditional(value)
            case ast.With(items=items, body=inner):
                for item in items:
                    yield from _unconditional(item.context_expr)
                yield from _certain_calls(inner)
        if _may_leave(statement):
            return


def _unconditional(node: ast.AST) -> Iterator[ast.Call]:
    match node:
        case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return
        case ast.IfExp(test=test):
            yield from _unconditional(test)
            return
        case ast.BoolOp(values=[first, *_]):
            yield from _unconditional(first)
            return
        case ast.Call():
            yield node
    for child in ast.iter_child_nodes(node):
        yield from _unconditional(child)


def _may_leave(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
        return False
    return any(
        isinstance(node, (ast.Raise, ast.Assert))
        or (isinstance(node, ast.Attribute) and node.attr in _LEAVES)
        or (isinstance(node, ast.Name) and node.id in _LEAVES)
        for node in ast.walk(statement)
    )
