"""Databases for the tests of sessions: each test session has its own, each test finds it empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from tests.session.servers import database, with_driver


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL database of this test session."""
    with database("postgresql") as url:
        yield url


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    """The URL of a MariaDB database of this test session, whose own encoding is an unsuitable one."""
    with database("mysql") as url:
        yield url


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of the kind that is asked for."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/sessions.db"
        return
    found = request.getfixturevalue("postgres" if request.param == "postgresql" else "mariadb")
    empty(found)
    yield found


def empty(url: str) -> None:
    """Take out what the test before has left."""
    engine = create_engine(with_driver(url))
    with engine.begin() as connection:
        there = inspect(connection).get_table_names()
        for table in ("autopilot_extra", "autopilot_messages", "autopilot_sessions"):
            if table in there:
                connection.execute(text(f"DELETE FROM {table}"))
    engine.dispose()
