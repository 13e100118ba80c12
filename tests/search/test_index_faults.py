"""The index when something goes wrong: kills, full disks, locks, and many small changes in a row."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.search import child, schema
from autopilot_runtime.search.feed import feed
from autopilot_runtime.search.graph import trace_callers
from autopilot_runtime.search.index import Index

ROOT = Path(__file__).resolve().parents[2]
linux = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc")


def write(root: Path, name: str, text: str, when: int = 1_700_000_000) -> None:
    root.mkdir(exist_ok=True)
    (root / name).write_text(text)
    os.utime(root / name, (when, when))


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that an index holds, without the numbers of its rows."""
    connection = sqlite3.connect(path)
    where = "FROM pieces p JOIN files f ON f.id = p.file"
    found = {
        "files": "SELECT path, size, digest, family, stem FROM files",
        "pieces": f"SELECT f.path, p.name, p.last, p.kind, p.start, p.end, p.bases, p.digest {where}",
        "words": f"SELECT f.path, p.start, w.name, w.path, w.body {where} LEFT JOIN words w ON w.rowid = p.id",
        "calls": f"SELECT f.path, p.start, c.name, c.receiver, c.hint, c.line {where} JOIN calls c ON c.piece = p.id",
        "imports": "SELECT f.path, i.local, i.target, i.last FROM imports i JOIN files f ON f.id = i.file",
    }
    lost = "SELECT count(*) FROM words WHERE rowid NOT IN (SELECT id FROM pieces)"
    lost_calls = "SELECT count(*) FROM calls WHERE piece NOT IN (SELECT id FROM pieces)"
    everything = {name: sorted(connection.execute(query).fetchall(), key=repr) for name, query in found.items()}
    everything["lost"] = connection.execute(f"{lost} UNION ALL {lost_calls}").fetchall()
    connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
    connection.close()
    return everything


