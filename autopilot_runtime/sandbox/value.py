"""Show a value without trusting it: a bounded `repr` that never expands what aliasing made small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_MORE = "..."
_DEPTH = 50
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def bounded_repr(value: Any, *, chars: int = 4_000, nodes: int = 2_000) -> str:
    """`repr(value)` cut to about `chars` characters and `nodes` parts; built-in types cost no more than that."""
    writer = _Writer(chars, nodes)
    try:
        writer.write(value, 0)
    except _Full:
        return "".join(writer.parts)[:chars] + _MORE
    except Exception as error:  # a hostile or broken __repr__
        return f"<{type(value).__name__} whose repr failed: {type(error).__name__}>"
    return "".join(writer.parts)


class _Full(Exception):
    """The budget is spent."""


class _Writer:
    """Pieces of the text so far, and what may still be spent."""

    def __init__(self, chars: int, nodes: int) -> None:
        self.parts: list[str] = []
        self.chars = chars
        self.nodes = nodes

    def put(self, text: str) -> None:
        self.parts.append(text)
        self.chars -= len(text)
        if self.chars < 0:
            raise _Full

    def write(self, value: Any, depth: int) -> None:
        self.nodes -= 1
        if self.nodes < 0:
            raise _Full
        kind = type(value)
        if depth > _DEPTH:
            self.put(_MORE)
        elif kind in (str, bytes, bytearray):
            self._sliced(value)
        elif kind is int:
            self.put(repr(value) if value.bit_length() < 10_000 else f"<int of {value.bit_length()} bits>")
        elif kind is dict:
            self._pairs(value, depth)
        elif kind in _BRACKETS and (value or kind in (list, tuple)):
            begin, end = _BRACKETS[kind]
            self._items(begin, value, ",)" if kind is tuple and len(value) == 1 else end, depth)
        else:
            self.put(repr(value))

    def _sliced(self, value: Any) -> None:
        room = max(self.chars, 0)
        self.put(repr(value[: room + 1]))
        if len(value) > room + 1:
            raise _Full

    def _items(self, begin: str, items: Iterable[Any], end: str, depth: int) -> None:
        self.put(begin)
        for index, item in enumerate(items):
            if index:
                self.put(", ")
            self.write(item, depth + 1)
        self.put(end)

    def _pairs(self, value: dict[Any, Any], depth: int) -> None:
        self.put("{")
        for index, (key, item) in enumerate(value.items()):
            if index:
                self.put(", ")
            self.write(key, depth + 1)
            self.put(": ")
            self.write(item, depth + 1)
        self.put("}")
