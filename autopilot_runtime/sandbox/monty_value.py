"""Values on their way to and from the Monty interpreter: plain, copied, and bounded however much they share.

What a block sends may be tiny and yet expand to terabytes (one list referred to a million times): nothing here,
and nothing behind it, walks more than a fixed number of parts, characters and levels.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from autopilot_runtime.core.message import printable
from autopilot_runtime.sandbox.value import bounded_repr
from autopilot_runtime.sandbox.wire import MAX_DEPTH, MAX_FRAME, MAX_NODES, WireError

_SENDABLE = "text, numbers, bytes, lists, tuples, sets, dicts and None can"
_SHOWN_CHARS = 20_000
_SHOWN_NODES = 2_000
_SHOWN_DEPTH = 50
_SCALARS = (bool, int, float, type(None))


class _Budget:
    """What one value may still cost."""

    def __init__(self) -> None:
        self.nodes, self.chars = MAX_NODES, MAX_FRAME

    def spend(self, chars: int = 0) -> None:
        self.nodes -= 1
        self.chars -= chars
        if self.nodes < 0:
            raise WireError(f"too large to send: more than {MAX_NODES} parts")
        if self.chars < 0:
            raise WireError(f"too large to send: more than {MAX_FRAME} characters")


def plain(value: Any) -> Any:
    """A copy of built-in types only, without shared parts and lone surrogates. Raises WireError."""
    return _plain(value, 0, _Budget())


def _plain(value: Any, depth: int, budget: _Budget) -> Any:
    if depth > MAX_DEPTH:
        raise WireError(f"nested too deeply to send: more than {MAX_DEPTH} levels")
    if isinstance(value, str):
        budget.spend(len(value))
        return printable(value if type(value) is str else str.__str__(value))
    budget.spend()
    if type(value) in _SCALARS:
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        budget.spend(len(value))
        return bytes(value)
    if isinstance(value, dict):
        return {_plain(key, depth + 1, budget): _plain(item, depth + 1, budget) for key, item in value.items()}
    for kind in (list, tuple, frozenset, set):
        if isinstance(value, kind):
            return kind([_plain(item, depth + 1, budget) for item in value])
    return _other(value)


def _other(value: Any) -> Any:
    """Subclasses of plain types (an IntEnum, say) and paths, as what they stand for."""
    if isinstance(value, PurePath):
        return printable(str(value))
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    raise WireError(f"cannot send a {kind_of(value)}: {_SENDABLE}")


def kind_of(value: Any) -> str:
    """The type of a value as the block's author knows it."""
    name = getattr(value, "name", None)
    return name[:80] if type(value).__name__ == "MontyClassProxy" and isinstance(name, str) else type(value).__name__


def shown(value: Any) -> str:
    """How the value of a last expression is shown: its repr, bounded."""
    return bounded_repr(_showable(value, 0, [_SHOWN_NODES]), chars=_SHOWN_CHARS, nodes=_SHOWN_NODES)


class _Words:
    """A text that shows without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _showable(value: Any, depth: int, left: list[int]) -> Any:
    """The value with an object of the block's own classes as words: its stand-in has an unbounded repr."""
    left[0] -= 1
    if left[0] < 0 or depth > _SHOWN_DEPTH:
        return _Words("...")
    if type(value) in (list, tuple, set, frozenset):
        parts = []
        for item in value:
            parts.append(_showable(item, depth + 1, left))
            if left[0] < 0:
                break
        return type(value)(parts)
    if type(value) is dict:
        pairs = {}
        for key, item in value.items():
            pairs[_showable(key, depth + 1, left)] = _showable(item, depth + 1, left)
            if left[0] < 0:
                break
        return pairs
    if type(value) in (str, bytes, *_SCALARS):
        return value
    if type(value).__name__ == "MontyClassProxy":
        return _Words(f"<{kind_of(value)} object>")
    return (
        _Words(bounded_repr(value, chars=200))
        if type(value).__module__ != "pydantic_monty"
        else _Words(str(value)[:200])
    )