PARTS = [
    "import json", "from a import go as run", "def go(x):\n    return run(x)", "def go(x):\n    return json.loads(x)",
    "class Box(Base):\n    def open(self):\n        self.close()\n    def close(self): ...",
    "class Box:\n    def open(self): ...", "x = go(1)", "# nothing", "def broken(:", "",
]  # fmt: skip
VERSION = st.one_of(st.none(), st.lists(st.sampled_from(PARTS), max_size=5).map("\n".join))
STEPS = st.lists(st.dictionaries(st.sampled_from(["a.py", "b.py", "notes.md"]), VERSION, min_size=1), max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_an_index_of_many_changes_is_that_of_the_last_state(
    tmp_path_factory: pytest.TempPathFactory, steps: list[dict[str, str | None]]
) -> None:
    place = tmp_path_factory.mktemp("steps")
    grown, fresh = place / "grown.db", place / "fresh.db"
    root = place / "w"
    root.mkdir()
    connection = schema.connect(grown)
    for number, step in enumerate(steps):
        for name, text in step.items():
            if text is None:
                (root / name).unlink(missing_ok=True)
            else:
                write(root, name, text, when=1_700_000_000 + number)
        there = {name: (root / name).exists() for name in step}
        feed(
            connection,
            str(root),
            changed=[name for name, is_there in there.items() if is_there],
            gone=[name for name, is_there in there.items() if not is_there],
        )
    connection.close()
    connection = schema.connect(fresh)
    feed(connection, str(root), changed=sorted(path.name for path in root.iterdir()), gone=[])
    connection.close()
    assert dump(grown) == dump(fresh)
    assert dump(grown)["lost"] == [(0,), (0,)]


def test_what_did_not_change_in_a_file_is_not_written_again(tmp_path: Path) -> None:
    root = tmp_path / "w"
    body = textwrap.dedent(
        """
        def first():
            second()
        def second():
            third()
        def third(): ...
        """
    )
    write(root, "m.py", body)
    index = Index(root, folder=tmp_path / "cache")
    index.refresh()
    before = {name: index.search(name, limit=1)[0].id for name in ("first", "second", "third")}
    write(root, "m.py", "# a new first line\n" + body.replace("third()\n", "third(1)\n"), when=1_700_000_001)
    assert index.refresh().changed == 1
    after = {hit.name: hit for name in before for hit in index.search(name, limit=1)}
    assert (after["first"].id, after["third"].id) == (before["first"], before["third"])
    assert after["second"].id != before["second"]
    assert after["first"].start == 3
    with index.open() as connection:
        assert [edge.line for edge in trace_callers(connection, "third").edges] == [6]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    root = tmp_path / "w"
    for number in range(400):
        functions = "".join(f"def f{number}_{n}(x):\n    return f{number}_{n + 1}(x) + {n}\n" for n in range(60))
        write(root, f"m{number}.py", functions)
    return root


def workers(root: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == root and b"search.feed" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue  # it may end while we look
    return found


def count(index: Index) -> int:
    with index.open() as connection:
        return int(connection.execute("SELECT count(*) FROM files").fetchone()[0])


def eventually(reached: object) -> bool:
    until = time.monotonic() + 30
    while not reached():  # type: ignore[operator]
        if time.monotonic() > until:
            return False
        threading.Event().wait(0.01)
    return True


@linux
def test_a_host_killed_while_it_indexes_leaves_a_good_index_and_no_process(large: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from autopilot_runtime.search.index import Index;"
        "Index(sys.argv[1], folder=Path(sys.argv[2])).refresh()"
    )
    host = subprocess.Popen([sys.executable, "-c", code, str(large), str(tmp_path / "cache")], cwd=ROOT)
    index = Index(large, folder=tmp_path / "cache")
    assert eventually(lambda: count(index) > 0 or host.poll() is not None)
    host.send_signal(signal.SIGKILL)
    host.wait()
    assert eventually(lambda: not workers(large))
    done = count(index)
    state = index.refresh()
    assert state.complete
    assert state.changed == 400 - done
    assert index.search("f399_59")[0].path == "m399.py"
    assert dump(index.path)["lost"] == [(0,), (0,)]


@linux
def test_a_killed_worker_is_told_and_the_next_call_goes_on(large: Path, tmp_path: Path) -> None:
    index = Index(large, folder=tmp_path / "cache")
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        for pid in workers(large):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    with pytest.raises(ToolError, match=r"failed: exit code -9\. Call again: it goes on from there"):
        index.refresh(progress=kill)
    assert killed
    assert index.refresh().complete
    assert count(index) == 400


@pytest.mark.root
def test_a_full_disk_is_told_with_the_place_and_what_was_indexed_stays_usable(large: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        index = Index(large, folder=disk / "index")
        with pytest.raises(ToolError, match=r"disk is full\. Free some space for .*disk/index"):
            index.refresh()
        done = count(index)
        assert dump(index.path)["lost"] == [(0,), (0,)]
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        assert index.refresh().changed == 400 - done
        assert index.search("f7_5")[0].path == "m7.py"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_index_is_for_its_owner_only(tmp_path: Path) -> None:
    write(tmp_path / "w", "a.py", "def secret(): ...\n")
    index = Index(tmp_path / "w", folder=tmp_path / "cache")
    index.refresh()
    with index.open() as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE files SET size = 1")
        beside = sorted(index.path.parent.iterdir())
        assert len(beside) == 3
        assert {stat.S_IMODE(path.stat().st_mode) for path in beside} == {0o600}
        connection.execute("ROLLBACK")
    assert stat.S_IMODE(index.path.parent.stat().st_mode) == 0o700


def test_an_index_that_another_process_holds_is_told_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "w", "a.py", "def go(): ...\n")
    index = Index(tmp_path / "w", folder=tmp_path / "cache")
    index.refresh()
    monkeypatch.setattr(schema, "_WAIT_MS", 50)
    with index.open() as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(ToolError, match=r"cannot be used: database is locked\. Try again"),
            index.open() as other,
        ):
            other.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    assert index.search("go")[0].name == "go"


def test_indexing_ends_when_the_run_does(large: Path, tmp_path: Path) -> None:
    index = Index(large, folder=tmp_path / "cache")
    stopped = threading.Event()
    began = time.monotonic()
    state = index.refresh(stop=stopped.is_set, progress=lambda done, total: stopped.set())
    assert not state.complete
    assert time.monotonic() - began < 10
    assert index.refresh().complete


def test_a_worker_that_is_not_needed_is_not_left_behind(tmp_path: Path) -> None:
    with child.Child(child.worker("feed"), cwd=str(tmp_path)) as ahead:
        process = ahead.start()
        assert ahead.start() is process
    assert process.returncode is not None
