"""What source text tells of a tool call: its literal arguments, the payload blocks it certainly takes. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
    if isinstance(node, ast.Constant):  # what most are; the general way leaves work for the garbage collector
        return node.value
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
    return (
        f"PayloadError: {shown} {'take' if len(takers) > 1 else 'takes'} {counted(needed)}, but {have or 'none'} "
        f"{'follows' if have < 2 else 'follow'} the control block. Put each content in a fence of its own after it."
    )


def counted(blocks: int) -> str:
    """`1 payload block`, `3 payload blocks`."""
    return f"{blocks} payload block{'' if blocks == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Share:
    """A call whose payload blocks are known before it runs: those from number `first` (0-based) on."""

    tool: str
    line: int
    known: Mapping[str, Any]
    first: int
    count: int


def shares(tree: ast.Module, tools: Mapping[str, ToolSpec], bound: Iterable[str]) -> Iterator[Share]:
    """Which payload blocks go to which call, as far as the source text tells for certain."""
    shadowed = frozenset(bound)
    takers = {name for name, spec in tools.items() if spec.payloads is not None}
    first = 0
    for statement in tree.body:
        calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
        named = [(call, name) for call in calls if (name := tool_called(call, tools, shadowed)) in takers]
        mentions = sum(_spelt(node) in takers for node in ast.walk(statement))
        if not mentions:
            continue
        if len(named) != 1 or mentions > 1 or named[0][0] not in list(_certain_calls([statement])):
            return  # a loop, a branch, a function, another name for the tool: from here on only running can tell
        share = _share(tools, *named[0], first)
        if share is None:
            return
        yield share
        first += share.count
        if _may_leave(statement):
            return


def _share(tools: Mapping[str, ToolSpec], call: ast.Call, name: str | None, first: int) -> Share | None:
    """The blocks of one call, from number `first` on; None where only running can tell how many."""
    counts, known = _counts(tools[str(name)], call)
    if counts is None or counts[0] != counts[1]:
        return None
    return Share(str(name), call.lineno, known, first, counts[0])


def _spelt(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=server), attr=attr):
            return f"{server}.{attr}"
    return None


def _takes(spec: ToolSpec, call: ast.Call) -> int:
    """The fewest payload blocks this call can take. What only running can tell counts as none."""
    counts, _ = _counts(spec, call)
    return min(counts) if counts else 0


def _counts(spec: ToolSpec, call: ast.Call) -> tuple[tuple[int, int] | None, dict[str, Any]]:
    """How many payload blocks the call takes without and with its unknown arguments, and the known ones."""
    args, kwargs, open_ended = arguments(call)
    if spec.payloads is None or open_ended:
        return None, {}
    given, _ = bind(spec, args, kwargs)
    known = {name: value for name, value in given.items() if value is not UNKNOWN}
    try:
        # An argument that is there but unknown may be what makes a payload unnecessary: ask both ways.
        return (int(spec.payloads(known)), int(spec.payloads(given))), known
    except Exception:
        # A pack's own function, given a value it did not expect: the call itself will tell at run time.
        return None, known


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
