"""Turn the schema's complaints into lines a person can act on: `agent.yaml:5:15 model.provider: what; fix`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from autopilot_runtime.runtime.agentatoms import PROVIDERS, closest
from autopilot_runtime.runtime.agentschema import AgentDocument
from autopilot_runtime.runtime.yamlmarks import Key, Mark, Marked

_FREE = ("output_schema", "extra_body")
_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "dict": "a section (`key: value` lines)",
    "model": "a section (`key: value` lines)",
}


def explain(error: ValidationError | None, name: str, marked: Marked) -> list[str]:
    """One line for each fault, in the order of the file."""
    found: dict[str, tuple[int, int]] = {}
    for fault in error.errors(include_url=False) if error else ():
        path, on_key = _path(fault, marked.data)
        mark = mark_of(marked.marks, path)
        missing = fault["type"] == "missing"
        place = (mark.key_line, mark.key_column) if on_key or missing else (mark.line, mark.column)
        found.setdefault(f"{at(name, place, path)}: {_what(fault, path, mark)}", place)
    for path in _empty(marked.data, ()):
        mark = mark_of(marked.marks, path)
        place = (mark.line, mark.column)
        if not {place, (mark.key_line, mark.key_column)} & set(found.values()):
            found[f"{at(name, place, path)}: {_wrong_type('a value', None)}"] = place
    return sorted(found, key=lambda text: found[text])


def _empty(data: Any, path: Key) -> Iterator[Key]:
    """Keys without a value. `max_cost_usd:` with nothing behind it must not mean "no limit"."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        if value is None:
            yield (*path, key)
        elif key not in _FREE and path[-1:] != ("config",):  # below these the user's own data begins
            yield from _empty(value, (*path, key))


def at(name: str, place: tuple[int, int], path: Key) -> str:
    """`agent.yaml:5:15 model.provider`, without the leading `agent.` that every key has."""
    shown = path[1:] if path[:1] == ("agent",) and len(path) > 1 else path
    dotted = ".".join(str(part)[:60] for part in shown)
    return f"{name}:{place[0]}:{place[1]}" + (f" {dotted}" if dotted else "")


def mark_of(marks: Mapping[Key, Mark], path: Key) -> Mark:
    """The mark of a path, or of the nearest thing around it that is in the file."""
    for size in range(len(path), -1, -1):
        if path[:size] in marks:
            return marks[path[:size]]
    return Mark(1, 1, 1, 1)


def _path(fault: Any, data: Any) -> tuple[Key, bool]:
    """The place in the file: the schema also names the branch of a union it took, which no reader knows."""
    path: list[str | int] = []
    loc: Sequence[str | int] = fault["loc"]
    for index, part in enumerate(loc):
        in_list = isinstance(data, list) and isinstance(part, int)
        if in_list or (isinstance(data, dict) and part in data):
            path.append(part)
            data = data[part]
        elif fault["type"] == "missing" and index == len(loc) - 1:
            path.append(part)
    extra_key = (fault.get("ctx") or {}).get("key")
    if extra_key:
        path.append(extra_key)
    on_key = bool(extra_key) or fault["type"] == "extra_forbidden" or "[key]" in loc
    return tuple(path), on_key


def _what(fault: Any, path: Key, mark: Mark) -> str:
    kind, context, value = fault["type"], fault.get("ctx") or {}, fault["input"]
    if kind == "said":
        return str(context["said"])
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "missing":
        return _missing(path, mark)
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        near = closest(str(value), known) if isinstance(value, str) else ""
        got = repr(value[:60]) if isinstance(value, str) else _shown(value)
        return f"{got} is not one of {', '.join(known)}{near}"
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        return f"expected {words} {context[key]:,}, got {_shown(value)}"
    if kind == "string_pattern_mismatch":
        return f"{_shown(value)}: expected a name of letters, digits and _ that begins with a letter"
    if kind == "string_too_long":
        return f"expected at most {context['max_length']} characters, got {len(value)}"
    wanted = _WANTED.get(kind.rsplit("_", 1)[0])
    return _wrong_type(wanted, value) if wanted else f"{fault['msg']}, got {_shown(value)}"


def _wrong_type(wanted: str, value: Any) -> str:
    if value is None:
        return f"expected {wanted}, but it is empty; give it a value or remove the key"
    fix = ""
    if wanted == "text" and isinstance(value, bool | int | float):
        fix = "; put quotes around it"
    elif wanted == "true or false" and isinstance(value, str):
        said = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
        word = said.get(value.lower())
        fix = f"; write {word}" if word else ""
    elif "number" in wanted and isinstance(value, str) and re.fullmatch(r"[\d_, ]+(\.\d+)?", value):
        fix = f"; write {re.sub('[_, ]', '', value)} without quotes, commas or underscores"
    elif wanted == "a list":
        fix = "; write `- ` before each item, or [a, b]"
    return f"expected {wanted}, got {_shown(value)}{fix}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"text {value[:60]!r}" if len(value) <= 60 else f"text {value[:57]!r}..."
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else f"{value}"[:60]


def _unknown(path: Key) -> str:
    key, parent = str(path[-1]), path[:-1]
    siblings = _keys_at(parent)
    homes = [home for home in _homes().get(key, []) if home != _place_name(parent)]
    if homes:
        return f"{key!r} does not belong here; it goes below `{homes[0]}:`"
    near = closest(key, siblings)
    if near:
        return f"unknown key{near}"
    return f"unknown key; known here: {', '.join(siblings)}"


def _missing(path: Key, mark: Mark) -> str:
    parent = _place_name(path[:-1])
    where = f" below `{parent}:` (line {mark.key_line})" if parent else " at the top of the file"
    hint = {"provider": "one of " + ", ".join(PROVIDERS), "name": "text"}.get(str(path[-1]), "")
    return f"missing; put `{path[-1]}:`{where}" + (f", {hint}" if hint else "")


def _place_name(path: Key) -> str:
    names = [str(part) for part in path if isinstance(part, str)]
    return ".".join(names[1:] if len(names) > 1 else names)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Every section class inside an annotation such as `list[A | B] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _keys_at(path: Key) -> list[str]:
    """The keys that are known at a place."""
    models: list[type[BaseModel]] = [AgentDocument]
    for part in path:
        if isinstance(part, int):
            continue
        inner = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        # A key of a map (`mcp_servers: {github: ...}`) is not a field: the section stays the same.
        models = [model for annotation in inner for model in _models_in(annotation)] or models
    return [key for model in models for key in model.model_fields]


@cache
def _homes() -> dict[str, list[str]]:
    """Where each key belongs, for keys that were put into the wrong section."""
    homes: dict[str, list[str]] = {}

    def walk(model: type[BaseModel], place: str) -> None:
        for key, field in model.model_fields.items():
            homes.setdefault(key, []).append(place)
            below = f"{place}.{key}" if place and place != "agent" else key
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                walk(inner, below)

    walk(AgentDocument, "")
    return homes
