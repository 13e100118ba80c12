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
    bound: dict[str, Any] = {}
    problems: list[str] = []
    normal = [param for param in spec.params if param.kind == "normal"]
    rest = next((param for param in spec.params if param.kind == "var_positional"), None)
    bound.update(zip((param.name for param in normal), args, strict=False))
    extra = args[len(normal) :]
    if extra and rest is None:
        problems.append(f"takes at most {len(normal)} positional arguments, {len(args)} given")
    elif rest is not None and extra:
        bound[rest.name] = list(extra)
    named = {param.name for param in spec.params if param.kind in ("normal", "keyword")}
    free = any(param.kind == "var_keyword" for param in spec.params)
    for name, value in kwargs.items():
        if name in bound and name in named:
            problems.append(f"got {name!r} twice")
        elif name in named:
            bound[name] = value
        elif not free:
            problems.append(f"has no parameter {name!r}{did_you_mean(name, named)}")
    return bound, problems


def did_you_mean(name: str, known: Collection[str]) -> str:
    """`; did you mean 'path'?` or nothing."""
    near = difflib.get_close_matches(name[:80], list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a literal may stand where the schema is asked for. Lenient: doubt is a yes."""
    if value is UNKNOWN:
        return True
    for word in ("anyOf", "oneOf"):
        options = schema.get(word)
        if isinstance(options, list):
            return any(fits(value, option) for option in options)
    if "enum" in schema:
        return _contains(schema["enum"], value)
    if "const" in schema:
        return _contains([schema["const"]], value)
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, list):
        return True
    if not any(_is(value, str(name)) for name in names):
        return False
    items = schema.get("items")
    if isinstance(items, Mapping) and isinstance(value, (list, tuple, set, frozenset)):
        return all(fits(item, items) for item in value)
    return True


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
