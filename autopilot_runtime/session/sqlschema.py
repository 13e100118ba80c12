"""The tables of sessions in a database, and how those of an older release become today's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.schema import CreateTable

from autopilot_runtime.core.errors import SessionError

META = MetaData()
# All text is JSON in ASCII, so no encoding or collation of a server can change it: NUL, lone surrogates, case and
# trailing blanks survive everywhere.
_JSON = Text().with_variant(LONGTEXT(), "mysql", "mariadb")
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_DIGEST = String(64)
_ENGINE: dict[str, Any] = {
    f"{name}_{option}": value
    for name in ("mysql", "mariadb")
    for option, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}

SCHEMA = Table(
    "autopilot_schema",
    META,
    Column("id", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    **_ENGINE,
)

# `id` is a digest of the session's id, `number` its short name in the other tables, never used twice.
# A row without `created` is reserved: its writer has appended nothing yet.
SESSIONS = Table(
    "autopilot_sessions",
    META,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("id", _DIGEST, nullable=False, unique=True),
    Column("session_id", _JSON, nullable=False),
    Column("agent_name", _JSON, nullable=False),
    Column("created", Double),
    Column("updated", Double, nullable=False),
    Column("revision", _DIGEST, nullable=False),
    Column("messages", _NUMBER, nullable=False),
    Column("parent", _DIGEST, index=True),
    Column("parent_id", _JSON),
    Column("writer", _DIGEST),
    Column("holder", _JSON),
    Column("beat", Double, nullable=False),
    sqlite_autoincrement=True,
    **_ENGINE,
)

MESSAGES = Table(
    "autopilot_messages",
    META,
    Column("session", _NUMBER, ForeignKey(SESSIONS.c.number), primary_key=True, autoincrement=False),
    Column("seq", _NUMBER, primary_key=True, autoincrement=False),
    Column("body", _JSON, nullable=False),
    **_ENGINE,
)

EXTRA = Table(
    "autopilot_extra",
    META,
    Column("session", _NUMBER, ForeignKey(SESSIONS.c.number), primary_key=True, autoincrement=False),
    Column("id", _DIGEST, primary_key=True),
    Column("name", _JSON, nullable=False),
    Column("value", _JSON, nullable=False),
    **_ENGINE,
)

Step = Callable[[Connection], None]


def _first(connection: Connection) -> None:
    META.create_all(connection, tables=[SESSIONS, MESSAGES, EXTRA], checkfirst=True)


# Step n makes version n out of version n - 1. It is written once and never changed; MySQL commits after every
# statement of this kind, so a step must also be able to finish what an earlier try of it began.
STEPS: tuple[Step, ...] = (_first,)

_ADVISORY = 0x6175746F70696C6F  # "autopilo": the number of our lock, where locks have numbers
_VERSION = SCHEMA.c.version


def prepare(connection: Connection, steps: Sequence[Step] = STEPS) -> None:
    """Bring the tables to the version of these steps, and see that they can be written to."""
    if _version(connection) != len(steps):
        with _alone(connection):
            found = _version(connection) or 0
            if found > len(steps):
                raise SessionError(
                    f"The session tables were written by a newer release (schema version {found}; this one knows "
                    f"up to {len(steps)}). Nothing was changed. Upgrade autopilot-runtime to open them."
                )
            for number, step in enumerate(steps[found:], found + 1):
                step(connection)
                _put_version(connection, number)
    connection.execute(SESSIONS.update().where(SESSIONS.c.number == -1).values(beat=0.0))


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(SCHEMA.name):
        return None
    return connection.execute(select(_VERSION).where(SCHEMA.c.id == 1)).scalar()


def _put_version(connection: Connection, number: int) -> None:
    row = SCHEMA.c.id == 1
    if not connection.execute(SCHEMA.update().where(row).values(version=number)).rowcount:
        connection.execute(SCHEMA.insert().values(id=1, version=number))


@contextlib.contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """While this lasts no other process changes the tables; then ours are there for all."""
    match connection.dialect.name:
        case "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY)))
            _make(connection)
            yield
        case "mysql" | "mariadb":
            name: Any = func.concat("autopilot_schema.", func.left(func.database(), 40))
            if connection.execute(select(func.get_lock(name, bindparam("wait", 15)))).scalar() != 1:
                raise SessionError("Another process has been changing the session tables for 15 seconds; try again.")
            try:
                _make(connection)
                yield
            finally:
                connection.execute(select(func.release_lock(name)))
        case _:
            _make(connection)
            # The first write of a transaction is what takes SQLite's lock.
            connection.execute(text("UPDATE autopilot_schema SET version = version"))
            yield


def _make(connection: Connection) -> None:
    connection.execute(CreateTable(SCHEMA, if_not_exists=True))
