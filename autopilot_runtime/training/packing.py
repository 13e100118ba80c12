"""What a step gave, as JSON that can be given back later: values, data, feedback, and how it was reached."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

_PLAIN = frozenset({bool, int, str})
_kept: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()
_seen: dict[str, type] = {}  # classes of this process: one that was made in a function cannot be imported


class Unpackable(Exception):
    """This value cannot be kept; whoever needs it again has to make it again."""


def pack(value: Any, depth: int = 0) -> Any:
    """The value in JSON's words. Raises `Unpackable` for what has none."""
    kind = type(value)
    if value is None or kind in _PLAIN:
        return value
    if depth > 50:
        raise Unpackable("too deep")
    make = _MAKERS.get(kind)
    if make is not None:
        return make(value, depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _packed_data(value, depth + 1)
    raise Unpackable(kind.__name__)


def _packed_float(value: float, _: int) -> Any:
    return value if math.isfinite(value) else {"$": "float", "v": repr(value)}


def _packed_bytes(value: bytes, _: int) -> Any:
    return {"$": "bytes", "v": value.hex()}


def _packed_list(value: list[Any], depth: int) -> Any:
    return [pack(one, depth) for one in value]


def _packed_tuple(value: tuple[Any, ...], depth: int) -> Any:
    return {"$": "tuple", "v": [pack(one, depth) for one in value]}


def _packed_dict(value: dict[Any, Any], depth: int) -> Any:
    if not value:
        return {}
    if any(type(key) is not str for key in value):
        raise Unpackable("a dict whose keys are no texts")
    plain = {key: pack(one, depth) for key, one in value.items()}
    return {"$": "dict", "v": plain} if "$" in plain else plain


_MAKERS: dict[type, Callable[[Any, int], Any]] = {
    float: _packed_float,
    bytes: _packed_bytes,
    list: _packed_list,
    tuple: _packed_tuple,
    dict: _packed_dict,
}


def _packed_data(value: Any, depth: int) -> Any:
    kind = type(value)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if _seen.setdefault(name, kind) is not kind:
        _seen[name] = kind  # it was defined again: the newest is meant
    names = _names(kind)
    state = getattr(value, "__dict__", None)
    if state is not None and len(state) - ("grad_fn" in state) > len(names):
        raise Unpackable(f"{kind.__name__} with more than its fields")
    # Most fields are plain: without a call for each of them this takes half the time.
    found = {}
    for key in names:
        one = getattr(value, key)
        found[key] = one if one is None or type(one) in _PLAIN else pack(one, depth)
    return {"$": "data", "t": name, "v": found}


def _names(kind: type) -> tuple[str, ...]:
    """The fields of a dataclass that are kept."""
    found = _kept.get(kind)
    if found is None:
        found = _kept[kind] = tuple(field.name for field in dataclasses.fields(kind) if field.name != "grad_fn")
    return found


def unpack(plain: Any) -> Any:
    """The value that `pack` was given. Raises `Unpackable` when its class is no more."""
    if isinstance(plain, list):
        return [unpack(one) for one in plain]
    if not isinstance(plain, dict):
        return plain
    kind = plain.get("$")
    if kind is None:
        return {key: unpack(one) for key, one in plain.items()}
    if kind == "float":
        return float(plain["v"])
    if kind == "tuple":
        return tuple(unpack(one) for one in plain["v"])
    if kind == "bytes":
        return bytes.fromhex(plain["v"])
    if kind == "dict":
        return {key: unpack(one) for key, one in plain["v"].items()}
    return _data(plain["t"], plain["v"])


def _data(name: str, fields: Mapping[str, Any]) -> Any:
    kind = _seen.get(name) or _imported(name)
    known = {field.name for field in dataclasses.fields(kind)}
    if not fields.keys() <= known:
        raise Unpackable(f"{name} has other fields now")
    value = object.__new__(kind)
    for field in dataclasses.fields(kind):
        if field.name in fields:
            object.__setattr__(value, field.name, unpack(fields[field.name]))
        elif field.name == "grad_fn":
            object.__setattr__(value, "grad_fn", None)
        else:
            raise Unpackable(f"{name} has other fields now")
    return value


def _imported(name: str) -> Any:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise Unpackable(f"{name} is no more") from error
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise Unpackable(f"{name} is no dataclass")
    return found
