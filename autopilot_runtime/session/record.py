"""What a session document is: pure functions between it and the JSON that is stored. Versioned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autopilot_runtime.core.errors import SessionError

VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One stored session. `revision` names this state of it, `previous` the state it was made from."""

    session_id: str
    agent_name: str
    created_at: float
    updated_at: float
    messages: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    revision: str = ""
    previous: str = ""
    version: int = VERSION
    parent: str | None = None  # the session this one is nested in


def encode(record: Record) -> bytes:
    """The document: its head on the first line, one message per line, the extra state at the end."""
    head = {
        "session_id": record.session_id,
        "agent_name": record.agent_name,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "version": VERSION,
        "revision": record.revision,
        "previous": record.previous,
        "count": len(record.messages),
        **family(record.parent),
    }
    lines = [to_json(message, what="message") for message in record.messages]
    parts = [to_json(head, what="head")[:-1], b',\n"messages": [']
    parts += [b"\n" + b",\n".join(lines) + b"\n"] if lines else []
    parts += [b'],\n"extra": ', to_json(record.extra, what="extra state"), b"}\n"]
    return b"".join(parts)


def decode(data: bytes, place: str) -> Record:
    """Read a document, also one of an older writer without version; `place` names it in errors."""
    value = from_json(data, place)
    if not isinstance(value, dict):
        raise damaged(place, 0, f"a session is a JSON object, this is {type(value).__name__}")
    version = value.get("version", 0)
    if not isinstance(version, int) or version > VERSION:
        raise SessionError(
            f"{place}: written by a newer release (session version {version!r}; this one reads up to {VERSION}). "
            "Nothing was changed. Upgrade autopilot-runtime to open it."
        )
    messages, extra = value.get("messages", []), value.get("extra") or {}
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise damaged(place, 0, "'messages' is not a list of objects")
    if not isinstance(extra, dict):
        raise damaged(place, 0, "'extra' is not an object")
    return Record(
        messages=messages,
        extra=extra,
        revision=str(value.get("revision", "")),
        previous=str(value.get("previous", "")),
        version=version,
        **_named(value),
        parent=family(value.get("parent")).get("parent"),
    )


def summary(record: Record, count: int | None = None) -> dict[str, Any]:
    """What lists show of a session: everything but messages and extra state; `messages` is their number."""
    return {
        "session_id": record.session_id,
        "agent_name": record.agent_name,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "messages": len(record.messages) if count is None else count,
        **family(record.parent),
    }


def head_summary(line: bytes) -> tuple[dict[str, Any], str] | None:
    """The summary and revision out of a document's first line; None when another writer laid it out differently."""
    try:
        value = json.loads(line.rstrip().rstrip(b",") + b"}")
    except ValueError:
        return None
    if not isinstance(value, dict) or value.get("version") != VERSION or not isinstance(value.get("count"), int):
        return None
    return {**_named(value), "messages": value["count"], **family(value.get("parent"))}, str(
        value.get("revision", "")
    )


def family(parent: Any) -> dict[str, str]:
    """What marks a nested session; nothing for one that stands by itself."""
    return {"parent": parent} if isinstance(parent, str) else {}


def merged(extra: Mapping[str, Any], new: Mapping[str, Any] | None) -> dict[str, Any]:
    """The extra state after an update: given keys replace, a None removes."""
    both = {**extra, **(new or {})}
    return {key: value for key, value in both.items() if value is not None}


def update(extra: dict[str, Any], new: Mapping[str, Any] | None) -> None:
    """The same in place: costs what is new, however much there is."""
    for key, value in (new or {}).items():
        if value is None:
            extra.pop(key, None)
        else:
            extra[key] = copied(value)


def copied(value: Any) -> Any:
    """A copy of JSON data that shares nothing which can be changed."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copied(item) for item in value]
    return value


def to_json(value: Any, *, what: str) -> bytes:
    """JSON as UTF-8; lone surrogates are kept as escapes. What JSON cannot hold is refused by name."""
    try:
        try:
            return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
        except UnicodeEncodeError:
            return json.dumps(value, allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise SessionError(f"The {what} cannot be stored in a session: {error}. Nothing was written.") from error


def from_json(data: bytes, place: str) -> Any:
    """Parse JSON, or say where it is broken."""
    try:
        text = data.decode("utf-8")
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise damaged(place, error.start, "not UTF-8") from error
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode("utf-8"))
        reason = f"{error.msg}, line {error.lineno} column {error.colno}" if data else "the file is empty"
        raise damaged(place, offset, reason) from error
    except (RecursionError, ValueError) as error:
        raise damaged(place, 0, str(error) or type(error).__name__) from error


def damaged(place: str, offset: int, reason: str) -> SessionError:
    """The error for a file that is not what it should be; nothing was changed."""
    return SessionError(
        f"{place}: damaged at byte {offset}: {reason}. The file was left as it is; repair it, "
        "or move it away to start this session fresh."
    )


def as_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages as plain dicts of their own."""
    return [dict(message) for message in messages]


def _named(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "session_id": str(value.get("session_id", "")),
        "agent_name": str(value.get("agent_name", "")),
        "created_at": _time(value.get("created_at")),
        "updated_at": _time(value.get("updated_at")),
    }


def _time(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
