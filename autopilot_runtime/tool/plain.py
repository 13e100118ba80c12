"""What a tool gave back, as plain data: a JSON-like value with a limit on its size, or an error that can be read."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.core.message import printable

MAX_NODES = 200_000
MAX_CHARS = 16_000_000
MAX_DEPTH = 60
_MAX_INT_BITS = 13_000  # beyond this, Python itself refuses to write an int in decimal


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A result whose text for the reader differs from its value for the code.

    `note` says in a few words how it went, where only that it was made is told: `completed, return_code 1`.
    `source` names what it is a look at (a command, a page); a `whole` look shows all that earlier ones have shown, so
    those may be left out of what the model is sent.
    """

    value: Any = None
    shown: str | None = None
    note: str = ""
    source: str = ""
    whole: bool = False


def plain(value: Any, *, nodes: int = MAX_NODES, chars: int = MAX_CHARS) -> Any:
    """The value as None, bool, int, float, str, list and dict. Too big, or of another kind: `ToolError`."""
    return _Budget(nodes, chars).convert(value, 0)


class _Budget:
    """Counts every node each time it is reached, so that a small object graph that unfolds hugely is stopped."""

    def __init__(self, nodes: int, chars: int) -> None:
        self.nodes = nodes
        self.chars = chars

    def convert(self, value: Any, depth: int) -> Any:
        self.nodes -= 1
        if self.nodes < 0 or depth > MAX_DEPTH:
            raise ToolError("The tool's result is too large or too deep to hand over; return less of it.")
        if value is None or value is True or value is False or type(value) is float:
            return value
        if isinstance(value, enum.Enum):
            return self.convert(value.value, depth + 1)
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int):
            if value.bit_length() > _MAX_INT_BITS:
                raise ToolError("The tool's result holds a number with more than 3,900 digits; return it as text.")
            return int(value)
        if isinstance(value, float):
            return float(value)
        return self.container(value, depth + 1)

    def text(self, value: str) -> str:
        self.chars -= len(value)
        if self.chars < 0:
            raise ToolError("The tool's result is too long to hand over; return less of it.")
        return printable(str(value))

    def container(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return {self.key(key): self.convert(item, depth) for key, item in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return self.container(value._asdict(), depth)
        if isinstance(value, list | tuple | Iterator):
            return [self.convert(item, depth) for item in value]
        if isinstance(value, set | frozenset):
            return [self.convert(item, depth) for item in _ordered(value)]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: self.convert(getattr(value, f.name), depth) for f in dataclasses.fields(value)}
        return self.convert(_simplify(value), depth)

    def key(self, key: Any) -> str:
        simple = self.convert(key, 0)
        if isinstance(simple, list | dict):
            raise ToolError("The tool's result has a dict key that is not text or a number.")
        return simple if isinstance(simple, str) else json.dumps(simple)


def _ordered(values: Iterable[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return list(values)


def _simplify(value: Any) -> Any:
    """One step towards plain data, for kinds that say how; the caller goes on from there."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if type(value).__module__ in ("uuid", "decimal", "fractions", "ipaddress"):
        return str(value)
    if not isinstance(value, type):
        if callable(getattr(value, "model_dump", None)):  # pydantic, without importing it
            return value.model_dump(mode="json")
        if callable(getattr(value, "tolist", None)):  # numpy arrays and scalars, likewise
            return value.tolist()
    raise ToolError(
        f"The tool returned a {type(value).__module__}.{type(value).__qualname__}, which cannot be handed over; "
        "return text, numbers, lists, dicts or a dataclass."
    )


def show(value: Any, *, limit: int = 64_000) -> str | None:
    """A plain value as text to read; None for None."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False)
        if len(text) > 120:
            text = json.dumps(value, ensure_ascii=False, indent=1)
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… ({len(text) - limit} characters left out) …\n{text[-half:]}"


def brief(value: Any, limit: int = 80, *, depth: int = 2) -> str:
    """A short spelling of any plain value; never walks a large one."""
    if isinstance(value, str):
        return repr(value[:limit]) + ("…" if len(value) > limit else "")
    if isinstance(value, int) and value.bit_length() > 400:
        return f"an int of {value.bit_length()} bits"
    if value is None or isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple | dict):
        return _brief_items(value, depth) or f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def _brief_items(value: list[Any] | tuple[Any, ...] | dict[Any, Any], depth: int) -> str:
    if depth == 0 or len(value) > 4:
        return ""
    if isinstance(value, dict):
        pairs = (f"{brief(key, 30, depth=0)}: {brief(part, 30, depth=depth - 1)}" for key, part in value.items())
        return "{" + ", ".join(pairs) + "}"
    inner = ", ".join(brief(part, 30, depth=depth - 1) for part in value)
    return f"[{inner}]" if isinstance(value, list) else f"({inner})"
