"""Sessions in databases: how they are made, named, upgraded, and what is said when they cannot be."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from autopilot_runtime.core.errors import MissingExtra, SessionError, SetupError
from autopilot_runtime.core.protocols import SessionStore
from autopilot_runtime.session.create import create_session
from autopilot_runtime.session.sql import AsyncDatabaseSession, DatabaseSession
from autopilot_runtime.session.sqlschema import STEPS, prepare
from tests.contracts.session_contract import HELLO, REPLY, numbered
from tests.session.servers import database, with_driver


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/fresh.db"
        return
    with database(request.param) as url:
        yield url


# ---------------------------------------------------------------- made by name


def test_the_seeds_spelling_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = create_session("db", "shop", "Builder", db_url="sqlite:///./x.db")
    assert isinstance(made, DatabaseSession)
    assert isinstance(made, SessionStore)
    assert made.blocking
    made.save([HELLO])
    made.close()
    ds = DatabaseSession(session_id="_", db_url="sqlite:///./x.db")
    assert [(one["session_id"], one["agent_name"], one["messages"]) for one in ds.list_sessions()] == [
        ("shop", "Builder", 1)
    ]
    assert not ds.exists()
    assert ds.metadata() is None
    assert (tmp_path / "x.db").is_file()
    ds.close()


async def test_an_application_keeps_its_own_engine(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/x.db")
    made = create_session("db", "shop", db_url=engine)
    assert isinstance(made, AsyncDatabaseSession)
    with pytest.raises(SessionError, match="await session"):
        made.load()
    await made.open()
    await made.append([HELLO], extra={"a": 1})
    assert made.load() == [HELLO]
    assert made.extra() == {"a": 1}
    await made.close()
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM autopilot_messages"))).scalar() == 1
    await engine.dispose()


async def test_many_awaited_sessions_share_an_engine_at_once(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/x.db", pool_size=3)
    sessions = [AsyncDatabaseSession(f"user-{number}", engine) for number in range(20)]

    async def live(session: AsyncDatabaseSession) -> None:
        await session.open()
        for number in range(5):
            await session.append(numbered(1, number))
        await session.save(session.load())
        await session.close()

    await asyncio.gather(*map(live, sessions))
    assert [one["messages"] for one in await sessions[0].list_sessions()] == [5] * 20
    await engine.dispose()


def test_many_sessions_of_a_process_share_its_connections(tmp_path: Path) -> None:
    sessions = [DatabaseSession(f"user-{number}", f"sqlite:///{tmp_path}/x.db") for number in range(20)]
    assert len({id(session._store.door.engine) for session in sessions}) == 1
    engine = sessions[0]._store.door.engine
    for session in sessions:
        session.append([HELLO])
        session.close()
    assert engine.pool.status().startswith("Pool size: 5  Connections in pool: 0")
    sessions[0].append([REPLY])
    assert sessions[0].load() == [HELLO, REPLY]
    sessions[0].close()


def test_a_database_in_memory_is_the_sessions_own_and_its_forks() -> None:
    one, other = DatabaseSession("shop", "sqlite://"), DatabaseSession("shop", "sqlite://")
    one.append([HELLO])
    assert other.load() == []
    fork = one.fork()
    one.close()
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(one.load()))
    thread.start()
    thread.join()
    assert seen == [[HELLO]]
    assert fork.load() == [HELLO]


def test_sqlite_is_set_to_lose_nothing_in_a_power_cut(tmp_path: Path) -> None:
    session = DatabaseSession("shop", f"sqlite:///{tmp_path}/x.db")
    session.append([HELLO])
    with session._store.door.engine.connect() as connection:
        wal, full = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        )
        assert (wal, full) == ("wal", 3)
    session.append([HELLO], durable=False)
    session.append([HELLO])
    with session._store.door.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 3
    session.close()


async def test_a_cheap_step_leaves_the_applications_connections_as_safe_as_they_were(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/x.db", pool_size=1, max_overflow=0)
    session = AsyncDatabaseSession("shop", engine)
    await session.open()
    await session.append([HELLO], durable=False)
    async with engine.connect() as connection:
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar() == 3
    await session.close()
    await engine.dispose()


# ---------------------------------------------------------------- what is missing or wrong


@pytest.mark.parametrize(
    ("module", "url", "said"),
    [
        ("sqlalchemy", "sqlite://", r'session="db" needs SQLAlchemy: pip install .autopilot-runtime\[db\]'),
        ("psycopg", "postgresql://u@h/d", r"psycopg: pip install .autopilot-runtime\[postgres\]"),
        ("pymysql", "mysql://u@h/d", r"PyMySQL: pip install .autopilot-runtime\[mysql\]"),
    ],
)
def test_a_missing_package_is_named_with_what_to_type(
    module: str, url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=said):
        DatabaseSession("shop", url)
    with pytest.raises(MissingExtra, match=said):
        create_session("db", db_url=url)


def test_the_names_load_no_sqlalchemy() -> None:
    code = "import sys; from autopilot_runtime import DatabaseSession, AsyncDatabaseSession, create_session\n"
    code += "create_session('memory')\nassert 'sqlalchemy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("url", ["postgres://joe:s3cr3t@127.0.0.1:1/x", "mysql://joe:s3cr3t@127.0.0.1:1/x"])
def test_no_error_shows_a_password(url: str) -> None:
    with pytest.raises(SessionError, match=r"joe:\*\*\*@127.0.0.1:1/x cannot be read or written") as told:
        DatabaseSession("shop", f"{url}?application_name=s3cr3t" if "postgres" in url else url, patience=0.0)
    assert "s3cr3t" not in str(told.value)
    assert "s3cr3t" not in repr(told.value.__cause__)


def test_a_session_shows_its_database_without_the_password(tmp_path: Path) -> None:
    session = DatabaseSession("shop", f"sqlite:///{tmp_path}/x.db")
    assert repr(session) == f"DatabaseSession('shop', 'sqlite:///{tmp_path}/x.db')"
    session.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("./x.db", "not a database URL"),
        ("s3cr3t", "not a database URL"),
        ("oracle://u:s3cr3t@h/d", "No sessions in 'oracle'"),
        ("nosuch://u:s3cr3t@h/d", "No sessions in 'nosuch'"),
        ("postgresql+pg8000://u:s3cr3t@h/d", r"driver of 'postgresql\+pg8000' cannot be used"),
    ],
)
def test_a_url_that_leads_nowhere_is_told_without_being_shown(url: str, said: str) -> None:
    with pytest.raises(SetupError, match=said) as told:
        DatabaseSession("shop", url)
    assert "s3cr3t" not in str(told.value)


def test_what_is_no_engine_is_told() -> None:
    with pytest.raises(SetupError, match=r"needs db_url=.*not NoneType"):
        create_session("db")
    with pytest.raises(SetupError, match="AsyncEngine of SQLAlchemy, not str"):
        AsyncDatabaseSession("shop", "sqlite+aiosqlite://")  # type: ignore[arg-type]


def test_a_wrong_password_is_told_at_once(tmp_path: Path) -> None:
    with database("mysql") as url, pytest.raises(SessionError, match="Access denied"):
        DatabaseSession("shop", url.replace("root@", "nobody:wrong@"))
    with database("postgresql") as url, pytest.raises(SessionError, match="does not exist"):
        DatabaseSession("shop", url + "_not")


# ---------------------------------------------------------------- schema


def _later(connection: Connection) -> None:
    columns = {column["name"] for column in inspect(connection).get_columns("autopilot_sessions")}
    if "mood" not in columns:
        connection.execute(text("ALTER TABLE autopilot_sessions ADD COLUMN mood INTEGER"))


def test_an_older_schema_is_upgraded_with_all_that_is_in_it(fresh: str) -> None:
    session = DatabaseSession("shop", fresh)
    session.append([HELLO], extra={"a": 1})
    session.close()
    engine = create_engine(with_driver(fresh))
    for _ in range(2):
        with engine.begin() as connection:
            prepare(connection, (*STEPS, _later))
    with engine.begin() as connection:
        assert connection.execute(text("SELECT version FROM autopilot_schema")).scalar() == len(STEPS) + 1
        assert connection.execute(text("SELECT mood FROM autopilot_sessions")).all() == [(None,)]
        assert connection.execute(text("SELECT count(*) FROM autopilot_messages")).scalar() == 1
    engine.dispose()


def test_a_newer_schema_is_refused_with_both_versions_and_left_alone(fresh: str) -> None:
    engine = create_engine(with_driver(fresh))
    with engine.begin() as connection:
        prepare(connection, (*STEPS, _later))
    with pytest.raises(SessionError, match=r"newer release \(schema version 2; this one knows up to 1\)"):
        DatabaseSession("shop", fresh)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT version FROM autopilot_schema")).scalar() == 2
    engine.dispose()


STARTER = """
import sys
from autopilot_runtime.session.sql import DatabaseSession
url, number = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
session = DatabaseSession(f"user-{number}", url)
session.append([{"content": number}])
session.close()
"""


def test_processes_that_start_at_once_all_find_the_tables(fresh: str) -> None:
    code = [sys.executable, "-c", "import autopilot_runtime.session.sqlstore\n" + STARTER]
    started = [
        subprocess.Popen(
            [*code, fresh, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        for number in range(3)
    ]
    for one in started:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in started:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    for one in started:
        _, errors = one.communicate(timeout=60)
        assert (one.returncode, errors) == (0, "")
    reader = DatabaseSession("_", fresh)
    assert [one["messages"] for one in reader.list_sessions()] == [1] * 3
    reader.close()


def test_an_upgrade_that_was_broken_off_is_finished_by_the_next(fresh: str) -> None:
    def broken(connection: Connection) -> None:
        _later(connection)
        raise OSError("power cut")

    engine = create_engine(with_driver(fresh))
    with pytest.raises(OSError, match="power cut"), engine.begin() as connection:
        prepare(connection, (*STEPS, broken))
    with engine.begin() as connection:
        prepare(connection, (*STEPS, _later))
        columns = {column["name"] for column in inspect(connection).get_columns("autopilot_sessions")}
        assert "mood" in columns
    engine.dispose()


def test_a_fork_keeps_the_agent_whoever_makes_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    DatabaseSession("s", url, "Clerk").save([HELLO])
    fork = DatabaseSession("s", url, "somebody").fork()
    assert fork.metadata()["agent_name"] == "Clerk"  # type: ignore[index]
