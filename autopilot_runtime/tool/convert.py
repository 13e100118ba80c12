"""From JSON-like arguments to what a tool's function asked for by its annotations."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import pathlib
import typing
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from autopilot_runtime.tool.bind import fault
from autopilot_runtime.tool.schema import ARRAYS, UNIONS, fields_of, schema


def convert(annotation: Any, value: Any) -> Any:
    """A JSON-like value as what the function asked for: tuples, sets, dataclasses, enums, paths, bytes."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return convert(args[0], value)
    if origin in UNIONS:
        fits = [arg for arg in args if fault(schema(arg), value) is None]
        return convert(fits[0], value) if fits else value
    if isinstance(value, list | tuple):
        return _convert_array(origin or annotation, args, value)
    if isinstance(value, dict):
        return _convert_object(annotation, args, value)
    return _convert_one(annotation, value) if inspect.isclass(annotation) else value


def _convert_one(kind: type, value: Any) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    if isinstance(value, str) and kind is bytes:
        return value.encode("utf-8")
    if isinstance(value, str) and issubclass(kind, pathlib.PurePath):
        return kind(value)
    return kind(value) if issubclass(kind, enum.Enum) else value


def _convert_array(kind: Any, args: tuple[Any, ...], value: Sequence[Any]) -> Any:
    if kind is tuple and args and not (len(args) == 2 and args[1] is Ellipsis):
        return tuple(convert(arg, item) for arg, item in zip(args, value, strict=False))
    items = [convert(args[0], item) for item in value] if args and kind in (tuple, *ARRAYS) else list(value)
    return kind(items) if kind in (tuple, set, frozenset) else items


def _convert_object(annotation: Any, args: tuple[Any, ...], value: dict[str, Any]) -> Any:
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        fields = fields_of(annotation) or {}
        return annotation(**{name: convert(fields[name][0], item) for name, item in value.items() if name in fields})
    if len(args) == 2:
        return {key: convert(args[1], item) for key, item in value.items()}
    return value
