"""From a Python function to the parameters of a tool: its annotations become JSON Schema."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import pathlib
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from autopilot_runtime.core.protocols import Param

_SIMPLE: dict[Any, str] = {
    str: "string", int: "integer", float: "number", bool: "boolean", bytes: "string", type(None): "null",
    list: "array", tuple: "array", set: "array", frozenset: "array", dict: "object",
}  # fmt: skip
ARRAYS = (list, set, frozenset, Sequence, Iterable)
UNIONS = (Union, types.UnionType)


def schema(annotation: Any, depth: int = 0) -> dict[str, Any]:
    """JSON Schema of an annotation. What it does not know is `{}`: anything goes, the function decides."""
    if annotation in (Any, inspect.Parameter.empty, object) or depth > 8:
        return {}
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return schema(args[0], depth)
    if origin is Literal:
        return {"enum": list(args)}
    if origin in UNIONS:
        return _union([schema(arg, depth + 1) for arg in args])
    return _named(annotation, depth) if origin is None else _container(origin, args, depth)


def _container(origin: Any, args: tuple[Any, ...], depth: int) -> dict[str, Any]:
    if origin is tuple:
        return _tuple(args, depth)
    if origin in ARRAYS:
        items = schema(args[0], depth + 1)
        return {"type": "array", "items": items} if items else {"type": "array"}
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        values = schema(args[1], depth + 1)
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    return {}


def _union(parts: list[dict[str, Any]]) -> dict[str, Any]:
    if {} in parts:
        return {}
    if all(set(part) == {"type"} for part in parts):
        return {"type": [part["type"] for part in parts]}
    return {"anyOf": parts}


def _tuple(args: tuple[Any, ...], depth: int) -> dict[str, Any]:
    if len(args) == 2 and args[1] is Ellipsis:
        return {"type": "array", "items": schema(args[0], depth + 1)}
    items = [schema(arg, depth + 1) for arg in args]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _named(annotation: Any, depth: int) -> dict[str, Any]:
    if annotation is None:
        return {"type": "null"}
    if annotation in _SIMPLE:
        return {"type": _SIMPLE[annotation]}
    if not inspect.isclass(annotation):
        return {}
    if issubclass(annotation, enum.Enum):
        return {"enum": [member.value for member in annotation]}
    if issubclass(annotation, pathlib.PurePath):
        return {"type": "string"}
    fields = fields_of(annotation)
    if fields is None:
        return {}
    required = [name for name, (_, needed) in fields.items() if needed]
    properties = {name: schema(hint, depth + 1) for name, (hint, _) in fields.items()}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def fields_of(annotation: type) -> dict[str, tuple[Any, bool]] | None:
    """Name → (annotation, required) of a dataclass or TypedDict; None for other classes."""
    if dataclasses.is_dataclass(annotation):
        hints = hints_of(annotation)
        missing = dataclasses.MISSING
        return {
            f.name: (hints.get(f.name, Any), f.default is missing and f.default_factory is missing)
            for f in dataclasses.fields(annotation)
            if f.init
        }
    if typing.is_typeddict(annotation):
        required: frozenset[str] = getattr(annotation, "__required_keys__", frozenset())
        return {name: (hint, name in required) for name, hint in hints_of(annotation).items()}
    return None


def hints_of(thing: Any) -> dict[str, Any]:
    """The annotations of a function or class, resolved where they can be; else as they are written."""
    try:
        return typing.get_type_hints(thing)
    except Exception:
        # A name that only the type checker knows, say. The tool still works; that parameter takes anything.
        return dict(getattr(thing, "__annotations__", {}))


_KINDS: dict[Any, Literal["normal", "keyword", "var_positional", "var_keyword"]] = {
    inspect.Parameter.POSITIONAL_ONLY: "normal",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "normal",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_POSITIONAL: "var_positional",
    inspect.Parameter.VAR_KEYWORD: "var_keyword",
}


def params_of(func: Callable[..., Any], *, hidden: Iterable[str] = ()) -> tuple[Param, ...]:
    """The parameters of a function as the model and the checker see them, without the `hidden` ones."""
    hints = hints_of(func)
    notes = _notes(inspect.getdoc(func) or "")
    empty = inspect.Parameter.empty
    found = []
    for name, parameter in inspect.signature(func).parameters.items():
        if name in hidden:
            continue
        hint = hints.get(name, parameter.annotation)
        shape = {} if isinstance(hint, str) else schema(hint)
        if name in notes:
            shape["description"] = notes[name]
        needed = parameter.default is empty and parameter.kind not in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        )
        default = None if parameter.default is empty else parameter.default
        found.append(Param(name, shape, needed, default, shown(hint), _KINDS[parameter.kind]))
    return tuple(found)


def shown(annotation: Any) -> str:
    """An annotation as one writes it."""
    if annotation is inspect.Parameter.empty:
        return ""
    if isinstance(annotation, str):
        return annotation
    if inspect.isclass(annotation) and not get_args(annotation):
        return annotation.__name__
    return re.sub(r"\b(?:typing|collections\.abc|builtins)\.", "", str(annotation))


_NOTE = re.compile(r"(?::param\s+(?P<a>\w+):|(?P<b>\w+)(?:\s*\([^)]*\))?:)\s+(?P<text>.+)")


def _notes(doc: str) -> dict[str, str]:
    """What a docstring says of single parameters, in an `Args:` section or `:param x:` lines."""
    notes: dict[str, str] = {}
    inside = False
    for line in doc.splitlines():
        if line.strip() in ("Args:", "Arguments:", "Parameters:"):
            inside = True
            continue
        if inside and line.strip() and not line.startswith((" ", "\t")):
            inside = False
        match = _NOTE.match(line.strip())
        if match and (inside or match["a"]):
            notes[match["a"] or match["b"]] = match["text"].strip()
    return notes
