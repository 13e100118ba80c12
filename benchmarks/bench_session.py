"""What a step costs to keep, early and late in a session, and what a long session costs to open.

python benchmarks/bench_session.py [--quick]

Files and SQLite always; PostgreSQL and MariaDB where they answer on their default ports, in a database of their own.
Each round makes a step in a session of every length, and a bare write and fsync of the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from autopilot_runtime import DatabaseSession, FileSession

QUICK = "--quick" in sys.argv
LENGTHS = (10, 100, 1_000) if QUICK else (10, 1_000, 10_000)
LONG = (1_000, 10_000) if QUICK else (10_000, 100_000)
ROUNDS = 40 if QUICK else 200
SERVERS = {
    "postgres": ("postgresql+psycopg://root@127.0.0.1:5432/", "postgres"),
    "mariadb": ("mysql+pymysql://root@127.0.0.1:3306/", ""),
}
MESSAGE = {"role": "user", "content": "x" * 1_000, "kind": "result", "task": 1}
Open = Callable[[str], Any]


@contextlib.contextmanager
def server(kind: str) -> Iterator[Open | None]:
    """Sessions in a database of their own, which is dropped afterwards; None where nobody answers."""
    base, first = SERVERS[kind]
    name = f"autopilot_bench_{os.urandom(4).hex()}"
    engine = create_engine(base + first, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except SQLAlchemyError:
        engine.dispose()
        yield None
        return
    try:
        yield lambda session_id: DatabaseSession(session_id, base + name)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}" + (" WITH (FORCE)" if kind == "postgres" else "")))
        engine.dispose()


def timed(work: Callable[[], object]) -> float:
    """Milliseconds it takes."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def appends(name: str, open_: Open, folder: Path) -> None:
    """A step of one message and one key, in sessions of several lengths."""
    data = str(MESSAGE).encode()
    sessions = {length: open_(f"append-{length}") for length in LENGTHS}
    for length, session in sessions.items():
        session.append([MESSAGE] * length, extra={f"key.{number}": number for number in range(length // 10)})
    durable: dict[int, list[float]] = {length: [] for length in LENGTHS}
    cheap: dict[int, list[float]] = {length: [] for length in LENGTHS}
    bare: list[float] = []
    with (folder / "bare").open("ab", buffering=0) as file:
        for number in range(ROUNDS):
            bare.append(timed(lambda: (file.write(data), os.fsync(file.fileno()))))
            for length, session in sessions.items():
                step = partial(session.append, [MESSAGE], extra={"number": number})
                cheap[length].append(timed(partial(step, durable=False)))
                durable[length].append(timed(step))
    floor, first = statistics.median(bare), statistics.median(durable[LENGTHS[0]])
    least = statistics.median(cheap[LENGTHS[0]])
    for length, session in sessions.items():
        median, without = statistics.median(durable[length]), statistics.median(cheap[length])
        late = sorted(durable[length])[int(ROUNDS * 0.95)]
        print(
            f"{name:9}append at {length:>7,}: {median:6.2f} ms ({median / first:4.2f}x, p95 {late:6.2f}), "
            f"{median / floor:4.1f}x of write+fsync; not durable {without:5.2f} ms ({without / least:4.2f}x)"
        )
        session.close()


def openings(name: str, open_: Open) -> None:
    """Constructing a store and loading a long session, against the shorter one."""
    first = 0.0
    for length in LONG:
        session = open_(f"long-{length}")
        session.save([MESSAGE] * length)
        session.close()

        def again(key: str = f"long-{length}") -> None:
            store = open_(key)
            store.load()
            store.close()

        taken = statistics.median(timed(again) for _ in range(3)) / 1000
        first = first or taken / length
        print(f"{name:9}opening   {length:>7,}: {taken:6.2f} s ({taken / length / first:4.2f}x for each message)")


def main() -> None:
    """Every store, one after the other."""
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        print("bars: append at 10,000 <= 1.5x of at 10; opening 10,000 in <= 0.5 s, 100,000 in <= 2 s (file)")
        stores: dict[str, Open | None] = {
            "file": lambda session_id: FileSession(session_id, "bench", folder),
            "sqlite": lambda session_id: DatabaseSession(session_id, f"sqlite:///{folder}/bench.db"),
            **{kind: stack.enter_context(server(kind)) for kind in SERVERS},
        }
        for name, open_ in stores.items():
            if open_ is None:
                print(f"{name:9}does not answer on its default port")
                continue
            appends(name, open_, folder)
            openings(name, open_)


if __name__ == "__main__":
    main()
