"""What a step gave, as JSON that can be given back later: values, data, feedback, and how it was reached."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

_PLAIN = frozenset({bool, int, str})
_kept: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()
_seen: dict[str, type] = {}  # classes of this process: one that was made in a function cannot be imported


class Unpackable(Exception):
    """This value cannot be kept; whoever needs it again has to make it again."""


def pack(value: Any, depth: int = 0) -> Any:
    """The value in JSON's words. Raises `Unpackable` for what has none."""
    if value is None or type(value) in _PLAIN:
        return value
    if depth > 50:
        raise Unpackable("too deep")
    if type(value) is float:
        return value if math.isfinite(value) else {"$": "float", "v": repr(value)}
    if type(value) is bytes:
        return {"$": "bytes", "v": value.hex()}
    return _packed_many(value, depth)


def _packed_many(value: Any, depth: int) -> Any:
    if type(value) in (list, tuple):
        several = [pack(one, depth + 1) for one in value]
        return several if type(value) is list else {"$": "tuple", "v": several}
    if type(value) is dict:
        return _packed_dict(value, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _packed_data(value, depth)
    raise Unpackable(type(value).__name__)


def _packed_dict(value: dict[Any, Any], depth: int) -> Any:
    if any(type(key) is not str for key in value):
        raise Unpackable("a dict whose keys are no texts")
    plain = {key: pack(one, depth + 1) for key, one in value.items()}
    return {"$": "dict", "v": plain} if "$" in plain else plain


def _packed_data(value: Any, depth: int) -> Any:
    kind = type(value)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if _seen.setdefault(name, kind) is not kind:
        _seen[name] = kind  # it was defined again: the newest is meant
    names = _names(kind)
    state = getattr(value, "__dict__", None)
    if state is not None and any(key not in names and key != "grad_fn" for key in state):
        raise Unpackable(f"{kind.__name__} with more than its fields")
    return {"$": "data", "t": name, "v": {key: pack(getattr(value, key), depth + 1) for key in names}}


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
