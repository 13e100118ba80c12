"""How items, results and long texts are shown to an agent."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from autopilot_runtime.training.datum import Batch, Datum

_HIDDEN = ("grad_fn", "_named", "id")
_FENCE = re.compile(r"^\s*(`{3,})", re.MULTILINE)


def fenced(text: str, info: str = "") -> str:
    """The text between fences that nothing in it can close."""
    longest = max((len(found[1]) for found in _FENCE.finditer(text)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{info}\n{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{fence}"


def shortened(text: str, room: int, *, rest: str = "") -> str:
    """The text, or its beginning and its end with a note on what lies between."""
    if len(text) <= room:
        return text
    head, tail = text[: room * 2 // 3], text[len(text) - room // 3 :]
    return f"{head}\n… ({len(text) - len(head) - len(tail):,} characters left out{rest}) …\n{tail}"


def shown_item(value: Any) -> str:
    """An item or a result as text: texts as they are, all else as JSON, without what only the loop needs."""
    if isinstance(value, str):
        return value
    if isinstance(value, Batch) and len(value) == 1:
        return shown_item(value[0])
    return json.dumps(_plain(value), ensure_ascii=False, indent=2, default=repr)


def _says(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a field holds anything that was put there."""
    held = getattr(value, field.name)
    return field.name not in _HIDDEN and held not in ("", None, {}, []) and held != field.default


def _fields(value: Any) -> Any:
    """What it says, by field; of an item that says nothing but metadata, these."""
    said = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if _says(f, value)}
    fields = {key: _plain(one) for key, one in said.items()}
    return fields["metadata"] if fields.keys() == {"metadata"} else fields


def _plain(value: Any) -> Any:
    if isinstance(value, (Batch, list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Datum) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return _fields(value)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return value
