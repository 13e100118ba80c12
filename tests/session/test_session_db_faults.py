"""Databases that are locked, away, or gone in the middle of a COMMIT: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, make_url

from autopilot_runtime.core.errors import SessionConflict, SessionError
from autopilot_runtime.session.sql import AsyncDatabaseSession, DatabaseSession
from tests.contracts.session_contract import HELLO, REPLY, numbered
from tests.session.places import async_engine
from tests.session.proxy import Proxy
from tests.session.servers import with_driver

SERVERS = pytest.mark.parametrize("url", ["postgresql", "mysql"], indirect=True)
ALL = pytest.mark.parametrize("url", ["sqlite", "postgresql", "mysql"], indirect=True)


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    target = make_url(url)
    made = Proxy((target.host or "", target.port or (5432 if url.startswith("post") else 3306)))
    yield made
    made.close()


def through(proxy: Proxy, url: str) -> str:
    """The same database, through the proxy. TLS would hide the COMMIT from it."""
    found = make_url(url).set(port=proxy.port)
    return found.render_as_string() + ("?sslmode=disable" if url.startswith("post") else "")


# ---------------------------------------------------------------- a server that goes away


@SERVERS
def test_a_server_that_comes_back_in_time_loses_nothing(url: str, proxy: Proxy) -> None:
    session = DatabaseSession("shop", through(proxy, url), patience=30)
    session.append(numbered(3), extra={"a": 1})
    proxy.cut()
    back = threading.Timer(0.6, proxy.restore)
    back.start()
    session.append(numbered(2, 3), extra={"a": 2})
    back.join()
    proxy.drop()
    session.append(numbered(1, 5))
    session.save(numbered(7))
    session.close()
    reader = DatabaseSession("shop", url)
    assert reader.load() == numbered(7)
    assert reader.extra() == {"a": 2}
    reader.close()


@SERVERS
def test_a_server_that_stays_away_is_told_and_what_failed_has_not_happened(url: str, proxy: Proxy) -> None:
    session = DatabaseSession("shop", through(proxy, url), patience=0.2)
    session.append(numbered(2), extra={"a": 1, "b": 1})
    proxy.cut()
    with pytest.raises(
        SessionError, match=r"cannot be read or written.*tried for 0.2 seconds.*What was saved"
    ) as told:
        session.append(numbered(1, 2), extra={"a": 2})
    assert not isinstance(told.value, SessionConflict)
    with pytest.raises(SessionError):
        session.load()
    proxy.restore()
    session.append(numbered(1, 2), extra={"b": None})
    assert session.load() == numbered(3)
    assert session.extra() == {"a": 1}
    session.close()


@SERVERS
def test_a_commit_whose_answer_is_lost_counts_once(url: str, proxy: Proxy) -> None:
    session = DatabaseSession("shop", through(proxy, url))
    session.append(numbered(2))
    proxy.lose_answers(1)
    session.append(numbered(2, 2), extra={"a": 1})
    proxy.lose_answers(1)
    session.append(numbered(1, 4), extra={"a": None, "b": 2})
    proxy.lose_answers(1)
    session.save(numbered(6))
    proxy.lose_answers(1)
    fork = session.fork(2, "other")
    proxy.lose_answers(1)
    session.acquire()
    session.append(numbered(1, 6))
    assert proxy.lost == 5
    assert session.load() == numbered(7)
    assert session.extra() == {"b": 2}
    assert fork.load() == numbered(2)
    proxy.lose_answers(1)
    session.reset()
    assert session.load() == []
    for one in (session, fork):
        one.close()


@SERVERS
def test_a_step_that_was_told_to_have_failed_is_taken_back_when_it_took_effect(url: str, proxy: Proxy) -> None:
    session = DatabaseSession("shop", through(proxy, url), patience=0.0)
    session.append(numbered(2), extra={"a": 1, "b": 1})
    proxy.lose_answers(1)
    with pytest.raises(SessionError):
        session.append(numbered(3, 2), extra={"a": 2, "b": None, "c": 3})
    reader = DatabaseSession("shop", url)
    assert reader.load() == numbered(5)
    session._store._patience = 5.0
    session.append(numbered(1, 2), extra={"d": 4})
    assert session.extra() == {"a": 1, "b": 1, "d": 4}
    assert reader.load() == numbered(3)
    assert reader.extra() == {"a": 1, "b": 1, "d": 4}
    session._store._patience = 0.0
    proxy.lose_answers(1)
    with pytest.raises(SessionError):
        session.save(numbered(9))
    session._store._patience = 5.0
    session.append(numbered(1, 9))
    assert reader.load() == numbered(10)
    for one in (session, reader):
        one.close()


@SERVERS
def test_an_awaited_session_waits_for_its_server_without_holding_up_the_loop(url: str, proxy: Proxy) -> None:
    ticks = [0]

    async def tick() -> None:
        while True:
            ticks[0] += 1
            await asyncio.sleep(0.01)

    async def story() -> None:
        engine = async_engine(through(proxy, url))
        session = AsyncDatabaseSession("shop", engine)
        await session.open()
        await session.append(numbered(2))
        proxy.lose_answers(1)
        await session.append(numbered(1, 2))
        proxy.cut()
        beside = asyncio.create_task(tick())
        asyncio.get_running_loop().call_later(0.5, proxy.restore)
        await session.append(numbered(1, 3))
        beside.cancel()
        assert session.load() == numbered(4)
        await session.open()
        assert session.load() == numbered(4)
        await session.close()
        await engine.dispose()

    asyncio.run(story())
    assert ticks[0] > 10
    assert proxy.lost == 1


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_a_cancelled_step_leaves_a_session_that_goes_on(url: str) -> None:
    async def story() -> None:
        engine = async_engine(url)
        session = AsyncDatabaseSession("shop", engine)
        await session.open()
        await session.append(numbered(1))
        for delay in (0.0, 0.0005, 0.001, 0.002, 0.004):
            step = asyncio.create_task(session.append([REPLY], extra={"lost": 1}))
            await asyncio.sleep(delay)
            if step.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await step
            else:
                break
        count = len(session.load())
        async with asyncio.timeout(10):  # nothing that was broken off holds a lock
            await session.append([HELLO], extra={"lost": None})
        known = session.load()
        await session.open()
        assert session.load() == known
        assert len(known) == count + 1
        await session.close()
        await engine.dispose()

    asyncio.run(story())


# ---------------------------------------------------------------- locks


def test_a_locked_database_is_waited_for_and_then_told(tmp_path: Path) -> None:
    session = DatabaseSession("shop", f"sqlite:///{tmp_path}/s.db", patience=20)
    session.append(numbered(1))
    holder = sqlite3.connect(tmp_path / "s.db", check_same_thread=False, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: holder.execute("COMMIT"))
    release.start()
    session.append(numbered(1, 1))
    release.join()
    holder.execute("BEGIN IMMEDIATE")
    session._store._patience = 0.1
    engine = session._store.door.engine
    event.listen(engine, "checkout", lambda raw, *_: raw.execute("PRAGMA busy_timeout=50"))
    with pytest.raises(SessionError, match="database is locked"):
        session.append(numbered(1, 2))
    assert session.load() == numbered(2)
    holder.execute("COMMIT")
    holder.close()
    session.append(numbered(1, 2))
    assert session.load() == numbered(3)
    session.close()


@SERVERS
def test_a_row_somebody_holds_is_waited_for(url: str) -> None:
    session = DatabaseSession("shop", url, patience=20)
    session.append(numbered(1))
    engine = create_engine(with_driver(url))
    with engine.connect() as other:
        other.exec_driver_sql("UPDATE autopilot_sessions SET beat = 1")
        release = threading.Timer(0.3, other.commit)
        release.start()
        session.append(numbered(1, 1))
        release.join()
    engine.dispose()
    assert session.load() == numbered(2)
    session.close()


# ---------------------------------------------------------------- writers that die

WRITER = """
import asyncio, sys
from pathlib import Path
from autopilot_runtime.session.file import FileSession
from autopilot_runtime.session.sql import AsyncDatabaseSession, DatabaseSession

