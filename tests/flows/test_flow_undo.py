"""What a run did to files is undone to the byte, by whatever door, and never over somebody else's work."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from autopilot_runtime import EventType, RunInProgress, SetupError
from autopilot_runtime.core.errors import EditConflict
from autopilot_runtime.runtime.trail import store_path
from tests.flows.crew import calling, helper
from tests.flows.stage import Gate, Stage, act, finish
from tests.running import wait_for
from tests.store.trees import picture

FILES = ["read_file", "write_file"]
SHELL = ["read_file", "write_file", "execute"]
BYPASS = {"permission_mode": "bypass"}


def plant(work: Path) -> None:
    """A small project with all that is awkward."""
    (work / "a.txt").write_bytes(b"one\r\ntwo")
    (work / "a.txt").chmod(0o640)
    (work / "run.sh").write_text("echo hi\n")
    (work / "run.sh").chmod(0o755)
    (work / "sub" / "empty").mkdir(parents=True)
    (work / "sub" / "b.bin").write_bytes(bytes(range(256)) * 40)
    (work / "link").symlink_to("a.txt")
    (work / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"latin")


async def test_what_file_tools_did_is_undone_without_looking_at_the_tree(stage: Stage) -> None:
    plant(stage.work)
    before = picture(stage.work)
    code = "write_file('a.txt', mode='edit', start_line=1)\nwrite_file('new/deep/c.txt')\nwrite_file('run.sh')"
    stage.open(act(code, "ONE", "made", "echo ho"), finish(), tools=FILES, options=BYPASS)
    await stage.run()
    assert picture(stage.work) != before
    assert await stage.do(stage.rt.undo) == ["a.txt", "new", "new/deep", "new/deep/c.txt", "run.sh"]
    assert picture(stage.work) == before
    event = stage.of(EventType.FILES_RESTORED)[0]
    assert event.files == ["a.txt", "new", "new/deep", "new/deep/c.txt", "run.sh"]


async def test_what_a_shell_did_is_undone_too(stage: Stage) -> None:
    plant(stage.work)
    before = picture(stage.work)
    command = (
        "rm -r sub a.txt; mkdir -p x/y; echo 1 > x/y/z; ln -sfn run.sh link; chmod 600 run.sh; "
        "mkdir sub; echo other > sub/b.bin; mv caf* moved"
    )
    stage.open(act(f"execute('main', {command!r})"), finish(), tools=SHELL, options=BYPASS)
    await stage.run()
    after = picture(stage.work)
    assert after != before
    await stage.do(stage.rt.undo)
    assert picture(stage.work) == before
    undo_id = stage.of(EventType.FILES_RESTORED)[0].undo_id
    await stage.do(stage.rt.undo, undo_id)
    assert picture(stage.work) == after


async def test_the_first_state_counts_when_tools_and_shells_change_one_file(stage: Stage) -> None:
    (stage.work / "a.txt").write_text("first\n")
    code = "write_file('a.txt')\nexecute('main', 'echo third > a.txt; echo x > b.txt')\nwrite_file('c.txt')"
    stage.open(act(code, "second", "fourth"), finish(), tools=SHELL, options=BYPASS)
    await stage.run()
    assert await stage.do(stage.rt.undo) == ["a.txt", "b.txt", "c.txt"]
    assert picture(stage.work) == {"a.txt": (0o644, b"first\n")}


async def test_a_file_tool_after_a_shell_does_not_hide_what_the_shell_did(stage: Stage) -> None:
    plant(stage.work)
    (stage.work / "gone").mkdir()
    (stage.work / "gone" / "x").write_text("x")
    (stage.work / "node_modules").mkdir()
    (stage.work / "node_modules" / "m.js").write_text("m")
    before = picture(stage.work)
    command = "echo shell > a.txt; echo made > made; rm -r gone; echo now > gone; chmod 700 sub/b.bin; mkdir -p d/e"
    tools = "\n".join(f"write_file('{p}')" for p in ("a.txt", "made", "gone", "sub/b.bin", "d/e/f"))
    steps = act(f"execute('main', {command!r})"), act(tools, *"PQRST"), act("write_file('node_modules/m.js')", "U")
    stage.open(*steps, finish(), tools=SHELL, options=BYPASS)
    await stage.run()
    after = picture(stage.work)
    await stage.do(stage.rt.undo)
    assert picture(stage.work) == before
    await stage.do(stage.rt.undo, stage.of(EventType.FILES_RESTORED)[0].undo_id)
    assert picture(stage.work) == after


async def test_a_change_of_somebody_else_stops_the_undo_and_force_keeps_it(stage: Stage) -> None:
    (stage.work / "a.txt").write_text("old\n")
    (stage.work / "b.txt").write_text("old\n")
    code = "write_file('a.txt')\nwrite_file('b.txt')"
    stage.open(act(code, "new", "new"), finish(), tools=FILES, options=BYPASS)
    await stage.run()
    (stage.work / "a.txt").write_text("mine\n")
    with pytest.raises(EditConflict, match=r"a\.txt since run run_"):
        await stage.do(stage.rt.undo)
    assert (stage.work / "b.txt").read_text() == "new\n"
    await stage.do(lambda: stage.rt.undo(force=True))
    assert (stage.work / "a.txt").read_text() == "old\n"
    await stage.do(stage.rt.undo, stage.of(EventType.FILES_RESTORED)[0].undo_id)
    assert (stage.work / "a.txt").read_text() == "mine\n"


async def test_runs_are_undone_one_after_the_other_and_later_ones_are_no_conflict(stage: Stage) -> None:
    (stage.work / "a.txt").write_text("0\n")
    replies = [reply for n in "123" for reply in (act("write_file('a.txt')", n), finish())]
    stage.open(*replies, tools=FILES, options=BYPASS)
    runs = []
    for _ in range(3):
        await stage.run()
        runs.append(stage.rt.last.run_id)
    await stage.do(stage.rt.undo)
    assert (stage.work / "a.txt").read_text() == "2\n"
    await stage.do(stage.rt.undo, runs[0])
    assert (stage.work / "a.txt").read_text() == "0\n"
    with pytest.raises(SetupError, match="undone already"):
        await stage.do(stage.rt.undo, runs[0])


async def test_what_cannot_be_undone_is_said(stage: Stage) -> None:
    stage.open("Just talk.", act("write_file('a.txt')", "x"), finish(), tools=FILES, options=BYPASS)
    await stage.run()
    assert not store_path(stage.work).exists()
    with pytest.raises(SetupError, match="nothing to undo"):
        await stage.do(stage.rt.undo)
    await stage.run()
    with pytest.raises(SetupError, match=rf"No run 'nope' .* There are: {stage.rt.last.run_id}"):
        await stage.do(stage.rt.undo, "nope")
    folder = store_path(stage.work).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


async def test_nothing_is_undone_while_a_run_is_in_progress(stage: Stage) -> None:
    gate, begun = Gate(), Gate()

    def slow() -> str:
        begun.open()
        gate.wait()
        return "x"

    stage.open(act("slow()"), finish(), tools=FILES, options=BYPASS)
    stage.rt.register_tool("slow", slow)
    work = stage.begin()
    await begun.passed()
    with pytest.raises(RunInProgress, match="undo"):
        await stage.do(stage.rt.undo)
    gate.open()
    await work


async def test_the_model_hears_of_an_undo(stage: Stage) -> None:
    (stage.work / "a.txt").write_text("one\n")
    code = "write_file('a.txt')\nexecute('main', 'echo y > by_shell.txt')"
    stage.open(act(code, "two"), finish(), finish(), tools=SHELL, options=BYPASS)
    await stage.run()
    await stage.do(stage.rt.undo)
    await stage.run("again")
    assert "Modified: a.txt" in stage.heard() and "Deleted: by_shell.txt" in stage.heard()


async def test_an_aborted_run_can_be_undone(stage: Stage) -> None:
    (stage.work / "a.txt").write_text("one\n")
    before = picture(stage.work)
    stage.open(act("execute('main', 'echo two > a.txt; sleep 97.31', timeout=100)"), tools=SHELL, options=BYPASS)
    work = stage.begin()
    await asyncio.to_thread(wait_for, "sleep 97.31")
    stage.rt.abort()
    await work
    assert stage.status == "aborted"
    await stage.do(stage.rt.undo)
    assert picture(stage.work) == before


async def test_without_a_place_to_keep_things_runs_go_on(stage: Stage) -> None:
    (Path.home() / ".autopilot").write_text("not a folder")
    stage.open(
        act("write_file('a.txt')\nexecute('main', 'echo x > b.txt')", "x"), finish(), tools=SHELL, options=BYPASS
    )
    await stage.run()
    assert stage.status == "completed" and (stage.work / "b.txt").exists()
    said = [event.message for event in stage.of(EventType.WARNING) if "undone" in event.message]
    assert len(said) == 1


async def test_what_a_sub_agent_did_is_undone_with_its_callers_run(stage: Stage) -> None:
    (stage.work / "b.txt").write_text("old\n")
    helper(stage, act("write_file('a.txt')\nexecute('main', 'echo new > b.txt')", "x"), finish(), tools=SHELL)
    code = "delegate('helper', 'Write')\nwrite_file('c.txt')"
    stage.open(act(code, "x"), finish(), tools=[calling(), *SHELL], options=BYPASS)
    await stage.run()
    assert await stage.do(stage.rt.undo) == ["a.txt", "b.txt", "c.txt"]
    assert picture(stage.work) == {"b.txt": (0o644, b"old\n")}


@pytest.mark.parametrize("place", ["file kept", "file .", "db sessions.db", "db deep/s.db"])
async def test_the_sessions_own_files_are_no_work_of_the_agent(stage: Stage, place: str) -> None:
    kind, where = place.split()
    (stage.work / "deep").mkdir()
    where = str(stage.work / where)
    kept = {"session_dir": where} if kind == "file" else {"db_url": f"sqlite:///{where}"}
    options = {**BYPASS, "session": kind, **kept}
    again = act("execute('main', 'echo y > a; echo y > deep/b')")
    stage.open(act("execute('main', 'echo x > a')"), finish(), again, finish(), tools=SHELL, options=options)
    await stage.run()
    await stage.run("again")
    held = len(stage.rt.messages)
    assert await stage.do(stage.rt.undo) == ["a", "deep/b"]
    assert await stage.do(stage.rt.undo) == ["a"]
    stage.open(finish(), tools=SHELL, options=options)
    assert len(stage.rt.messages) == held


async def test_a_session_that_moves_into_the_workspace_is_none_of_its_files(stage: Stage) -> None:
    stage.open(act("execute('main', 'echo x > a')"), finish(), tools=SHELL, options=BYPASS)
    database = stage.work / "s.db"
    database.write_bytes(b"")  # seen by the first look, before it was a session
    await stage.run()
    options = {**BYPASS, "session": "db", "db_url": f"sqlite:///{database}"}
    stage.open(act("execute('main', 'echo y > a')"), finish(), tools=SHELL, options=options)
    await stage.run()
    assert await stage.do(stage.rt.undo) == ["a"]
    assert database.stat().st_size


async def test_a_write_of_what_was_there_already_is_no_change(stage: Stage) -> None:
    stage.open(act('write_file("a.txt")', "same"), finish("one"), act('write_file("a.txt")', "same"), finish("two"))
    await stage.run()
    assert stage.rt.last.files_changed == ("a.txt",)
    await stage.run()
    assert stage.rt.last.files_changed == ()


async def test_the_sessions_own_files_are_not_the_agents_to_write(stage: Stage) -> None:
    kept = {"session": "file", "session_id": "own", "session_dir": stage.work}
    stage.open(act('write_file("own.json")', "{}"), finish("tried"), options=kept)
    await stage.run()
    assert "belongs to the agent's own configuration" in stage.conversation
    assert "tried" in (stage.work / "own.json").read_text()


async def test_a_session_beside_the_users_files_keeps_the_agent_from_none_of_them(stage: Stage) -> None:
    for number, where in enumerate([stage.work, stage.folder]):
        kept = {"session": "file", "session_id": f"beside-{number}", "session_dir": where}
        stage.open(act(f'write_file("{number}.txt")', "mine"), finish("done"), options=kept)
        await stage.run()
        assert stage.rt.last.files_changed == (f"{number}.txt",)
        assert await stage.do(stage.rt.undo) == [f"{number}.txt"]
        assert not (stage.work / f"{number}.txt").exists()
