"""Undo from another process, after a crash, across sessions, and what it does not cover."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import EditConflict, RunInProgress, SetupError
from autopilot_runtime.runtime import sites, trail
from autopilot_runtime.runtime.footprint import Footprint
from autopilot_runtime.runtime.trail import Trail, store_path
from autopilot_runtime.runtime.undo import undo, undoable
from autopilot_runtime.store.upkeep import check
from autopilot_runtime.tool.workspace import Workspace

ROOT = Path(__file__).parents[2]


class Bench:
    """A workspace in which runs are made by hand: what file tools and shells would do."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        self.workspace = Workspace(self.work)
        self.said: list[str] = []
        self._number = 0

    def begin(self, session: str = "s", run: str = "") -> Footprint:
        self._number += 1
        made = Footprint(
            self.work, run_id=run or f"r{self._number}", session_id=session, warn=self.said.append, task="the task"
        )
        self.workspace.before_write = made.before_write
        return made

    def write(self, path: str, text: str) -> None:
        self.workspace.begin_step()
        self.workspace.commit(self.workspace.draft(path, "w", [text]))

    def tools(self, session: str = "s", **files: str) -> None:
        """A run of file tools."""
        run = self.begin(session)
        for path, text in files.items():
            self.write(path, text)
        asyncio.run(run.end(hurry=False))

    def shell(self, command: str, session: str = "s", *, hurry: bool = False) -> None:
        """A run of one command."""
        run = self.begin(session)
        asyncio.run(run.before_program())
        subprocess.run(command, shell=True, cwd=self.work, check=True)
        asyncio.run(run.end(hurry=hurry))

    @property
    def files(self) -> dict[str, str]:
        return {str(p.relative_to(self.work)): p.read_text() for p in sorted(self.work.rglob("*")) if p.is_file()}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Bench(tmp_path)


def test_another_process_undoes_later(bench: Bench) -> None:
    bench.tools(a="1")
    bench.shell("echo 2 > a; mkdir d; echo x > d/f")
    code = "import sys; from autopilot_runtime.runtime.undo import undo; print(*undo(sys.argv[1]).paths)"
    found = subprocess.run(
        [sys.executable, "-c", code, bench.work], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout == "a d d/f\n" and bench.files == {"a": "1"}
    assert [(one.id, one.task) for one in undoable(bench.work) if not one.undoes] == [("r1", "the task")]


def test_a_run_that_changed_nothing_leaves_nothing(bench: Bench) -> None:
    bench.shell("true")
    assert undoable(bench.work) == []
    bench.tools(a="1")
    bench.shell("echo 2 > a; echo 1 > b; printf 1 > a; rm b")
    assert [one.id for one in undoable(bench.work)] == ["r2"]


def test_a_change_of_another_session_is_somebody_elses(bench: Bench) -> None:
    bench.tools(a="1")
    bench.tools("other", a="2")
    with pytest.raises(EditConflict, match="a since run r1"):
        undo(bench.work, "r1")
    assert undo(bench.work, session="s", force=True).run == "r1"
    assert bench.files == {}
    assert undo(bench.work, undoable(bench.work)[0].id).paths == ("a",)
    assert bench.files == {"a": "2"}


def test_a_change_of_a_person_between_two_runs_is_not_lost(bench: Bench) -> None:
    bench.tools(a="1")
    (bench.work / "a").write_text("a person's")
    bench.workspace.read("a")
    bench.tools(a="3")
    with pytest.raises(EditConflict):
        undo(bench.work, "r1")
    undo(bench.work, "r2")
    assert bench.files == {"a": "a person's"}


def test_what_another_agent_wrote_meanwhile_is_not_taken_for_the_commands_doing(bench: Bench) -> None:
    run = bench.begin()
    asyncio.run(run.before_program())
    (bench.work / "mine").write_text("m")
    other = bench.begin("other")
    bench.write("theirs", "t")
    asyncio.run(other.end(hurry=False))
    asyncio.run(run.end(hurry=False))
    assert undo(bench.work, "r1").paths == ("mine",)
    assert bench.files == {"theirs": "t"}


def test_folders_with_others_files_stay(bench: Bench) -> None:
    bench.shell("mkdir -p d/e; echo 1 > d/e/f; mkdir -p p/__pycache__; echo 1 > p/m.py; echo 1 > p/__pycache__/m.pyc")
    (bench.work / "d" / "mine").write_text("mine")
    assert "d" not in undo(bench.work).paths
    assert bench.files == {"d/mine": "mine"} and not (bench.work / "p").exists()


def test_a_folder_that_is_gone_comes_back_for_what_was_in_it(bench: Bench) -> None:
    (bench.work / "d").mkdir()
    (bench.work / "d" / "f").write_text("old")
    bench.shell("echo new > d/f")
    bench.shell("rm -r d")
    undo(bench.work, "r1")
    assert bench.files == {"d/f": "old"}


def test_git_and_what_tools_can_make_again_are_left_alone(bench: Bench) -> None:
    bench.shell("mkdir .git node_modules; echo 1 > .git/x; echo 1 > node_modules/y; echo 1 > z")
    assert undo(bench.work).paths == ("z",)
    assert bench.files == {".git/x": "1\n", "node_modules/y": "1\n"}


def test_a_file_that_is_too_large_is_said_and_left(bench: Bench) -> None:
    (bench.work / "big").touch()
    os.truncate(bench.work / "big", sites.MAX_FILE + 1)
    bench.shell("echo 1 > small; rm big")
    assert bench.said == ["Undo will not bring these back, their content is not kept: big"]
    done = undo(bench.work)
    assert (done.paths, done.left) == (("small",), ("big",))


def test_a_workspace_over_the_limits_is_not_kept_and_that_is_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.work / "big").touch()
    os.truncate(bench.work / "big", 3 << 30)
    run = bench.begin()
    asyncio.run(run.before_program())
    bench.write("a", "1")
    asyncio.run(run.end(hurry=False))
    assert (
        len(bench.said) == 1
        and "file tools" in bench.said[0]
        and "2,048 MB" in bench.said[0].replace("2048", "2,048")
    )
    assert undo(bench.work).paths == ("a",)


