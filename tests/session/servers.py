"""Database servers for tests: the machine's own where they answer, else some of the test session's own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def database(kind: str) -> Iterator[str]:
    """The URL of a new database in a server of that kind (postgresql or mysql), dropped afterwards."""
    with contextlib.ExitStack() as stack:
        url = _answering(kind)
        if url is None:
            url = stack.enter_context(_postgres() if kind == "postgresql" else _mariadb())
        name = f"autopilot_test_{os.urandom(5).hex()}"
        quick = "CHARACTER SET latin1" if kind == "mysql" else "TEMPLATE template0"
        _execute(url, f"CREATE DATABASE {name} {quick}")
        try:
            yield f"{url.rpartition('/')[0]}/{name}"
        finally:
            _execute(url, f"DROP DATABASE {name}" + (" WITH (FORCE)" if kind == "postgresql" else ""))


def _execute(url: str, statement: str) -> None:
    engine = create_engine(with_driver(url), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


def with_driver(url: str) -> str:
    """The URL for SQLAlchemy itself, with the driver we use."""
    return url.replace("postgresql:", "postgresql+psycopg:").replace("mysql:", "mysql+pymysql:")


def _answering(kind: str) -> str | None:
    port, base = (5432, "postgres") if kind == "postgresql" else (3306, "")
    for user in ("root", "postgres", "test", getpass.getuser()):
        url = f"{kind}://{user}@127.0.0.1:{port}/{base}"
        with contextlib.suppress(DBAPIError):  # not there, or not for this user
            _execute(url, "SELECT 1")
            return url
    return None


def _found(name: str) -> str:
    places = [str(one) for one in Path("/usr/lib/postgresql").glob("*/bin")]
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *places]))
    if found is None:
        pytest.skip(f"no server answers on its default port, and {name} is not installed")
    return found


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    initdb, server, port = _found("initdb"), _found("postgres"), free_port()
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        if user is not None:
            for one in (Path(folder), data):
                shutil.chown(one, user)
        subprocess.run([initdb, "-D", data, "-A", "trust", "-U", "root"], user=user, check=True, capture_output=True)
        command = [server, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder]
        with _running(command, user, f"postgresql://root@127.0.0.1:{port}/postgres") as url:
            yield url


@contextlib.contextmanager
def _mariadb() -> Iterator[str]:
    server, install, port = _found("mariadbd"), _found("mariadb-install-db"), free_port()
    with tempfile.TemporaryDirectory() as folder:
        plain = ["--no-defaults", f"--datadir={folder}/data"]
        user = ["--user=root"] if os.geteuid() == 0 else []
        fill = [install, *plain, *user, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(fill, check=True, capture_output=True)
        reach = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder}/s", f"--pid-file={folder}/pid"]
        with _running([server, *plain, *user, *reach], None, f"mysql://root@127.0.0.1:{port}/") as url:
            yield url


@contextlib.contextmanager
def _running(command: list[object], user: str | None, url: str) -> Iterator[str]:
    with tempfile.TemporaryFile() as log:
        words = [str(word) for word in command]
        with subprocess.Popen(words, user=user, stdout=log, stderr=log, cwd="/") as process:
            try:
                _wait(url, process)
                yield url
            finally:
                process.terminate()
                process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 60.0
    while True:
        try:
            return _execute(url, "SELECT 1")
        except DBAPIError:
            if process.poll() is not None or time.monotonic() > limit:
                raise
            time.sleep(0.1)
