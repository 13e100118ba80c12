"""The run log: it writes beside the run, and whatever happens to it, the run goes on."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import AsyncRuntime, RunLog, Runtime, ScriptedProvider
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.core.stream import Scope, Stream
from autopilot_runtime.session import logschema

FENCE = "`" * 3
DONE = f"{FENCE}completion\nok\n{FENCE}\n"


class Acting:
    """Something with a stream, like a runtime."""

    def __init__(self) -> None:
        self.stream = Stream()
        self._kit = self
        self.agent = self
        self.name, self.path, self.work_dir = "Actor", Path("/a.yaml"), Path("/w")
        self.model = self
        self.provider = "scripted"

    def run(self, number: str, *, end: bool = True, task: str = "act", **ended: Any) -> Scope:
        scope = Scope(self.stream, "s", number)
        scope.emit(EventType.START, task=task)
        if end:
            scope.emit(EventType.RUN_ENDED, status="completed", summary="acted", steps=1, files_changed=[], **ended)
        return scope


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def agent(folder: Path) -> Path:
    file = folder / "agent.yaml"
    file.write_text(
        json.dumps(
            {"agent": {"name": "A", "model": {"provider": "scripted", "name": "x"}, "runtime": {"work_dir": "w"}}}
        )
    )
    return file


def test_any_runtime_can_be_logged(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.db")
    with Runtime(agent(tmp_path), provider=ScriptedProvider([DONE])) as runtime:
        log.attach(runtime)
        runtime.run("the sync one")
        assert log.flush()
        assert rows(log.path, "SELECT task, status FROM runs") == [("the sync one", "completed")]
    log.close()


async def test_one_log_takes_several_runtimes_and_stops_when_told(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.db")
    for number in range(2):
        async with AsyncRuntime(agent(tmp_path), provider=ScriptedProvider([DONE, DONE])) as runtime:
            stop = log.attach(runtime)
            await runtime.run(f"task {number}")
            stop()
            await runtime.run("unseen")
    log.close()
    assert rows(log.path, "SELECT task FROM runs ORDER BY started") == [("task 0",), ("task 1",)]


def test_prices_that_are_unknown_make_no_zero(tmp_path: Path) -> None:
    log, acting = RunLog(tmp_path / "log.db"), Acting()
    log.attach(acting)
    for number, costs in (("run_1", [0.5, 0.25]), ("run_2", [0.5, None])):
        scope = acting.run(number, end=False)
        for cost in costs:
            scope.emit(EventType.USAGE, input_total=10, output=1, cost_usd=cost)
    log.close()
    assert rows(log.path, "SELECT tokens_in, tokens_out, cost_usd FROM runs") == [(20, 2, 0.75), (20, 2, None)]


def test_files_of_a_run_that_never_ended_are_known(tmp_path: Path) -> None:
    log, acting = RunLog(tmp_path / "log.db"), Acting()
    log.attach(acting)
    scope = acting.run("run_1", end=False)
    for path in ("a", "b", "a"):
        scope.emit(EventType.FILE_CHANGED, path=path, change="modified", diff="")
    log.close()
    assert rows(log.path, "SELECT files_changed FROM runs") == [('["a", "b"]',)]


def test_the_words_of_the_model_are_not_kept_here(tmp_path: Path) -> None:
    log, acting = RunLog(tmp_path / "log.db"), Acting()
    log.attach(acting)
    scope = acting.run("run_1", end=False)
    scope.emit(EventType.STREAM, text="word")
    scope.of("helper").emit(EventType.STREAM, text="word")
    scope.emit(EventType.TOOL_RESULT, tool="t", result="x" * 50_000 + "\ud800", ok=True)
    log.close()
    assert [kind for (kind,) in rows(log.path, "SELECT type FROM events ORDER BY seq")] == ["start", "tool_result"]
    [(data,)] = rows(log.path, "SELECT data FROM events WHERE type = 'tool_result'")
    assert len(data) < 25_000 and "(+30001 characters)" in data


def test_a_run_that_is_resumed_elsewhere_stays_one_row(tmp_path: Path) -> None:
    for number in range(2):
        log, acting = RunLog(tmp_path / "log.db"), Acting()
        log.attach(acting)
        scope = Scope(acting.stream, "s", "run_1")
        scope.emit(
            *([EventType.START] if number == 0 else [EventType.RESUMED]), **({"task": "t"} if not number else {})
        )
        scope.emit(EventType.FILE_CHANGED, path=f"{number}.txt", change="created", diff="")
        scope.emit(EventType.RUN_ENDED, status=("failed", "completed")[number], steps=number + 1, summary=None)
        log.close()
    assert rows(log.path, "SELECT task, status, steps, files_changed FROM runs") == [
        ("t", "completed", 2, '["0.txt", "1.txt"]')
    ]
    assert rows(log.path, "SELECT count(*), count(DISTINCT seq) FROM events") == [(6, 6)]


KILLED = """
import sys, time
sys.path[:0] = {path!r}
from tests.session.test_session_runlog import Acting
from autopilot_runtime import RunLog
log, acting = RunLog({log!r}), Acting()
log.attach(acting)
acting.run("run_killed", end=False, task="killed")
time.sleep(0.3)
print("now", flush=True)
time.sleep(60)
"""


def test_a_killed_run_is_there_and_marked_as_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    code = KILLED.format(path=[str(Path(__file__).parents[2])], log=str(path))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"now\n"
    logschema.open_log(path).close()
    assert rows(path, "SELECT task, status FROM runs") == [("killed", "running")]  # it still lives
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=10)
    child.stdout.close()
    logschema.open_log(path).close()
    [(status, ended, seconds)] = rows(path, "SELECT status, ended, seconds FROM runs")
    assert status == "interrupted" and ended and seconds >= 0


def test_a_process_with_the_same_number_is_not_the_same() -> None:
    here = logschema.this_process()
    assert logschema.is_alive(here)
    host, pid, born = here.rsplit(":", 2)
    assert not logschema.is_alive(f"{host}:{pid}:{int(born) - 1}")
    assert logschema.is_alive(f"elsewhere:{pid}:{int(born) - 1}")


def test_what_waits_is_written_when_the_process_ends(tmp_path: Path) -> None:
    code = KILLED.format(path=[str(Path(__file__).parents[2])], log=str(tmp_path / "log.db")).replace(
        "time.sleep", "("
    )
    code = code.partition("(0.3)")[0].rstrip("( \n")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert rows(tmp_path / "log.db", "SELECT task FROM runs") == [("killed",)]


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    code = KILLED.format(path=[str(Path(__file__).parents[2])], log=str(path)).partition("acting.run")[0]
    code += "for n in range(100): acting.run(f'run_{sys.argv[1]}_{n}')\n"
    code += "log.close()\nassert log.fault is None, log.fault\n"
    started = [subprocess.Popen([sys.executable, "-c", code, str(n)]) for n in range(3)]
    assert [one.wait(timeout=60) for one in started] == [0, 0, 0]
    assert rows(path, "SELECT count(*), sum(status = 'completed') FROM runs") == [(300, 300)]


def test_a_busy_file_is_waited_for_and_the_run_is_not_held_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logschema, "_BUSY_SECONDS", 0.05)
    path = tmp_path / "log.db"
    logschema.open_log(path).close()
    log, acting = RunLog(path, limit=50), Acting()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        # What opens the log needs the file, too: it waits, and what comes meanwhile waits with it.
        log.attach(acting)
        begun = time.monotonic()
        scope = acting.run("run_1", end=False)
        for _ in range(10):
            scope.emit(EventType.WARNING, message="x")
        assert time.monotonic() - begun < 1
        assert not log.flush(0.2)
        other.execute("COMMIT")
    log.close()
    assert log.fault is None and rows(path, "SELECT count(*) FROM events") == [(11,)]


def test_a_full_queue_drops_details_and_never_the_frame(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    logschema.open_log(path).close()
    log, acting = RunLog(path, limit=5), Acting()
    log.attach(acting)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        scope = acting.run("run_1", end=False)
        for _ in range(20):
            scope.emit(EventType.WARNING, message="x")
        scope.emit(EventType.RUN_ENDED, status="completed", steps=1, summary="s")
        other.execute("COMMIT")
    log.close()
    assert log.dropped > 0
    assert rows(path, "SELECT status FROM runs") == [("completed",)]


@pytest.mark.parametrize("what", ["damaged", "newer", "folder", "file for a folder"])
def test_a_log_that_cannot_be_is_told_once(tmp_path: Path, what: str) -> None:
    path = tmp_path / "log.db"
    if what == "damaged":
        path.write_bytes(b"no database " * 100)
    elif what == "newer":
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 99")
    elif what == "folder":
        path.mkdir()
    else:
        path = path / "log.db"
        path.parent.write_text("a file")
    told: list[str] = []
    log, acting = RunLog(path, tell=told.append), Acting()
    log.attach(acting)
    for number in range(3):
        acting.run(f"run_{number}")
        log.flush(5)
    log.close()
    assert len(told) == 1 and str(path) in told[0] and log.fault == told[0]
    if what == "newer":
        assert "newer release" in told[0]


def test_a_full_disk_ends_the_log_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = logschema.open_log

    def small(path: Path) -> sqlite3.Connection:
        db = real(path)
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 2}")  # SQLite says then what it says of a full disk
        return db

    monkeypatch.setattr("autopilot_runtime.session.runlog.open_log", small)
    told: list[str] = []
    log, acting = RunLog(tmp_path / "log.db", tell=told.append), Acting()
    log.attach(acting)
    acting.run("run_1")
    assert log.flush()
    acting.run("run_2", task="x" * 15_000)
    log.close()
    assert len(told) == 1 and "full" in told[0]
    assert rows(log.path, "SELECT run_id FROM runs") == [("run_1",)]


def test_a_fork_leaves_the_log_alone(tmp_path: Path) -> None:
    log, acting = RunLog(tmp_path / "log.db"), Acting()
    log._pid = os.getpid() + 1  # as it is in a child
    log.attach(acting)
    acting.run("run_1")
    log.close()
    assert not log.path.exists()


def test_many_threads_at_once_lose_nothing(tmp_path: Path) -> None:
    log, acting = RunLog(tmp_path / "log.db"), Acting()
    log.attach(acting)
    threads = [threading.Thread(target=lambda n=n: [acting.run(f"run_{n}_{i}") for i in range(50)]) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    log.close()
    assert rows(log.path, "SELECT count(*) FROM runs WHERE status = 'completed'") == [(200,)]


def test_a_listener_costs_next_to_nothing(tmp_path: Path) -> None:
    log, acting = RunLog(tmp_path / "log.db"), Acting()
    log.attach(acting)
    scope = acting.run("run_1", end=False)
    begun = time.perf_counter()
    for _ in range(2_000):
        scope.emit(EventType.STREAM, text="word")
    cost = (time.perf_counter() - begun) / 2_000
    log.close()
    assert cost < 0.001
    assert isinstance(acting.stream.since(0)[0], Event)