def test_a_run_that_was_killed_can_be_undone(bench: Bench) -> None:
    (bench.work / "a").write_text("old")
    code = """
        import asyncio, os, sys, time
        sys.path.insert(0, "tests/runtime")
        from pathlib import Path
        from autopilot_runtime.runtime.footprint import Footprint
        from autopilot_runtime.tool.workspace import Workspace
        work = Path(sys.argv[1])
        run = Footprint(work, run_id="killed", session_id="s", warn=print)
        ws = Workspace(work)
        ws.before_write = run.before_write
        ws.commit(ws.draft("a", "w", ["one"]))
        ws.begin_step()
        ws.commit(ws.draft("a", "w", ["two"]))
        asyncio.run(run.before_program())
        (work / "b").write_text("by shell")
        print("ready", flush=True)
        time.sleep(100)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), bench.work], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    with pytest.raises(RunInProgress, match="killed"):
        undo(bench.work)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert undo(bench.work).paths == ("a", "b")
    assert bench.files == {"a": "old"}


def killed(bench: Bench, *, makes: tuple[str, ...], skip: tuple[str, ...] = ()) -> None:
    """A run whose process is gone in the middle of a command that has made these files."""
    code = """
        import asyncio, os, sys
        from pathlib import Path
        from autopilot_runtime.runtime.footprint import Footprint
        work, makes, skip = Path(sys.argv[1]), sys.argv[2].split(), sys.argv[3].split()
        run = Footprint(work, run_id="killed", session_id="s", warn=print, skip=[work / one for one in skip])
        asyncio.run(run.before_program())
        for name in makes:
            (work / name).parent.mkdir(exist_ok=True)
            (work / name).write_text("made")
        os._exit(9)
    """
    words = [sys.executable, "-c", textwrap.dedent(code), str(bench.work), " ".join(makes), " ".join(skip)]
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == 9


def test_a_killed_run_is_listed_and_its_session_stays(bench: Bench) -> None:
    killed(bench, makes=("b", "s.db", "kept/s.json"), skip=("s.db", "kept"))
    listed = undoable(bench.work)
    assert [one.id for one in listed] == ["killed"] and listed[0].unseen
    assert undo(bench.work).paths == ("b",)
    assert bench.files == {"kept/s.json": "made", "s.db": "made"}


def test_what_a_write_in_the_middle_stands_in_is_no_file(bench: Bench) -> None:
    killed(bench, makes=("b",))
    bench.tools(a="new")  # finishes what the killed one left, while the new text stands beside its place
    assert [one.paths for one in undoable(bench.work)] == [("a",), ("b",)]


@pytest.mark.parametrize("wait", [0, 3, 40])
def test_an_undo_that_was_killed_is_finished_by_the_next(bench: Bench, wait: int) -> None:
    for number in range(400):
        (bench.work / f"{number:03}").write_text("old")
    bench.shell("for f in *; do echo new > $f; done; mkdir made; echo x > made/x")
    code = "import sys; from autopilot_runtime.runtime.undo import undo; undo(sys.argv[1])"
    child = subprocess.Popen([sys.executable, "-c", code, bench.work], cwd=ROOT)
    limit = time.monotonic() + 30
    while child.poll() is None and time.monotonic() < limit:
        if sum((bench.work / f"{number:03}").read_text() == "old" for number in range(wait + 1)) > wait:
            break
    child.kill()
    child.wait()
    assert undo(bench.work).run == "r1" if child.returncode else True
    assert set(bench.files.values()) == {"old"} and len(bench.files) == 400
    assert [path.name for path in bench.work.iterdir() if path.name.startswith(".autopilot")] == []
    assert not (bench.work / "made").exists()
    redo = undoable(bench.work)[0]
    assert redo.undoes == "r1"
    undo(bench.work, redo.id)
    assert set(bench.files.values()) == {"new\n", "x\n"}


def test_an_undo_that_cannot_be_done_changes_nothing(bench: Bench) -> None:
    (bench.work / "a").write_text("old")
    (bench.work / "b").write_text("old")
    bench.shell("echo new > a; echo new > b")
    log = Trail(bench.work)
    digest = log.touched("r1")[1].was.digest  # type: ignore[union-attr]
    with log.store.transaction() as link:
        link.execute("UPDATE objects SET data = x'00' WHERE digest = ?", (digest,))
    log.close()
    with pytest.raises(Exception, match="damaged"):
        undo(bench.work)
    assert bench.files == {"a": "new\n", "b": "new\n"}
    assert [one.id for one in undoable(bench.work)] == ["r1"]


def test_redo_and_undo_again(bench: Bench) -> None:
    bench.tools(a="1")
    first = undo(bench.work)
    again = undo(bench.work, first.id)
    assert bench.files == {"a": "1"} and undoable(bench.work)[-1].id == "r1"
    undo(bench.work, again.id)
    assert bench.files == {}
    with pytest.raises(SetupError, match="undone already"):
        undo(bench.work, "r1")


def test_old_runs_go_with_what_was_kept_for_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "MOST_RUNS", 4)
    monkeypatch.setattr(trail, "KEPT_RUNS", 2)
    for number in range(6):
        bench.tools(a=f"{number}" * 3_000)
    assert [one.id for one in undoable(bench.work)] == ["r6", "r5", "r4"]
    log = Trail(bench.work)
    assert check(log.store) == [] and log.store.rows("SELECT count(*) FROM objects")[0][0] == 3
    log.close()


def test_a_write_outside_the_workspace_is_undone_too(bench: Bench, tmp_path: Path) -> None:
    bench.workspace.unsafe = True
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "f").write_text("old")
    run = bench.begin()
    bench.write(str(tmp_path / "out" / "f"), "new")
    bench.write(str(tmp_path / "out" / "made" / "g"), "new")
    asyncio.run(run.end(hurry=False))
    assert len(undo(bench.work).paths) == 3
    assert (tmp_path / "out" / "f").read_text() == "old" and not (tmp_path / "out" / "made").exists()


def test_file_tools_alone_never_look_at_the_tree(bench: Bench) -> None:
    bench.tools(a="1", b="2")
    log = Trail(bench.work)
    assert log.store.rows("SELECT count(*) FROM stats")[0][0] == 0
    log.close()
    assert store_path(bench.work).exists()


def test_a_run_that_is_taken_up_again_is_one_run(bench: Bench) -> None:
    (bench.work / "a").write_text("old")
    for text, run in (("one", "r"), ("two", "r")):
        part = bench.begin(run=run)
        bench.write("a", text)
        bench.write(text, text)
        asyncio.run(part.end(hurry=False))
    assert undo(bench.work).paths == ("a", "one", "two")
    assert bench.files == {"a": "old"}
