"""What others did between two steps is told once, exactly, and bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autopilot_runtime.tool.watch import Watch, describe
from autopilot_runtime.tool.workspace import Workspace


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
    assert lines[:2] == ["Modified: 0.txt", "Changed lines: 1-30"]
    assert "Changed lines: 1-10" in lines
    assert lines[-1] == "Modified: big.bin"


def test_a_file_that_became_something_else_is_gone(ws: Workspace, tmp_path: Path) -> None:
    watch = Watch(ws)
    watch.settle()
    (tmp_path / "old.py").unlink()
    (tmp_path / "old.py").symlink_to("/etc/passwd")
    (tmp_path / "main.py").unlink()
    (tmp_path / "main.py").mkdir()
    assert describe(watch.changes()) == "Deleted: main.py\nDeleted: old.py"
