"""Find what is wrong with a control block before any of it runs: syntax, tool calls, payloads, forbidden things."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autopilot_runtime.core.protocols import Failure, ToolSpec
from autopilot_runtime.sandbox.display import rebound, tool_called
from autopilot_runtime.sandbox.forbidden import forbidden
from autopilot_runtime.sandbox.signature import UNKNOWN, bind, faults

MAX_CODE = 1_000_000
_SHOWN = 5
_LINE_CHARS = 160
_LINE_END = re.compile(r"\r\n|\r|\n")
_AWAIT = "Tools are plain calls: write `x = read_file(...)`, without await."
_NOTHING = "Nothing of this block ran."
_LEAVES = frozenset({"exit", "quit", "_exit", "abort"})


def check(code: str, tools: Mapping[str, ToolSpec], *, payloads: int) -> Failure | None:
    """Why this block must not start, or None. Never raises, whatever the text is."""
    tree = parse(code)
    if isinstance(tree, Failure):
        return tree
    try:
        return _held(tree, code, tools, payloads=payloads)
    except RecursionError:
        return Failure("syntax", f"The code is nested too deeply.\n{_NOTHING}")


def parse(code: str) -> ast.Module | Failure:
    """The syntax tree, or a `syntax` failure with line, column and caret."""
    if len(code) > MAX_CODE:
        return Failure("syntax", f"The block is {len(code)} characters long; at most {MAX_CODE} can run.\n{_NOTHING}")
    if "\0" in code:
        line = code.count("\n", 0, code.index("\0")) + 1
        text = f"Line {line} contains a NUL character; write \\0 in a string instead.\n{_NOTHING}"
        return Failure("syntax", text, line)
    try:
        with warnings.catch_warnings():
            # An invalid escape in the model's code is no business of the host's stderr.
            warnings.simplefilter("ignore")
            tree = ast.parse(code, "<control block>")
            compile(tree, "<control block>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return _syntax(error, code)
    except (RecursionError, MemoryError):
        return Failure("syntax", f"The code is nested too deeply to be compiled.\n{_NOTHING}")
    except (ValueError, UnicodeError) as error:
        return Failure("syntax", f"The code cannot be compiled: {error}.\n{_NOTHING}")
    return tree


def _held(tree: ast.Module, code: str, tools: Mapping[str, ToolSpec], *, payloads: int) -> Failure | None:
    bound = rebound(tree)
    unsafe = list(_first(forbidden(tree, tools, bound)))
    if unsafe:
        node, text = unsafe[0]
        return Failure("security", _report("SecurityError", [(node, text)], code), getattr(node, "lineno", None))
    wrong = list(_first(_wrong_calls(tree, tools, bound)))
    if wrong:
        return Failure("check", _report("TypeError", wrong, code), getattr(wrong[0][0], "lineno", None))
    return _payloads(tree, tools, bound, have=payloads)


def _first(found: Iterator[tuple[ast.AST, str]]) -> Iterator[tuple[ast.AST, str]]:
    return (pair for pair, _ in zip(found, range(_SHOWN), strict=False))


# ---------------------------------------------------------------- tool calls


def _wrong_calls(
    tree: ast.Module, tools: Mapping[str, ToolSpec], bound: Iterable[str]
) -> Iterator[tuple[ast.AST, str]]:
    shadowed = frozenset(bound)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = tool_called(node, tools, shadowed)
        if name is None:
            continue
        args, kwargs, open_ended = arguments(node)
        problems = faults(tools[name], args, kwargs, open_ended=open_ended)
        if problems:
            yield node, f"{name}() {'; '.join(problems)}. Signature: {tools[name].signature}"


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


# ---------------------------------------------------------------- payloads


def _payloads(
    tree: ast.Module, tools: Mapping[str, ToolSpec], bound: Iterable[str], *, have: int
) -> Failure | None:
    """Where code that certainly runs takes more payload blocks than there are, nothing may run."""
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
    shown = ", ".join(takers[:_SHOWN]) + (", ..." if len(takers) > _SHOWN else "")
    text = f"PayloadError: {shown} take {needed} payload blocks, but {have} follow the control block.\n{_NOTHING}"
    return Failure("check", text)


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


# ---------------------------------------------------------------- texts


def _syntax(error: SyntaxError, code: str) -> Failure:
    line, column = error.lineno or 1, max(error.offset or 1, 1)
    text = f"{type(error).__name__}: {error.msg} (line {line}, column {column})\n{_pointer(code, line, column)}"
    if "await" in str(error.msg) or "'async" in str(error.msg) or "asynchronous" in str(error.msg):
        text += f"\n{_AWAIT}"
    return Failure("syntax", f"{text}\n{_NOTHING}", line)


def _report(kind: str, found: list[tuple[ast.AST, str]], code: str) -> str:
    parts = []
    data = _LINE_END.split(code)
    for node, text in found:
        line = getattr(node, "lineno", 1)
        source = data[line - 1] if line <= len(data) else ""
        before = source.encode("utf-8", "replace")[: getattr(node, "col_offset", 0)]
        column = len(before.decode("utf-8", "ignore")) + 1
        parts.append(f"{kind} in line {line}: {text}\n{_pointer(code, line, column)}")
    return "\n".join([*parts, _NOTHING])


def _pointer(code: str, line: int, column: int) -> str:
    lines = _LINE_END.split(code)
    source = lines[line - 1] if 0 < line <= len(lines) else ""
    start = max(0, column - _LINE_CHARS // 2) if len(source) > _LINE_CHARS else 0
    shown = source[start : start + _LINE_CHARS].replace("\t", " ")
    return f"    {shown}\n    {' ' * (column - 1 - start)}^"
