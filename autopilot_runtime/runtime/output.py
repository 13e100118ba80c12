"""The final answer as data: JSON out of the completion text, checked against the agent file's `output_schema`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_FENCE = re.compile(r"\A\s*```[a-z]*\n(.*?)\n```\s*\Z", re.DOTALL)
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_MOST_FAULTS = 8


def read_output(text: str, schema: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """The JSON value of a completion text and what is wrong with it (an empty list when it fits)."""
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced.group(1) if fenced else text)
    except ValueError as error:
        return None, [f"the completion must be one JSON value and nothing else ({error})"]
    faults = [fault for _, fault in zip(range(_MOST_FAULTS), check(value, schema), strict=False)]
    return value, faults


def check(value: Any, schema: Mapping[str, Any], where: str = "$") -> Iterator[str]:
    """Every place where `value` does not fit a JSON Schema."""
    kinds = schema.get("type")
    if kinds is not None and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        yield f"{where}: expected {kinds}, got {_kind(value)}"
        return
    yield from _chosen(value, schema, where)
    yield from _combined(value, schema, where)
    if isinstance(value, dict):
        yield from _object(value, schema, where)
    elif isinstance(value, list):
        yield from _array(value, schema, where)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield from _scalar(value, schema, where)


def _chosen(value: Any, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: must be one of {json.dumps(schema['enum'])}"
    if "const" in schema and value != schema["const"]:
        yield f"{where}: must be {json.dumps(schema['const'])}"


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, (object,)))


def _kind(value: Any) -> str:
    return next(name for name in ("boolean", *_TYPES) if _is(value, name))


def _combined(value: Any, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    for part in schema.get("allOf", ()):
        yield from check(value, part, where)
    for key, enough, words in _COMBINED:
        if key in schema and not enough(sum(not any(check(value, part, where)) for part in schema[key])):
            yield f"{where}: fits not {words} of the {key} forms"


def _object(value: dict[str, Any], schema: Mapping[str, Any], where: str) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{where}: {name!r} is missing"
    for name, item in value.items():
        more = schema.get("additionalProperties", True)
        if name in known:
            yield from check(item, known[name], f"{where}.{name}")
        elif more is False:
            yield f"{where}: {name!r} is not expected"
        elif isinstance(more, Mapping):
            yield from check(item, more, f"{where}.{name}")


def _array(value: list[Any], schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if len(value) < schema.get("minItems", 0) or len(value) > schema.get("maxItems", len(value)):
        yield f"{where}: has {len(value)} items"
    if isinstance(schema.get("items"), Mapping):
        for index, item in enumerate(value):
            yield from check(item, schema["items"], f"{where}[{index}]")


Holds = Callable[[Any, Any], bool]
_COMBINED: tuple[tuple[str, Callable[[int], bool], str], ...] = (
    ("anyOf", lambda fits: fits >= 1, "any"),
    ("oneOf", lambda fits: fits == 1, "exactly one"),
)
_BOUNDS: tuple[tuple[str, Holds, str], ...] = (
    ("minimum", lambda v, b: v >= b, "at least"),
    ("maximum", lambda v, b: v <= b, "at most"),
    ("exclusiveMinimum", lambda v, b: v > b, "more than"),
    ("exclusiveMaximum", lambda v, b: v < b, "less than"),
)


def _scalar(value: str | float, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0) or len(value) > schema.get("maxLength", len(value)):
            yield f"{where}: has {len(value)} characters"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where}: does not match {schema['pattern']!r}"
        return
    for key, holds, words in _BOUNDS:
        if key in schema and not holds(value, schema[key]):
            yield f"{where}: must be {words} {schema[key]}"
