"""Puts the arguments of a call to a tool's parameters, as Python would, and checks their types. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from autopilot_runtime.core.protocols import Param, ToolSpec
from autopilot_runtime.tool.plain import brief

_MAX_CHECKED = 50_000


def bind(spec: ToolSpec, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter with its argument or default. What cannot be bound is a `TypeError` with the signature."""
    try:
        bound = _assign(spec.params, args, kwargs)
        for param in spec.params:
            bound[param.name] = _checked(param, bound[param.name])
    except _Misfit as misfit:
        raise TypeError(f"{spec.name}(): {misfit}. The signature is {spec.signature}") from None
    return bound


class _Misfit(Exception):
    """Why the arguments do not fit; becomes the middle of the `TypeError`."""


def _assign(params: Sequence[Param], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    bound = _by_position(params, args)
    extra = _by_name(params, kwargs, bound)
    more = next((p for p in params if p.kind == "var_keyword"), None)
    if more is not None:
        bound[more.name] = extra
    missing = [p.name for p in params if p.name not in bound and p.required]
    if missing:
        raise _Misfit(f"misses {', '.join(map(repr, missing))}")
    return {p.name: bound.get(p.name, p.default) for p in params}


def _by_position(params: Sequence[Param], args: Sequence[Any]) -> dict[str, Any]:
    positional = [p for p in params if p.kind == "normal"]
    rest = next((p for p in params if p.kind == "var_positional"), None)
    if len(args) > len(positional) and rest is None:
        raise _Misfit(f"takes at most {len(positional)} positional arguments, got {len(args)}")
    bound: dict[str, Any] = dict(zip((p.name for p in positional), args, strict=False))
    if rest is not None:
        bound[rest.name] = list(args[len(positional) :])
    return bound


def _by_name(params: Sequence[Param], kwargs: Mapping[str, Any], bound: dict[str, Any]) -> dict[str, Any]:
    """Put named arguments into `bound`; what is left is for a `**` parameter, or an error."""
    named = {p.name for p in params if p.kind in ("normal", "keyword")}
    twice = next((name for name in kwargs if name in named and name in bound), None)
    if twice is not None:
        raise _Misfit(f"got two values for {twice!r}")
    bound |= {name: value for name, value in kwargs.items() if name in named}
    extra = {name: value for name, value in kwargs.items() if name not in named}
    if extra and all(p.kind != "var_keyword" for p in params):
        name = next(iter(extra))
        raise _Misfit(f"has no parameter {brief(name, 60)}{_near(name, named)}")
    return extra


def _near(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name[:60], sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _checked(param: Param, value: Any) -> Any:
    if value is param.default and not param.required:
        return value  # `x: int = None` is common, and the default is the author's own business
    many = {"var_positional": {"type": "array", "items": param.schema}}
    many["var_keyword"] = {"type": "object", "additionalProperties": param.schema}
    found = fault(many.get(param.kind, param.schema), value)
    if found:
        raise _Misfit(f"{param.name}{found}")
    if param.schema.get("type") == "integer" and isinstance(value, float):
        return int(value)
    return value


def fault(schema: Mapping[str, Any], value: Any) -> str | None:
    """What is wrong with `value` (`[2].name must be text, got 3`), or None. Looks at a bounded number of items."""
    return _Checker().check(schema, value, "")


_WORDS = {
    "string": "text", "integer": "a whole number", "number": "a number", "boolean": "True or False",
    "array": "a list", "object": "a dict", "null": "None",
}  # fmt: skip
_PYTHON: dict[str, type | tuple[type, ...]] = {
    "string": str, "number": (int, float), "boolean": bool, "array": (list, tuple), "object": dict,
    "null": type(None),
}  # fmt: skip


class _Checker:
    def __init__(self) -> None:
        self.left = _MAX_CHECKED

    def check(self, schema: Mapping[str, Any], value: Any, where: str) -> str | None:
        self.left -= 1
        if self.left < 0 or not schema:
            return None
        if not self.fits(schema, value, where):
            return f"{where} must be {_described(schema)}, got {brief(value)}{_near_choice(schema, value)}"
        if isinstance(value, list | tuple):
            return self.check_items(schema, value, where)
        return self.check_fields(schema, value, where) if isinstance(value, dict) else None

    def fits(self, schema: Mapping[str, Any], value: Any, where: str) -> bool:
        """Whether the value as such is of the kind, without a look at what is in it."""
        if "anyOf" in schema:
            return any(self.check(one, value, where) is None for one in schema["anyOf"])
        if "enum" in schema:
            return any(type(value) is type(one) and value == one for one in schema["enum"])
        kinds = schema.get("type")
        several = [kinds] if isinstance(kinds, str) else kinds
        return several is None or any(_is_a(kind, value) for kind in several)

    def check_items(self, schema: Mapping[str, Any], value: Sequence[Any], where: str) -> str | None:
        fewest, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
        if not fewest <= len(value) <= most:
            wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            return f"{where} must have {wanted} items, got {brief(value)}"
        prefix = schema.get("prefixItems", ())
        for index, item in enumerate(value):
            one = prefix[index] if index < len(prefix) else schema.get("items")
            if one and (found := self.check(one, item, f"{where}[{index}]")):
                return found
        return None

    def check_fields(self, schema: Mapping[str, Any], value: Mapping[Any, Any], where: str) -> str | None:
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        missing = [name for name in schema.get("required", ()) if name not in value]
        if missing:
            return f"{where} misses {', '.join(map(repr, missing))}"
        for name, item in value.items():
            if name not in properties and others is False:
                return f"{where} has an unknown key {brief(name)}{_near(str(name), set(properties))}"
            one = properties.get(name, others)
            if isinstance(one, Mapping) and (found := self.check(one, item, f"{where}[{brief(name, 40)}]")):
                return found
        return None


def _is_a(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"  # which Python counts among the ints
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, _PYTHON.get(kind, object))


def _described(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(brief(one) for one in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_described(one) for one in schema["anyOf"])
    kinds = schema.get("type", "anything")
    return " or ".join(_WORDS.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _near_choice(schema: Mapping[str, Any], value: Any) -> str:
    words = {one for one in schema.get("enum", ()) if isinstance(one, str)}
    return _near(value, words) if isinstance(value, str) else ""
