"""What goes over the pipe between host and worker: length-prefixed JSON frames, and values JSON has no word for.

Runs on both sides; the standard library only. Each side takes the other's frames as hostile: sizes, depths and
node counts are bounded, and a frame that breaks the rules is a `WireError`.
"""

from __future__ import annotations

import json.encoder
import json.scanner
import math
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

MAX_FRAME = 32 * 1024 * 1024
MAX_NODES = 1_000_000
MAX_DEPTH = 100
HEAD = 4
_TAG = "$"
_SMALL_INT = 1 << 53


class WireError(Exception):
    """A value that cannot travel, or a frame that is not one."""


def _unknown(value: object) -> object:
    raise WireError(f"cannot send a {type(value).__name__}")


# The C halves of `json`, taken before any block runs: what a block patches in the module or in `builtins` is not
# on their way. (No circular check: `pack` has made a tree.)
_chunks: Any = getattr(json.encoder, "c_make_encoder")(  # noqa: B009  (typeshed does not know it)
    None, _unknown, json.encoder.encode_basestring, None, ":", ",", False, False, True
)
_scan: Any = getattr(json.scanner, "c_make_scanner")(json.JSONDecoder())  # noqa: B009


def to_frame(message: dict[str, Any]) -> bytes:
    """One frame: four bytes of length, then the message as JSON."""
    body = "".join(_chunks(message, 0)).encode("utf-8", "surrogatepass")
    if len(body) > MAX_FRAME:
        raise WireError(f"too large to send: {len(body)} bytes, at most {MAX_FRAME} fit")
    return len(body).to_bytes(HEAD, "big") + body


def from_body(body: bytes) -> dict[str, Any]:
    """The message of one frame's body."""
    try:
        text = body.decode("utf-8", "surrogatepass")
        message, end = _scan(text, 0)
    except (ValueError, RecursionError, MemoryError, StopIteration) as error:
        raise WireError(f"not a frame: {type(error).__name__}") from None
    if not isinstance(message, dict) or end != len(text):
        raise WireError("not a frame: no object")
    return message


def pack(value: Any) -> Any:
    """The value as plain JSON data with tags. Shared parts are written out, so their number is bounded."""
    return _pack(value, 0, [MAX_NODES])


def _pack(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise WireError(f"too large to send: more than {MAX_NODES} parts")
    if depth > MAX_DEPTH:
        raise WireError(f"nested too deeply to send: more than {MAX_DEPTH} levels")
    packer = _PACKERS.get(type(value))
    if packer is None:
        # A subclass travels as what it is one of; a bool is an int, so the order of the table matters.
        packer = next((pack for kind, pack in _PACKERS.items() if isinstance(value, kind)), _refuse)
    return packer(value, depth, left)


def _refuse(value: Any, depth: int, left: list[int]) -> Any:
    name = type(value).__name__[:100]
    raise WireError(f"cannot send a {name}: send text, numbers, bytes, lists, tuples, sets or dicts")


def _as_is(value: Any, depth: int, left: list[int]) -> Any:
    return value


def _text(value: Any, depth: int, left: list[int]) -> Any:
    return value if type(value) is str else str.__str__(value)


def _int(value: Any, depth: int, left: list[int]) -> Any:
    number = int(value)
    return number if -_SMALL_INT < number < _SMALL_INT else {_TAG: "int", "v": hex(number)}


def _float(value: Any, depth: int, left: list[int]) -> Any:
    return float(value) if math.isfinite(value) else {_TAG: "float", "v": repr(float(value))}


def _list(value: Any, depth: int, left: list[int]) -> Any:
    return [_pack(item, depth + 1, left) for item in value]


def _tuple(value: Any, depth: int, left: list[int]) -> Any:
    return {_TAG: "tuple", "v": _list(value, depth, left)}


def _set(value: Any, depth: int, left: list[int]) -> Any:
    return {_TAG: "set", "v": _list(value, depth, left)}


def _bytes(value: Any, depth: int, left: list[int]) -> Any:
    return {_TAG: "bytes", "v": bytes(value).decode("latin-1")}


def _path(value: Any, depth: int, left: list[int]) -> Any:
    return str(value)


def _dict(value: Any, depth: int, left: list[int]) -> Any:
    if all(type(key) is str for key in value) and _TAG not in value:
        return {key: _pack(item, depth + 1, left) for key, item in value.items()}
    pairs = [[_pack(key, depth + 1, left), _pack(item, depth + 1, left)] for key, item in value.items()]
    return {_TAG: "dict", "v": pairs}


_PACKERS: dict[type, Callable[[Any, int, list[int]], Any]] = {
    type(None): _as_is,
    bool: _as_is,
    str: _text,
    int: _int,
    float: _float,
    list: _list,
    dict: _dict,
    tuple: _tuple,
    set: _set,
    frozenset: _set,
    bytes: _bytes,
    bytearray: _bytes,
    memoryview: _bytes,
    PurePath: _path,
}


def unpack(data: Any) -> Any:
    """The value that `pack` wrote; anything else is a WireError."""
    try:
        return _unpack(data, 0)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, MemoryError) as error:
        raise WireError(f"not a value: {type(error).__name__}") from None


def _unpack(data: Any, depth: int) -> Any:
    if depth > 2 * MAX_DEPTH + 2:
        raise WireError("not a value: too deep")
    if isinstance(data, list):
        return [_unpack(item, depth + 1) for item in data]
    if not isinstance(data, dict):
        return data
    if _TAG not in data:
        return {key: _unpack(item, depth + 1) for key, item in data.items()}
    return _UNPACKERS[data[_TAG]](data["v"], depth)


_UNPACKERS: dict[str, Callable[[Any, int], Any]] = {
    "int": lambda inner, depth: int(inner, 16),
    "float": lambda inner, depth: float(inner),
    "bytes": lambda inner, depth: inner.encode("latin-1"),
    "tuple": lambda inner, depth: tuple(_unpack(item, depth + 1) for item in inner),
    "set": lambda inner, depth: {_unpack(item, depth + 1) for item in inner},
    "dict": lambda inner, depth: {_unpack(key, depth + 1): _unpack(item, depth + 1) for key, item in inner},
}
