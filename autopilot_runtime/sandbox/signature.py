"""A tool call held against the tool's signature: names, arity, literal types. Pure; before and while running."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from autopilot_runtime.core.protocols import Param, ToolSpec
from autopilot_runtime.sandbox.value import bounded_repr


class _Unknown:
    """An argument that is there, but whose value only running can tell."""

    def __repr__(self) -> str:
        return "..."


UNKNOWN = _Unknown()
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple, set, frozenset),
    "object": (dict,),
    "null": (type(None),),
}


def faults(
    spec: ToolSpec, args: Sequence[Any], kwargs: Mapping[str, Any], *, open_ended: bool = False, types: bool = True
) -> list[str]:
    """What is wrong with these arguments, one line each. `open_ended`: a `*x` or `**x` may bring more."""
    bound, problems = bind(spec, args, kwargs)
    if not open_ended:
        missing = [p.name for p in spec.params if _needed(p) and p.name not in bound]
        if missing:
            problems.append(f"misses {', '.join(repr(name) for name in missing)}")
    if types:
        params = {param.name: param for param in spec.params}
        problems += [text for name, value in bound.items() if (text := _mistyped(params[name], value))]
    return problems


def bind(spec: ToolSpec, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Arguments by parameter name, and what could not be placed."""
    problems: list[str] = []
    normal = [param.name for param in spec.params if param.kind == "normal"]
    bound: dict[str, Any] = dict(zip(normal, args, strict=False))
    extra = list(args[len(normal) :])
    rest = next((param.name for param in spec.params if param.kind == "var_positional"), None)
    if extra and rest is not None:
        bound[rest] = extra
    elif extra:
        problems.append(f"takes at most {len(normal)} positional arguments, {len(args)} given")
    named = {param.name for param in spec.params if param.kind in ("normal", "keyword")}
    free = any(param.kind == "var_keyword" for param in spec.params)
    for name, value in kwargs.items():
        if name not in named:
            problems += [] if free else [f"has no parameter {name[:80]!r}{did_you_mean(name, named)}"]
        elif name in bound:
            problems.append(f"got {name!r} twice")
        else:
            bound[name] = value
    return bound, problems


def did_you_mean(name: str, known: Collection[str]) -> str:
    """`; did you mean 'path'?` or nothing."""
    near = difflib.get_close_matches(name[:80], list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a literal may stand where the schema is asked for. Lenient: doubt is a yes."""
    if value is UNKNOWN:
        return True
    options = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(options, list):
        return any(fits(value, option) for option in options)
    if "enum" in schema or "const" in schema:
        return _contains(schema.get("enum") or [schema.get("const")], value)
    if not _is_one_of(value, schema.get("type")):
        return False
    items = schema.get("items")
    return not isinstance(items, Mapping) or _all_fit(value, items)


def _all_fit(value: Any, items: Mapping[str, Any]) -> bool:
    if not isinstance(value, (list, tuple, set, frozenset)):
        return True
    return all(fits(item, items) for item in value)


def _is_one_of(value: Any, wanted: Any) -> bool:
    names = [wanted] if isinstance(wanted, str) else wanted
    return not isinstance(names, list) or any(_is(value, str(name)) for name in names)


def _is(value: Any, name: str) -> bool:
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    kinds = _TYPES.get(name)
    return kinds is None or isinstance(value, kinds)


def _contains(options: Iterable[Any], value: Any) -> bool:
    return any(option == value and type(option) is type(value) for option in options)


def _mistyped(param: Param, value: Any) -> str | None:
    if value is None and (param.default is None and not param.required):
        return None
    many = param.kind == "var_positional" and param.schema.get("type") != "array"
    for item in value if many else [value]:
        if not fits(item, param.schema):
            wanted = param.shown or _wanted(param.schema)
            return f"wants {wanted} for {param.name!r}, not {bounded_repr(item, chars=60, nodes=20)}"
    return None


def _wanted(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(repr(option) for option in schema["enum"])
    return str(schema.get("type") or "another type")


def _needed(param: Param) -> bool:
    return param.required and param.kind in ("normal", "keyword")
