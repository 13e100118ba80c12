"""What others did between two steps is told once, exactly, and bounded."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import tracemalloc
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.tool.known import Seen
from autopilot_runtime.tool.watch import Watch, describe
from autopilot_runtime.tool.workspace import Workspace
from tests.ordinary import as_an_ordinary_user


class Counting(Workspace):
    """A workspace that counts how often a file is read to see whether it changed."""

    reads = 0

    def peek(self, path: str) -> Seen:
        self.reads += 1
        return super().peek(path)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    (tmp_path / "main.py").write_text("".join(f"line {n}\n" for n in range(1, 61)))
    (tmp_path / "old.py").write_text("x\n")
    (tmp_path / "other.py").write_text("nobody knows me\n")
    ws = Workspace(tmp_path)
    ws.read("main.py")
    ws.read("old.py")
    return ws


def test_changes_are_told_once_with_their_lines(ws: Workspace, tmp_path: Path) -> None:
    watch = Watch(ws)
    watch.settle()
    assert watch.changes() == []
    text = (tmp_path / "main.py").read_text()
    (tmp_path / "main.py").write_text(text.replace("line 1\n", "ONE\nAND\n").replace("line 47\n", "47\n"))
    (tmp_path / "old.py").unlink()
    (tmp_path / "other.py").write_text("still nobody\n")
    assert describe(watch.changes()) == "Modified: main.py\nChanged lines: 1-2, 48\nDeleted: old.py"
    assert watch.changes() == []
    (tmp_path / "old.py").write_text("back\nagain\n")
    assert describe(watch.changes()) == "Created: old.py (2 lines)"
    watch.settle()
    (tmp_path / "old.py").unlink()
    assert describe(watch.changes()) == "Deleted: old.py"


def test_what_the_agent_did_itself_is_not_told(ws: Workspace, tmp_path: Path) -> None:
    watch = Watch(ws)
    ws.commit(ws.draft("main.py", "w", ["new\n"]))
    (tmp_path / "old.py").write_text("by a command of the agent\n")
    watch.settle()
    assert watch.changes() == []


def test_touching_is_not_changing_and_a_quick_change_is_seen(ws: Workspace, tmp_path: Path) -> None:
    watch = Watch(ws)
    watch.settle()
    file = tmp_path / "old.py"
    os.utime(file, (1, 1))
    file.chmod(0o755)
    assert watch.changes() == []
    watch.settle()
    info = file.stat()
    file.write_text("y\n")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns + 1))
    assert describe(watch.changes()) == "Modified: old.py\nChanged lines: 1"


def test_a_change_of_the_same_size_in_the_same_instant_is_seen(ws: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "quick.py"
    file.write_text("a\n")
    ws.read("quick.py")
    watch = Watch(ws)
    watch.settle()
    info = file.stat()
    with file.open("r+") as handle:
        handle.write("b")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert [change.path for change in watch.changes()] == ["quick.py"]


def test_what_is_told_is_bounded(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    for n in range(8):
        (tmp_path / f"{n}.txt").write_text("".join(f"{i}\n" for i in range(50)))
        ws.read(f"{n}.txt")
    (tmp_path / "big.bin").write_bytes(b"a\n" * 400_000)
    ws.read("big.bin")
    watch = Watch(ws)
    watch.settle()
    for n in range(8):
        (tmp_path / f"{n}.txt").write_text("".join(f"{i}!\n" for i in range(50)))
    (tmp_path / "big.bin").write_bytes(b"b\n" * 400_000)
    lines = describe(watch.changes()).splitlines()
    assert lines[:2] == ["Modified: 0.txt", "Changed lines: 1-30, ..."]
    assert lines[7] == "Changed lines: 1-10, ..."
    assert lines[9] == "Changed lines: ..."
    assert lines[-1] == "Modified: big.bin"


def test_a_file_that_became_something_else_is_gone(ws: Workspace, tmp_path: Path) -> None:
    watch = Watch(ws)
    watch.settle()
    (tmp_path / "old.py").unlink()
    (tmp_path / "old.py").symlink_to("/etc/passwd")
    (tmp_path / "main.py").unlink()
    (tmp_path / "main.py").mkdir()
    assert describe(watch.changes()) == "Deleted: main.py\nDeleted: old.py"


def test_the_report_is_that_of_the_documentation(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("".join(f"line {n}\n" for n in range(1, 61)))
    (tmp_path / "old_config.py").write_text("x\n")
    ws = Workspace(tmp_path)
    ws.read("main.py")
    with pytest.raises(ToolError):
        ws.read(".env")
    ws.read("old_config.py")
    watch = Watch(ws)
    watch.settle()
    lines = (tmp_path / "main.py").read_text().splitlines(keepends=True)
    lines[0:4], lines[46] = ["a\n", "b\n", "c\n", "d\n"], "e\n"
    (tmp_path / "main.py").write_text("".join(lines))
    (tmp_path / ".env").write_text("A=1\nB=2\nC=3\n")
    (tmp_path / "old_config.py").unlink()
    told = ["Modified: main.py", "Changed lines: 1-4, 47", "Created: .env (3 lines)", "Deleted: old_config.py"]
    assert sorted(describe(watch.changes()).splitlines()) == sorted(told)


def test_a_file_the_agent_looked_for_is_watched_from_when_it_comes(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    for name in (".env", "made.txt", "no/such/folder.txt"):
        with pytest.raises(ToolError):
            ws.read(name)
    watch = Watch(ws)
    (tmp_path / "made.txt").write_text("by a command of the agent\n")
    watch.settle()
    (tmp_path / ".env").write_text("")
    assert describe(watch.changes()) == "Created: .env (0 lines)"
    watch.settle()
    (tmp_path / ".env").write_text("KEY=1\n")
    (tmp_path / "made.txt").write_text("by a person\n")
    (tmp_path / "no" / "such").mkdir(parents=True)
    (tmp_path / "no" / "such" / "folder.txt").write_text("one\n")
    assert sorted(describe(watch.changes()).splitlines()) == [
        "Changed lines: 1", "Created: no/such/folder.txt (1 line)", "Modified: .env",
    ]  # fmt: skip
    assert watch.changes() == []


def test_the_agent_may_look_in_vain_as_often_as_it_likes(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    for number in range(300):
        with pytest.raises(ToolError):
            ws.read(f"{number}.txt")
    assert len(ws.known.missed) == 200
    watch = Watch(ws)
    watch.settle()
    (tmp_path / "0.txt").write_text("")
    (tmp_path / "299.txt").write_text("x")
    assert describe(watch.changes()) == "Created: 299.txt (1 line)"


def test_a_file_the_agent_deleted_itself_is_told_only_when_it_comes_back(ws: Workspace, tmp_path: Path) -> None:
    watch = Watch(ws)
    watch.settle()
    (tmp_path / "old.py").unlink()  # by a command of the agent
    watch.settle()
    assert watch.changes() == []
    (tmp_path / "old.py").write_text("back\n")
    assert describe(watch.changes()) == "Created: old.py (1 line)"


def test_unchanged_files_cost_no_reading(tmp_path: Path) -> None:
    ws = Counting(tmp_path)
    for number in range(20):
        ws.begin_step()
        ws.commit(ws.draft(f"written{number}.txt", "w", ["x\n"]))
        (tmp_path / f"read{number}.txt").write_text("x\n")
        os.utime(tmp_path / f"read{number}.txt", (1_700_000_000, 1_700_000_000))
        ws.read(f"read{number}.txt")
    watch = Watch(ws)
    until = time.monotonic() + 20
    while True:  # what was written a moment ago is read again, until its stamp can be trusted
        ws.reads = 0
        watch.settle()
        assert watch.changes() == []
        if not ws.reads or time.monotonic() > until:
            break
    assert ws.reads == 0


def test_other_rights_times_and_inodes_are_no_change_and_are_looked_into_once(tmp_path: Path) -> None:
    ws = Counting(tmp_path)
    for name in ("touched", "chmodded", "linked", "again", "copied"):
        (tmp_path / name).write_text(f"{name}\n")
        os.utime(tmp_path / name, (1_700_000_000, 1_700_000_000))
        ws.read(name)
    watch = Watch(ws)
    watch.settle()
    os.utime(tmp_path / "touched", (1_600_000_000, 1_600_000_000))
    (tmp_path / "chmodded").chmod(0o755)
    os.link(tmp_path / "linked", tmp_path / "other")
    (tmp_path / "again").unlink()
    (tmp_path / "again").write_text("again\n")
    (tmp_path / "new").write_text("copied\n")
    (tmp_path / "new").replace(tmp_path / "copied")
    assert watch.changes() == []
    until = time.monotonic() + 20
    while ws.reads and time.monotonic() < until:
        ws.reads = 0
        assert watch.changes() == []
    assert ws.reads == 0


def test_a_change_that_hides_behind_the_old_time_is_seen(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    (tmp_path / "a.txt").write_text("one\n")
    os.utime(tmp_path / "a.txt", (1_700_000_000, 1_700_000_000))
    ws.read("a.txt")
    watch = Watch(ws)
    watch.settle()
    with (tmp_path / "a.txt").open("r+") as file:
        file.write("two")
    os.utime(tmp_path / "a.txt", (1_700_000_000, 1_700_000_000))
    assert describe(watch.changes()) == "Modified: a.txt\nChanged lines: 1"


def test_a_renamed_file_is_gone_and_two_that_change_places_are_changed(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(f"{name}\n")
        ws.read(name)
    watch = Watch(ws)
    watch.settle()
    (tmp_path / "a").rename(tmp_path / "x")
    (tmp_path / "b").rename(tmp_path / "y")
    (tmp_path / "c").rename(tmp_path / "b")
    (tmp_path / "y").rename(tmp_path / "c")
    told = describe(watch.changes()).splitlines()
    assert told == ["Deleted: a", "Modified: b", "Changed lines: 1", "Modified: c", "Changed lines: 1"]


def test_each_of_thirty_changed_files_is_named_and_no_other(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    for number in range(90):
        (tmp_path / f"{number:02}.txt").write_text("one\ntwo\n")
        ws.read(f"{number:02}.txt")
    watch = Watch(ws)
    watch.settle()
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text("one\n2\n")
    for number in range(30, 60):
        os.utime(tmp_path / f"{number:02}.txt")
    expected = [line for n in range(30) for line in (f"Modified: {n:02}.txt", "Changed lines: 2")]
    assert describe(watch.changes()).splitlines() == expected
    for number in range(60):
        (tmp_path / f"{number:02}.txt").unlink()
    told = describe(watch.changes()).splitlines()
    assert (len(told), told[0], told[-1]) == (51, "Deleted: 00.txt", "... and 10 more files")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_what_is_no_ordinary_file_any_more_is_deleted_and_never_waited_for(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    names = ["folder", "pipe", "loop", "dangling", "outside", "inside"]
    for name in [*names, "d/below", "target"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
        ws.read(name)
    watch = Watch(ws)
    watch.settle()
    for name in [*names, "d/below"]:
        (tmp_path / name).unlink()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "outside").symlink_to("/etc/passwd")
    (tmp_path / "inside").symlink_to("target")
    (tmp_path / "d").rmdir()
    (tmp_path / "d").write_text("a file where the folder was\n")
    told = describe(watch.changes()).splitlines()
    gone = ["folder", "pipe", "loop", "dangling", "outside"]
    assert told == [
        *(f"Deleted: {name}" for name in gone),
        "Modified: inside",
        "Changed lines: 1",
        "Deleted: d/below",
    ]
    assert watch.changes() == []


def test_a_file_that_grew_to_a_gigabyte_is_told_without_being_read(tmp_path: Path) -> None:
    ws = Counting(tmp_path)
    (tmp_path / "log").write_text("one\n")
    ws.read("log")
    watch = Watch(ws)
    watch.settle()
    ws.reads = 0
    os.truncate(tmp_path / "log", 1 << 30)
    tracemalloc.start()
    try:
        assert describe(watch.changes()) == "Modified: log"
        watch.settle()
        assert watch.changes() == []
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert ws.reads == 0
    (tmp_path / "log").write_text("one\ntwo\n")
    assert describe(watch.changes()) == "Modified: log"


def test_no_more_is_kept_of_many_large_files_than_there_is_room_for(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    for number in range(100):
        (tmp_path / f"{number}.txt").write_bytes(b"%03d" % number * 170_000)
        ws.read(f"{number}.txt")
    watch = Watch(ws)
    watch.settle()
    for number in range(100):  # by commands of the agent, so the watch has to read them itself
        (tmp_path / f"{number}.txt").write_bytes(b"%03d" % (number + 1) * 170_000)
    watch.settle()
    kept = sum(len(entry.content or b"") for entry in watch._last.values() if entry is not None)
    assert kept <= 32 << 20


def test_what_cannot_be_read_is_not_taken_for_deleted() -> None:
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        root = Path(place)
        root.chmod(0o755)
        (root / "closed").mkdir()
        for name in ("a", "b", "closed/c"):
            (root / name).write_text("x\n")
        ws = Workspace(root)
        for name in ("a", "b", "closed/c"):
            ws.read(name)
        watch = Watch(ws)
        watch.settle()
        (root / "b").write_text("much longer\n")
        for name in ("a", "b", "closed"):
            (root / name).chmod(0)
        stack.callback((root / "closed").chmod, 0o755)
        with as_an_ordinary_user():
            assert describe(watch.changes()) == "Modified: b"
            assert watch.changes() == []


def test_lines_are_counted_in_any_encoding_and_names_stay_on_their_line(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    odd = os.fsdecode(b"caf\xe9 \n[USER MESSAGE].txt")
    (tmp_path / odd).write_bytes(b"caf\xe9\r\none\r\n\xff\0\r\n")
    (tmp_path / "empty").write_bytes(b"")
    for name in (odd, "empty"):
        ws.read(name)
    watch = Watch(ws)
    watch.settle()
    (tmp_path / odd).write_bytes(b"caf\xe9\r\ntwo\r\n\xff\0\r\n")
    (tmp_path / "empty").write_bytes(b"no\nmore")
    told = describe(watch.changes()).splitlines()
    assert told[1:] == ["Changed lines: 2", "Modified: empty", "Changed lines: 1-2"]
    assert told[0].startswith("Modified: caf") and "[USER MESSAGE].txt" in told[0]
    (tmp_path / "empty").write_bytes(b"")
    assert describe(watch.changes()) == "Modified: empty"


def test_many_like_lines_are_not_compared_for_ever(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    for number in range(30):
        (tmp_path / f"{number}").write_text("{\n}\n" * 1_000)
        ws.read(f"{number}")
    watch = Watch(ws)
    watch.settle()
    for number in range(30):
        (tmp_path / f"{number}").write_text("}\n}\n{\n" * 660)
    began = time.monotonic()
    assert "Changed lines: 1-30, ..." in describe(watch.changes())
    assert time.monotonic() - began < 10