kind, url = sys.argv[1:]

def said(number):
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()

def step(number):
    return [{"role": "user", "content": f"{number}:" + "x" * 3_000}, {"role": "assistant", "content": str(number)}]

def extra(number):
    return {"number": number, f"key.{number}": number, f"key.{number - 1}": None}

def blocking():
    session = DatabaseSession("shop", url)
    messages = session.load()
    number = len(messages) // 2
    while True:
        session.append(step(number), extra=extra(number))
        messages += step(number)
        said(number)
        number += 1
        if number % 5 == 0:
            session.save(messages)

async def awaited():
    from tests.session.places import async_engine
    session = AsyncDatabaseSession("shop", async_engine(url))
    await session.open()
    number = len(session.load()) // 2
    while True:
        await session.append(step(number), extra=extra(number))
        said(number)
        number += 1
        if number % 5 == 0:
            await session.save(session.load())

blocking() if kind == "blocking" else asyncio.run(awaited())
"""


@pytest.mark.parametrize("kind", ["blocking", "awaited"])
@ALL
def test_a_killed_writer_loses_nothing_it_acknowledged_and_the_next_one_goes_on_at_once(url: str, kind: str) -> None:
    acknowledged, rng = -1, random.Random(7)
    for round_ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, kind, url], stdout=subprocess.PIPE, text=True, env=_with_tests()
        ) as writer:
            assert writer.stdout is not None
            for wanted in range(acknowledged + 1, acknowledged + 2 + 3 * round_):
                assert int(writer.stdout.readline()) == wanted
            time.sleep(rng.uniform(0.0, 0.02))
            writer.send_signal(signal.SIGKILL)
            lines = writer.stdout.read().split("\n")[:-1]
            writer.wait(10)
        acknowledged = int(lines[-1]) if lines else wanted
        reader = DatabaseSession("shop", url)
        loaded = reader.load()
        numbers = [int(one["content"].partition(":")[0]) for one in loaded]
        assert numbers == sorted([*range(len(numbers) // 2)] * 2)
        assert len(numbers) // 2 in (acknowledged + 1, acknowledged + 2)
        last = len(numbers) // 2 - 1
        assert reader.extra() == {"number": last, f"key.{last}": last}
        reader.acquire()
        reader.close()
        acknowledged = last


def _with_tests() -> dict[str, str]:
    root = Path(__file__).resolve().parent.parent.parent
    return {**os.environ, "PYTHONPATH": str(root)}


@ALL
def test_a_writer_elsewhere_counts_as_alive_for_a_minute(url: str) -> None:
    now = [1_000.0]
    writer = DatabaseSession("shop", url, clock=lambda: now[0])
    writer.append([HELLO])
    engine = create_engine(with_driver(url))
    with engine.begin() as connection:
        connection.exec_driver_sql('UPDATE autopilot_sessions SET holder = \'{"host": "far", "pid": 1}\'')
    engine.dispose()
    other = DatabaseSession("shop", url, clock=lambda: now[0])
    for now[0] in (1_000.0, 1_059.0, 990.0):
        with pytest.raises(SessionConflict, match="process 1 on far"):
            other.acquire()
    now[0] = 1_061.0
    other.append([REPLY])
    with pytest.raises(SessionConflict):
        writer.append([REPLY])
    assert writer.load() == [HELLO, REPLY]
    for one in (writer, other):
        one.close()


def test_a_beat_from_the_far_future_keeps_nobody_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    DatabaseSession("shop", url, clock=lambda: 9e9).append([HELLO])
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute('UPDATE autopilot_sessions SET holder = \'{"host": "far", "pid": 1}\'')
    connection.close()
    session = DatabaseSession("shop", url)
    session.append([REPLY])
    session.close()


def test_a_store_that_was_dropped_keeps_nobody_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    session = DatabaseSession("shop", url)
    session.append([HELLO])
    del session
    other = DatabaseSession("shop", url)
    other.append([REPLY])
    other.close()


@ALL
def test_a_forked_child_has_connections_of_its_own_and_not_the_lease(url: str) -> None:
    session = DatabaseSession("shop", url)
    session.append(numbered(1))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            seen = session.load() == numbered(1)
            try:
                session.append([REPLY])
            except SessionConflict:
                code = 0 if seen else 2
            session.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    session.append(numbered(1, 1))
    assert session.load() == numbered(2)
    session.close()


@ALL
def test_a_forked_child_cannot_use_the_engine_of_the_parents_application(url: str) -> None:
    engine = create_engine(with_driver(url))
    session = DatabaseSession("shop", engine)
    session.append(numbered(1))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            session.load()
        except SessionError as error:
            code = 0 if "before a fork" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    session.append(numbered(1, 1))
    session.close()
    with engine.connect() as connection:  # it is still the application's
        assert connection.exec_driver_sql("SELECT count(*) FROM autopilot_messages").scalar() == 2
    engine.dispose()


# ---------------------------------------------------------------- places that cannot be written


def test_a_missing_folder_is_told_at_construction(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"none/s.db cannot be made: No such file.*Make its folder"):
        DatabaseSession("shop", f"sqlite:///{tmp_path}/none/s.db")


def test_a_read_only_database_is_told_at_construction(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    session = DatabaseSession("shop", url)
    session.append([HELLO])
    session.close()
    del session
    with pytest.raises(SessionError, match="readonly"):
        DatabaseSession("shop", f"sqlite:///file:{tmp_path}/s.db?mode=ro&uri=true")


def test_a_file_that_is_no_database_is_kept_and_told(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("not a database, but somebody's diary\n" * 100)
    with pytest.raises(SessionError, match="not a database"):
        DatabaseSession("shop", f"sqlite:///{tmp_path}/s.db")
    assert (tmp_path / "s.db").read_text().startswith("not a database")


@SERVERS
def test_a_read_only_user_is_told_at_construction(url: str) -> None:
    if url.startswith("mysql"):
        pytest.skip("users of MariaDB are the whole server's")
    DatabaseSession("shop", url).close()
    with pytest.raises(SessionError, match="read-only"):
        DatabaseSession("shop", url + "?options=-c%20default_transaction_read_only%3Don")


def test_a_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    session = DatabaseSession("shop", f"sqlite:///{tmp_path}/s.db")
    session.append([HELLO])
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    session.close()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_is_told_and_the_session_is_whole(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("may not mount")
    try:
        session = DatabaseSession("shop", f"sqlite:///{disk}/s.db")
        session.append(numbered(2))
        with pytest.raises(SessionError, match="full"):
            session.append([{"content": "x" * 2_000_000}])
        session.append(numbered(1, 2))
        assert session.load() == numbered(3)
        session.close()
        del session
    finally:
        subprocess.run(["umount", disk], check=True)


def steps(session: Any) -> int:
    """How many statements a step takes."""
    seen: list[str] = []
    engine = session._store.door.engine
    listener = lambda *args: seen.append(args[2])  # noqa: E731
    event.listen(engine, "before_cursor_execute", listener)
    session.append([HELLO, REPLY], extra={"a": 1})
    event.remove(engine, "before_cursor_execute", listener)
    return len(seen)


@ALL
def test_a_step_takes_the_same_few_statements_however_long_the_session_is(url: str) -> None:
    session = DatabaseSession("shop", url)
    session.append([HELLO], extra={"a": 0, **{f"key.{number}": number for number in range(200)}})
    early = steps(session)
    session.append(numbered(2_000))
    assert steps(session) == early <= 4
    session.close()
