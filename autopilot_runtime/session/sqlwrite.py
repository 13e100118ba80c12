"""Changing sessions in a database: plain functions of a connection, each the inside of one transaction.

Each may be done again after a COMMIT nobody heard the end of: the revision it would make tells that it took effect.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, insert, literal, select, text, update
from sqlalchemy.exc import IntegrityError

from autopilot_runtime.core.errors import SessionConflict
from autopilot_runtime.session import writer as writers
from autopilot_runtime.session.fork import KEPT, already, cut, foreign
from autopilot_runtime.session.sqlengine import OURS
from autopilot_runtime.session.sqlfault import Again
from autopilot_runtime.session.sqlread import Known, ascii_json, bodies, digest, family, head
from autopilot_runtime.session.sqlschema import EXTRA, MESSAGES, SESSIONS
from autopilot_runtime.session.writer import Writer


@dataclass(frozen=True, slots=True)
class Name:
    """What a session is called: its key, the words for its row, and whom it belongs to."""

    session_id: str
    agent_name: str
    parent: str | None = None

    @property
    def key(self) -> str:
        """The digest its row is found by."""
        return digest(self.session_id)

    @property
    def columns(self) -> dict[str, Any]:
        """Its part of a new row."""
        return {
            "id": self.key,
            "session_id": ascii_json(self.session_id, what="session id"),
            "agent_name": ascii_json(self.agent_name, what="agent name"),
            "parent": None if self.parent is None else digest(self.parent),
            "parent_id": None if self.parent is None else ascii_json(self.parent, what="session id"),
        }


@dataclass(frozen=True, slots=True)
class Change:
    """One step, or with `whole` a new conversation: `messages` and the changed `extra` as JSON, None removes."""

    revision: str
    now: float
    messages: Sequence[str]
    extra: dict[str, str | None]
    durable: bool = True
    whole: bool = False
    last: bool = False  # nothing more is written after it


# ---------------------------------------------------------------- who writes


def take(connection: Connection, name: Name, known: Known, *, writer: Writer, now: float) -> Known:
    """Make `writer` the one that writes, or raise; gives the state with the number of the row."""
    row = head(connection, name.key)
    if row is None:
        if known.number is not None:
            raise stale(name)
        return _reserve(connection, name, writer, now)
    _same_family(name, row)
    if row["writer"] != writer.token:
        living(name, row, now)
        taken = _holding(writer, now)
        free = SESSIONS.c.writer.is_(None) if row["writer"] is None else SESSIONS.c.writer == row["writer"]
        mine = update(SESSIONS).where(
            SESSIONS.c.number == row["number"], SESSIONS.c.revision == row["revision"], free
        )
        if not connection.execute(mine.values(**taken)).rowcount:
            raise Again
    new = known.number is None and row["created"] is None
    if not new and (row["number"], row["revision"]) != (known.number, known.revision):
        raise stale(name)
    return Known(row["number"], row["revision"], row["messages"], known.extra)


def _reserve(connection: Connection, name: Name, writer: Writer, now: float) -> Known:
    values = {**name.columns, **_holding(writer, now), "updated": now, "revision": writer.token, "messages": 0}
    return Known(_made(connection, values), writer.token)


def _made(connection: Connection, values: dict[str, Any]) -> int:
    try:
        key = connection.execute(insert(SESSIONS).values(**values)).inserted_primary_key
    except IntegrityError as error:  # somebody made the same row since we looked
        raise Again from error
    assert key is not None
    return int(key[0])


def _holding(writer: Writer, now: float) -> dict[str, Any]:
    return {"writer": writer.token, "holder": writer.to_json(), "beat": now}


def _same_family(name: Name, row: RowMapping) -> None:
    if name.parent is not None and row["parent"] != digest(name.parent):
        raise foreign(name.session_id, name.parent)


def living(name: Name, row: RowMapping, now: float) -> None:
    """Raise when a writer that lives holds this row."""
    if row["writer"] is None:
        return
    writer = writers.from_json(row["holder"])
    if writers.lives(writer, beat=row["beat"], now=now):
        raise SessionConflict(
            f"Somebody else is writing to session {name.session_id[:80]!r} ({writer}). Nothing was written. "
            "Wait until the other run ends, or use another session_id."
        )


def give_back(connection: Connection, number: int, token: str) -> None:
    """Write no more; a row that was only reserved goes."""
    mine = (SESSIONS.c.number == number, SESSIONS.c.writer == token)
    if not connection.execute(delete(SESSIONS).where(*mine, SESSIONS.c.created.is_(None))).rowcount:
        connection.execute(update(SESSIONS).where(*mine).values(writer=None, holder=None))


def stale(name: Name) -> SessionConflict:
    """The conflict of a store that does not know what is stored now."""
    return SessionConflict(
        f"Session {name.session_id[:80]!r} was written by somebody else since it was loaded. "
        "Nothing was overwritten; load it again."
    )


# ---------------------------------------------------------------- a step

_ADVANCE = (
    update(SESSIONS)
    .where(
        SESSIONS.c.number == bindparam("row"),
        SESSIONS.c.revision == bindparam("old"),
        SESSIONS.c.writer == bindparam("token"),
    )
    .values(
        revision=bindparam("new"),
        updated=bindparam("now"),
        beat=bindparam("now"),
        messages=bindparam("count"),
        created=func.coalesce(SESSIONS.c.created, bindparam("now")),
    )
)
_ADD = insert(MESSAGES)
_NOW_EXTRA = (
    update(EXTRA)
    .where(EXTRA.c.session == bindparam("row"), EXTRA.c.id == bindparam("key"))
    .values(value=bindparam("text"))
)
_NO_EXTRA = delete(EXTRA).where(EXTRA.c.session == bindparam("row"), EXTRA.c.id == bindparam("key"))


def change(connection: Connection, name: Name, known: Known, change: Change, *, token: str) -> None:
    """Make the step, if the session is still what is known of it and `token` writes it."""
    _promise(connection, durable=change.durable)
    count = len(change.messages) + (0 if change.whole else known.count)
    step = {"row": known.number, "old": known.revision, "new": change.revision, "token": token}
    # The first statement is a write: it takes SQLite's lock, and elsewhere the row's.
    if connection.execute(_ADVANCE, {**step, "now": change.now, "count": count}).rowcount != 1:
        row = head(connection, name.key)
        if row is not None and row["revision"] == change.revision:
            return  # it took effect before, and the connection broke before that was heard
        if row is not None and row["revision"] == known.revision:
            living(name, row, change.now)
        raise stale(name)
    assert known.number is not None
    if change.whole:
        _replace(connection, known.number, change.messages)
    else:
        _insert(connection, known.number, known.count, change.messages)
    put_extra(connection, known.number, change.extra, frozenset(known.extra))
    if change.last:
        give_back(connection, known.number, token)


def _promise(connection: Connection, *, durable: bool) -> None:
    match connection.dialect.name:
        case "sqlite":
            # The setting stays with the connection, so one of an application's is only ever made safer.
            cheap = not durable and connection.get_execution_options().get(OURS)
            raw: Any = connection.connection.driver_connection
            if not raw.in_transaction:  # an application's engine may begin otherwise, and inside it is too late
                connection.execute(text(f"PRAGMA synchronous={'NORMAL' if cheap else 'EXTRA'}"))
        case "postgresql" if not durable:
            connection.execute(text("SET LOCAL synchronous_commit = off"))


def _insert(connection: Connection, number: int, first: int, messages: Sequence[str]) -> None:
    if messages:
        rows = [{"session": number, "seq": seq, "body": body} for seq, body in enumerate(messages, first)]
        connection.execute(_ADD, rows)


def _replace(connection: Connection, number: int, messages: Sequence[str]) -> None:
    """Make the stored messages these; what they begin with in common stays as it is."""
    same = 0
    with contextlib.closing(bodies(connection, number)) as stored:
        for body in stored:
            if same == len(messages) or body != messages[same]:
                break
            same += 1
    connection.execute(delete(MESSAGES).where(MESSAGES.c.session == number, MESSAGES.c.seq >= same))
    _insert(connection, number, same, messages[same:])


def put_extra(connection: Connection, number: int, new: dict[str, str | None], had: frozenset[str]) -> None:
    """Replace, add and remove keys; `had` are those that are stored."""
    gone = [{"row": number, "key": digest(key)} for key, value in new.items() if value is None and key in had]
    kept = [{"row": number, "key": digest(k), "text": v} for k, v in new.items() if v is not None and k in had]
    added = [
        {"session": number, "id": digest(key), "name": ascii_json(key, what="extra state"), "value": value}
        for key, value in new.items()
        if value is not None and key not in had
    ]
    for statement, rows in ((_NO_EXTRA, gone), (_NOW_EXTRA, kept), (insert(EXTRA), added)):
        if rows:
            connection.execute(statement, rows)


def take_back(connection: Connection, name: Name, known: Known, change: Change, had: dict[str, str | None]) -> bool:
    """Undo a step whose caller was told that it failed, when it took effect after all; whether it had.

    A new conversation (`whole`) is left: it says everything its caller knows.
    """
    row = head(connection, name.key)
    if row is None or row["revision"] != change.revision:
        return False
    if change.last:
        return True
    number = row["number"]
    back = update(SESSIONS).where(SESSIONS.c.number == number, SESSIONS.c.revision == change.revision)
    if not connection.execute(back.values(revision=known.revision, messages=known.count)).rowcount:
        raise Again
    connection.execute(delete(MESSAGES).where(MESSAGES.c.session == number, MESSAGES.c.seq >= known.count))
    now = frozenset(key for key in {*known.extra, *change.extra} if change.extra.get(key, "") is not None)
    put_extra(connection, number, had, now)
    return True


# ---------------------------------------------------------------- whole sessions


def remove(connection: Connection, name: Name, *, token: str | None, now: float) -> None:
    """Delete a session and all that are nested in it, unless somebody else who lives writes to one of them."""
    rows = family(connection, name.key)
    for row in rows:
        if row["writer"] != token:
            living(name, row, now)
    for row in rows:
        number = row["number"]
        # The lock of the row first, and only as it was seen.
        seen = update(SESSIONS).where(SESSIONS.c.number == number, SESSIONS.c.revision == row["revision"])
        if not connection.execute(seen.values(beat=now)).rowcount:
            raise Again
        connection.execute(delete(MESSAGES).where(MESSAGES.c.session == number))
        connection.execute(delete(EXTRA).where(EXTRA.c.session == number))
        connection.execute(delete(SESSIONS).where(SESSIONS.c.number == number))


def copy(connection: Connection, source: Name, target: Name, *, at: int | None, revision: str, now: float) -> None:
    """A new session of the first `at` messages, with what a fork keeps of the extra state."""
    there = head(connection, target.key)
    if there is not None and there["revision"] == revision:
        return
    if there is not None:
        raise already(target.session_id)
    row = head(connection, source.key)
    held = 0 if row is None else row["messages"]
    at = cut(held, at)
    values = {**target.columns, "created": now, "updated": now, "revision": revision, "messages": at, "beat": now}
    number = _made(connection, values)
    if row is None:
        return
    old = row["number"]
    rows = select(literal(number), MESSAGES.c.seq, MESSAGES.c.body)
    rows = rows.where(MESSAGES.c.session == old, MESSAGES.c.seq < at)
    connection.execute(insert(MESSAGES).from_select(["session", "seq", "body"], rows))
    keys = select(literal(number), EXTRA.c.id, EXTRA.c.name, EXTRA.c.value)
    keys = keys.where(EXTRA.c.session == old, EXTRA.c.id.in_([digest(key) for key in KEPT]))
    connection.execute(insert(EXTRA).from_select(["session", "id", "name", "value"], keys))
