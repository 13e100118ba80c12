"""Reading sessions in a database: plain functions of a connection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, select

from autopilot_runtime.session.record import from_json, to_json
from autopilot_runtime.session.sqlschema import EXTRA, MESSAGES, SESSIONS

_CHUNK = 1_000


@dataclass(slots=True)
class Known:
    """The state of a session as its store knows it. `number` is None while there is no row."""

    number: int | None = None
    revision: str = ""
    count: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


def digest(text: str) -> str:
    """Any string as a key that no collation, encoding or length limit can confuse with another's."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def ascii_json(value: Any, *, what: str) -> str:
    """JSON that every server keeps as it is: ASCII, what JSON cannot hold is refused by name."""
    data = to_json(value, what=what)
    return data.decode("ascii") if data.isascii() else json.dumps(value)


_HEAD = select(SESSIONS).where(SESSIONS.c.id == bindparam("id"))
_BODIES = (
    select(MESSAGES.c.body)
    .where(MESSAGES.c.session == bindparam("number"))
    .order_by(MESSAGES.c.seq)
    .execution_options(stream_results=True, yield_per=_CHUNK)
)
_EXTRA = select(EXTRA.c.name, EXTRA.c.value).where(EXTRA.c.session == bindparam("number"))


def head(connection: Connection, key: str) -> RowMapping | None:
    """The row of a session."""
    return connection.execute(_HEAD, {"id": key}).mappings().first()


def bodies(connection: Connection, number: int) -> Generator[str]:
    """The stored messages as text, in order. Close it when not all are read."""
    for part in _parts(connection, number):
        yield from part


def _parts(connection: Connection, number: int) -> Generator[Sequence[str]]:
    with connection.execute(_BODIES, {"number": number}) as result:
        yield from result.scalars().partitions()


def whole(connection: Connection, key: str, place: str) -> tuple[RowMapping | None, Known, list[dict[str, Any]]]:
    """Row, state and messages of one moment."""
    row = head(connection, key)
    if row is None:
        return None, Known(), []
    number = row["number"]
    at = f"{place}, session number {number}"
    messages = [
        from_json(body.encode(), f"{at}, message {seq}") for seq, body in enumerate(bodies(connection, number))
    ]
    return row, _known(connection, row, at), messages


def state(connection: Connection, key: str, place: str) -> tuple[RowMapping | None, Known]:
    """Row and state, without the messages."""
    row = head(connection, key)
    return row, Known() if row is None else _known(connection, row, f"{place}, session number {row['number']}")


def _known(connection: Connection, row: RowMapping, place: str) -> Known:
    pairs = connection.execute(_EXTRA, {"number": row["number"]}).all()
    extra = {json.loads(name): from_json(value.encode(), f"{place}, extra {name}") for name, value in pairs}
    return Known(row["number"], row["revision"], row["messages"], extra)


def summary(row: RowMapping) -> dict[str, Any]:
    """What lists show of a session, as file sessions do."""
    found = {
        "session_id": json.loads(row["session_id"]),
        "agent_name": json.loads(row["agent_name"]),
        "created_at": row["created"],
        "updated_at": row["updated"],
        "messages": row["messages"],
    }
    return found if row["parent"] is None else {**found, "parent": json.loads(row["parent_id"])}


def listed(connection: Connection, *, nested: bool) -> list[dict[str, Any]]:
    """The summary of every session, newest first."""
    rows = select(SESSIONS).where(SESSIONS.c.created.is_not(None))
    if not nested:
        rows = rows.where(SESSIONS.c.parent.is_(None))
    found = [summary(row) for row in connection.execute(rows).mappings()]
    return sorted(found, key=lambda one: (-one["updated_at"], one["session_id"]))


def family(connection: Connection, key: str) -> list[RowMapping]:
    """A session's row and those of all that are nested in it, at any depth."""
    own = head(connection, key)
    found = [own] if own is not None else []
    level = [key]
    while level:
        rows = connection.execute(select(SESSIONS).where(SESSIONS.c.parent.in_(level))).mappings().all()
        found += rows
        level = [row["id"] for row in rows]
    return found
