"""Small things Monty lacks, written in the words it has: the source is spliced, no line moves. Pure.

`next(x for ...)`, `key=str.lower`, `key=d.get`, `del d[k]`, `del x` and `sys.exit()` are what models write most.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_LINE_END = re.compile(rb"\r\n|\r|\n")
_TYPES = frozenset({"str", "bytes", "list", "tuple", "dict", "set", "frozenset", "int", "float"})
_OF_CLASS = frozenset({"fromkeys", "maketrans", "fromhex", "from_bytes"})

# Where, up to where, and what stands there instead.
_Edit = tuple[int, int, bytes]


def bridge(code: str, bound: set[str]) -> str:
    """The code with what can be said otherwise said otherwise. `bound`: names the block binds itself."""
    data = code.encode("utf-8", "surrogatepass")
    starts = [0, *(end.end() for end in _LINE_END.finditer(data))]
    edits: list[_Edit] = []
    for node in ast.walk(ast.parse(code)):
        edits += _edits(node, data, starts, bound)
    for begin, end, text in sorted(edits, reverse=True):
        data = data[:begin] + text + data[end:]
    return data.decode("utf-8", "surrogatepass")


def can_delete(node: ast.Delete) -> bool:
    """Whether this `del` can be said otherwise: one name, or one item of a list or dict."""
    match node.targets:
        case [ast.Name()]:
            return True
        case [ast.Subscript(slice=index)]:
            return not isinstance(index, (ast.Slice, ast.Tuple))
    return False


def _edits(node: ast.AST, data: bytes, starts: list[int], bound: set[str]) -> Iterator[_Edit]:
    match node:
        case ast.Call(func=ast.Name(id="next") as func, args=[ast.GeneratorExp() as pipe, *_]) if "next" not in bound:
            begin, end = _span(pipe, starts)
            own = data[_span(func, starts)[1] : begin].strip() != b""
            yield begin, begin, b"iter" if own else b"(iter"
            yield end, end, b"" if own else b")"
        case ast.Attribute(value=ast.Name(id="sys"), attr="exit") if _flat(node):
            begin, end = _span(node, starts)
            yield begin, end, b"exit"
        case ast.Attribute(value=ast.Name(id=name), attr=attr) if _is_method(name, attr, bound) and _flat(node):
            begin, end = _span(node, starts)
            yield begin, end, f"(lambda _o, *_a: _o.{attr}(*_a))".encode()
        case ast.keyword(arg="key", value=ast.Attribute(value=ast.Name(id=name)) as value) if name not in _TYPES:
            begin, end = _span(value, starts)
            yield begin, begin, b"lambda *_a: "
            yield end, end, b"(*_a)"
        case ast.Delete(targets=[target]) if can_delete(node):
            yield from _deleted(node, target, data, starts)


def _deleted(node: ast.Delete, target: ast.expr, data: bytes, starts: list[int]) -> Iterator[_Edit]:
    begin, end = _span(node, starts)
    if isinstance(target, ast.Name):
        yield begin, end, f"{target.id} = None".encode()
        return
    assert isinstance(target, ast.Subscript)
    first, last = _span(target.value, starts)
    index = _span(target.slice, starts)
    yield begin, first, b"_ = "
    yield last, index[0], b".pop(" + data[last : index[0]].replace(b"[", b"", 1)
    yield index[1], end, data[index[1] : end][::-1].replace(b"]", b")", 1)[::-1]


def _is_method(name: str, attr: str, bound: set[str]) -> bool:
    return name in _TYPES and name not in bound and attr not in _OF_CLASS and not attr.startswith("_")


def _flat(node: ast.expr) -> bool:
    return node.lineno == node.end_lineno


def _span(node: ast.expr | ast.stmt, starts: list[int]) -> tuple[int, int]:
    assert node.end_lineno is not None and node.end_col_offset is not None
    return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
