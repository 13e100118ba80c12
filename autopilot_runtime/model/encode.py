"""Pieces of request bodies and of usage objects, shared by the wire formats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from autopilot_runtime.core.message import Message, printable
from autopilot_runtime.core.protocols import Usage


def dumps(value: Any) -> bytes:
    """Compact JSON bytes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def content(message: Message) -> bytes:
    """The content as a JSON string that every API takes: never empty, never a lone surrogate."""
    text = message.content
    if not text or text.isspace():
        return b'"(empty)"'
    try:
        return message.content_json
    except UnicodeEncodeError:
        return dumps(printable(text))


_OPEN = {"user": b'{"role":"user","content":', "assistant": b'{"role":"assistant","content":'}


def body(fields: dict[str, Any], name: str, messages: Sequence[Message], *, first: bytes = b"") -> bytes:
    """`{fields..., "name": [first turns]}` out of contents that were encoded before, copied once.

    The turns come last, so that a body begins with the body of the call before it.
    Neighbours of one role become one turn: many chat templates insist on alternating roles, the others do not mind.
    """
    pieces = [dumps(fields)[:-1], b',"', name.encode(), b'":[', first]
    add = pieces.append
    last = ""
    for message in messages:
        encoded = content(message)
        if message.role == last:
            pieces[-1] = pieces[-1][:-1]  # without its closing quote
            add(b"\\n\\n")
            add(encoded[1:])
            continue
        if last:
            add(b"},")
        last = message.role
        add(_OPEN[last])
        add(encoded)
    add(b"}]}" if last else b"]}")
    return b"".join(pieces)


def number(value: Any) -> int | None:
    """A token count as hosts send it, or None when it is not one."""
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 else None


def count(value: Any) -> int:
    """A token count, 0 when it is missing."""
    return number(value) or 0


def details(usage: dict[str, Any], name: str) -> dict[str, Any]:
    """A nested object of a usage, empty when it is missing or null."""
    value = usage.get(name)
    return value if isinstance(value, dict) else {}


def with_cost(usage: Usage, cost: Any) -> Usage:
    """The usage with the cost that the provider itself reported, if it did."""
    if isinstance(cost, (int, float)) and not isinstance(cost, bool) and cost >= 0:
        return replace(usage, cost_usd=float(cost), cost_source="provider")
    return usage
