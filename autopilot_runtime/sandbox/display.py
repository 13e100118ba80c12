"""What a control block shows without `print`: bare tool calls and the last expression, as in a notebook. Pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from autopilot_runtime.sandbox.value import bounded_repr

if TYPE_CHECKING:
    from autopilot_runtime.core.protocols import Outcome

# The name the last expression's value is handed to.
SHOW = "__show__"
_PREFIX = "__bare__"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_LABEL_CHARS = 120


def bare_name(tool: str) -> str:
    """The name a bare call of `tool` is rewritten to: `__bare__read_file`, `__bare__server__dot__tool`."""
    return _PREFIX + tool.replace(".", "__dot__")


def bare_names(tools: Iterable[str]) -> dict[str, str]:
    """From rewritten name back to tool name."""
    return {bare_name(tool): tool for tool in tools}


def rebound(tree: ast.AST) -> set[str]:
    """Every name the code binds itself, in any scope: assigned, defined, imported, a parameter, a capture."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.alias(name=name, asname=other):
                names.add(other or name.partition(".")[0])
            case ast.arg(arg=name):
                names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
            case ast.MatchMapping(rest=str(name)):
                names.add(name)
    return names


def tool_called(call: ast.Call, tools: Collection[str], shadowed: Collection[str]) -> str | None:
    """The tool this call names (`tool(...)` or `server.tool(...)`), unless the block re-bound the name."""
    match call.func:
        case ast.Name(id=name) if name in tools and name not in shadowed:
            return name
        case ast.Attribute(value=ast.Name(id=server), attr=attr) if server not in shadowed:
            name = f"{server}.{attr}"
            return name if name in tools else None
    return None


def bare_calls(tree: ast.Module, tools: Collection[str]) -> list[tuple[ast.Call, str]]:
    """The tool calls that are statements of their own, at any depth, with the tool each names."""
    shadowed = rebound(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            tool = tool_called(node.value, tools, shadowed)
            if tool is not None:
                found.append((node.value, tool))
    return found


def last_expression(tree: ast.Module, tools: Collection[str]) -> ast.Expr | None:
    """The last top-level statement when its value should be shown (a bare tool call shows itself)."""
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        return None
    if isinstance(last.value, ast.Call) and tool_called(last.value, tools, rebound(tree)):
        return None
    return last


def mark(tree: ast.Module, tools: Collection[str], *, last: bool = True) -> ast.Module:
    """AST form: rename bare call targets, wrap the last expression in `SHOW(...)`. Changes `tree`; lines stay."""
    shown = last_expression(tree, tools) if last else None
    for call, tool in bare_calls(tree, tools):
        call.func = ast.copy_location(ast.Name(bare_name(tool), ast.Load()), call.func)
    if shown is not None:
        target = ast.copy_location(ast.Name(SHOW, ast.Load()), shown.value)
        shown.value = ast.copy_location(ast.Call(target, [shown.value], []), shown.value)
    return tree


def splice(code: str, tools: Collection[str], *, last: bool = False) -> str:
    """Text form of `mark`: the same changes spliced into the source; no line moves. `code` must parse."""
    tree = ast.parse(code)
    data = code.encode("utf-8", "surrogatepass")
    starts = [0, *(end.end() for end in _LINE_END.finditer(data))]
    edits: list[tuple[int, int, bytes]] = []
    for call, tool in bare_calls(tree, tools):
        begin, end = _span(call.func, starts)
        kept_lines = b"".join(_LINE_END.findall(data[begin:end]))
        edits.append((begin, end, bare_name(tool).encode() + kept_lines))
    shown = last_expression(tree, tools) if last else None
    if shown is not None:
        begin, end = _span(shown, starts)
        edits += [(begin, begin, f"{SHOW}((".encode()), (end, end, b"))")]
    for begin, end, text in sorted(edits, reverse=True):
        data = data[:begin] + text + data[end:]
    return data.decode("utf-8", "surrogatepass")


def _span(node: ast.expr | ast.Expr, starts: list[int]) -> tuple[int, int]:
    assert node.end_lineno is not None and node.end_col_offset is not None
    return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset


def restore(text: str, tools: Iterable[str]) -> str:
    """An error text with the names as the model wrote them."""
    if _PREFIX not in text:
        return text
    for name, tool in sorted(bare_names(tools).items(), key=lambda pair: -len(pair[0])):
        text = text.replace(name, tool)
    return text


def label(tool: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    """The call in one short line: `edit_file("a.py", mode="append")`."""
    parts = [_short(value) for value in args] + [f"{key}={_short(value)}" for key, value in kwargs.items()]
    text = f"{tool}({', '.join(parts)})"
    return text if len(text) <= _LABEL_CHARS else text[: _LABEL_CHARS - 4] + "...)"


def receipt(tool: str, args: Iterable[Any], kwargs: Mapping[str, Any], outcome: Outcome) -> str:
    """The line an assigned or nested call leaves: `read_file("a.py") -> str, 1204 chars`."""
    called = label(tool, args, kwargs)
    if outcome.error is not None:
        line = " ".join(outcome.error[:400].split())
        return f"{called} -> failed: {line[:160]}"
    return f"{called} -> {outcome.note or describe(outcome.value)}"


def describe(value: Any) -> str:
    """A value's type and size in a few words."""
    kind = type(value).__name__
    match value:
        case None | bool() | float():
            return repr(value)
        case int():
            return bounded_repr(value, chars=40)
        case str():
            return f"{kind}, {len(value)} chars"
        case bytes() | bytearray():
            return f"{kind}, {len(value)} bytes"
        case dict():
            return f"{kind}, {len(value)} keys"
        case list() | tuple() | set() | frozenset():
            return f"{kind}, {len(value)} items"
    return kind


def _short(value: Any) -> str:
    text = bounded_repr(value, chars=40, nodes=20)
    # Double quotes, as the model writes them, when that needs no escaping.
    if isinstance(value, str) and text[:1] == text[-1:] == "'" and '"' not in text and "\\" not in text:
        return f'"{text[1:-1]}"'
    return text
