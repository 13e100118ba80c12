"""Find what is wrong with a control block before any of it runs: syntax, tool calls, payloads, forbidden things."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping

from autopilot_runtime.core.protocols import Failure, ToolSpec
from autopilot_runtime.sandbox.arguments import arguments, shortage
from autopilot_runtime.sandbox.display import rebound, tool_called
from autopilot_runtime.sandbox.forbidden import forbidden
from autopilot_runtime.sandbox.signature import faults

MAX_CODE = 1_000_000
_SHOWN = 5
_LINE_CHARS = 160
_LINE_END = re.compile(r"\r\n|\r|\n")
_AWAIT = "Tools are plain calls: write `x = read_file(...)`, without await."
_NOTHING = "Nothing of this block ran."


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
    short = shortage(tree, tools, bound, have=payloads)
    return Failure("check", f"{short}\n{_NOTHING}") if short else None


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
