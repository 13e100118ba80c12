"""How work ends when somebody pulls a plug, and what goes on afterwards: Ctrl+C, kill -9, abort, other writers."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import AsyncRuntime, EventType, FileSession, Runtime, SessionConflict
from tests.fake_provider import Broken, FakeModel, Seen
from tests.flows.stage import KEY_ENV, PATIENCE, Gate, Stage, act, finish
from tests.running import running

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _await(happened: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < limit
        signal.sigtimedwait([], 0.02)


# ---------------------------------------------------------------- abort reaches what runs


@posix
async def test_abort_kills_what_a_command_started(stage: Stage) -> None:
    sleep = f"sleep {1000 + os.getpid() / 1e7:.7f}"  # told apart from everybody else's
    code = f"execute('main', '{sleep} & setsid {sleep} & touch up; wait', 600)"
    rt = stage.open(act(code), act("print(execute('main', 'echo again')['output'])"), finish("ok"), tools=["execute"])
    work = stage.begin()
    limit = time.monotonic() + PATIENCE
    while not ((stage.work / "up").exists() and running(sleep) == 2):
        assert time.monotonic() < limit
        await asyncio.sleep(0.01)
    begun = time.monotonic()
    rt.abort()
    assert await work is None
    assert time.monotonic() - begun < 3.0
    await asyncio.to_thread(_await, lambda: not running(sleep))
    assert stage.status == "aborted"
    assert await stage.run() == "ok"
    assert "again" in stage.heard()


async def test_abort_of_a_computing_block(stage: Stage) -> None:
    rt = stage.open(act("ping()\nwhile True:\n    pass"), finish("next"))
    inside = Gate()
    rt.register_tool("ping", inside.open)
    work = stage.begin()
    await inside.passed()
    begun = time.monotonic()
    rt.abort()
    assert await work is None
    assert time.monotonic() - begun < 2.0
    assert await stage.run() == "next"


async def test_abort_from_a_hook_and_twice(stage: Stage) -> None:
    rt = stage.open(act("1"), act("hold()"), finish("next"))
    stopped = Gate()
    rt.register_tool("hold", stopped.wait)

    def stop(step: int, **_: Any) -> None:
        if step == 2:
            rt.abort()
            rt.abort()
            stopped.open()

    rt.hooks.register(EventType.STEP, stop)
    assert await stage.run() is None
    assert stage.status == "aborted"
    assert len(stage.of(EventType.ABORTED)) == 1
    assert await stage.run() == "next"


# ---------------------------------------------------------------- stuck hooks


async def test_a_stuck_hook_is_reported_and_does_not_hold_the_run(stage: Stage) -> None:
    rt = stage.open(act("1"), finish("done"))
    rt.hooks.patience = 0.2
    released = Gate()
    seen: list[str] = []
    rt.hooks.register(EventType.START, lambda **_: released.wait())
    rt.hooks.register(EventType.FINISH, lambda summary, **_: seen.append(summary))
    assert await stage.run() == "done"
    released.open()
    assert seen == ["done"]
    assert "has not returned" in stage.of(EventType.HOOK_ERROR)[0].error


# ---------------------------------------------------------------- the host is stopped

SCRIPT = """
import signal, sys
from autopilot_runtime import Runtime
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
rt = Runtime(sys.argv[1], session="file", session_id="s", session_dir=sys.argv[2], stream=True)
rt.hooks.clear()
rt.register_tool("ready", lambda: print("READY", flush=True))
rt.register_tool("hang", lambda: __import__("threading").Event().wait())
try:
    rt.run("Do it")
except KeyboardInterrupt:
    print("INTERRUPTED", rt.last.status, len(rt.messages), flush=True)
    sys.exit(130)
"""


def _script(agent: Path, folder: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), KEY_ENV: "key-of-the-child-0123"}
    command = [sys.executable, "-c", SCRIPT, str(agent), str(folder / "sessions")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, cwd=folder)


HANG = act("write_file('one.txt')\nready()\nhang()", "1")


@posix
def test_ctrl_c_stops_the_block_saves_the_session_and_is_raised_once(tmp_path: Path) -> None:
    one = Stage("sync", tmp_path)
    with FakeModel([HANG]) as fake, _script(one.agent(url=fake.url), tmp_path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "READY\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline().startswith("INTERRUPTED aborted ")
        assert child.wait(PATIENCE) == 130
    assert [m["role"] for m in FileSession("s", "Flow", tmp_path / "sessions").load()][:2] == ["user", "assistant"]


@posix
def test_ctrl_c_during_a_stalled_reply(tmp_path: Path) -> None:
    one = Stage("sync", tmp_path)
    with FakeModel([act("ready()"), Broken("stall")]) as fake, _script(one.agent(url=fake.url), tmp_path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "READY\n"
        limit = time.monotonic() + PATIENCE
        while len(fake.requests) < 2:
            assert time.monotonic() < limit
            signal.sigtimedwait([], 0.01)
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline().startswith("INTERRUPTED aborted ")
        assert child.wait(PATIENCE) == 130


@posix
def test_after_kill_9_the_session_holds_every_finished_step(tmp_path: Path) -> None:
    one = Stage("sync", tmp_path)
    replies = [act("write_file('zero.txt')\nprint('step one done')", "0"), HANG]
    with FakeModel(replies) as fake, _script(one.agent(url=fake.url), tmp_path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "READY\n"
        workers = _children_of(child.pid)
        child.kill()
        child.wait(PATIENCE)
        _await(lambda: all(map(_gone, workers)))
    with FakeModel([finish("I know.")]) as fake:
        again = Runtime(one.agent(url=fake.url), session="file", session_id="s", session_dir=tmp_path / "sessions")
        with again as rt:
            assert [m["role"] for m in rt.messages] == ["user", "assistant", "user", "assistant"]
            assert "step one done" in rt.messages[2]["content"]
            assert rt.run("Where were we?") == "I know."
            assert "step one done" in str(fake.requests[0].json["messages"])
    assert (one.work / "one.txt").read_text() == "1\n"


async def test_a_message_is_on_disk_when_send_message_returns(stage: Stage) -> None:
    folder, crashed = stage.folder / "sessions", stage.folder / "crashed"

    def speak() -> None:
        """Say something."""
        stage.rt.send_message("first words")
        stage.rt.send_message("second words")
        shutil.copytree(folder, crashed)  # what a crash right now would leave

    options = {"session": "file", "session_id": "s", "session_dir": folder}
    stage.open(act("speak()"), finish(), finish(), options=options)
    stage.rt.register_tool("speak", speak)
    await stage.run()
    assert stage.conversation.count("first words") == 1
    await stage.run("Again")
    assert stage.conversation.count("first words") == 1

    stage.open(finish(), finish(), options={**options, "session_dir": crashed})
    await stage.run("Where were we?")
    assert stage.heard().index("first words") < stage.heard().index("second words")
    await stage.run("Again")
    assert stage.conversation.count("second words") == 1


async def test_a_message_between_two_runs_waits_for_whoever_opens_the_session_next(stage: Stage) -> None:
    options = {"session": "file", "session_id": "s", "session_dir": stage.folder / "sessions"}
    stage.open(finish(), options=options)
    await stage.run()
    stage.rt.send_message("do not forget the milk")
    stage.open(finish(), finish(), options=options)
    await stage.run("Go on")
    assert "do not forget the milk" in stage.heard()


def _children_of(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


# ---------------------------------------------------------------- sessions


async def test_a_file_session_goes_on_in_a_new_runtime_with_the_same_marks(stage: Stage) -> None:
    where = {"session": "file", "session_id": "team/a", "session_dir": stage.folder / "sessions"}
    stage.open(finish("first"), finish("second"), options=where)
    await stage.run("one")
    tag = stage.core._kit.tag
    await stage.do(stage.rt.close)
    stage.make(stage.folder / "agent.yaml", **where)
    assert stage.core._kit.tag == tag
    assert await stage.run("two") == "second"
    assert "[Task 2][USER INPUT]" in stage.heard()
    assert "one" in str(stage.fake.requests[-1].json["messages"])
    [listed] = FileSession("_", "_", stage.folder / "sessions").list_sessions()
    assert (listed["session_id"], listed["messages"]) == ("team/a", 4)


async def test_two_writers_of_one_session_never_overwrite_each_other(stage: Stage) -> None:
    where = {"session": "file", "session_id": "s", "session_dir": stage.folder / "sessions"}
    first = stage.open(finish("one"), finish("two"), finish("three"), options=where)
    second = stage.make(stage.folder / "agent.yaml", **where)
    assert await stage.do(first.run, "a") == "one"
    with pytest.raises(SessionConflict):
        await stage.do(second.run, "b")
    kept = FileSession("s", "Flow", stage.folder / "sessions").load()
    assert len(kept) == 2
    assert "one" in kept[1]["content"]


async def test_reset_of_a_file_session_removes_its_file(stage: Stage) -> None:
    where = {"session": "file", "session_id": "s", "session_dir": stage.folder / "sessions"}
    rt = stage.open(finish("one"), finish("two"), options=where)
    await stage.run("old words")
    rt.reset()
    assert not FileSession("s", "Flow", stage.folder / "sessions").exists()
    assert await stage.run("new words") == "two"
    kept = FileSession("s", "Flow", stage.folder / "sessions").load()
    assert "old words" not in str(kept)


# ---------------------------------------------------------------- what others change meanwhile


async def test_the_model_hears_what_a_person_changed_and_must_read_again(stage: Stage) -> None:
    (stage.work / "main.py").write_text("a = 1\nb = 2\n")
    replies = [
        act("read_file('main.py')"),
        act("print('thinking took a while')"),
        act("write_file('main.py', mode='edit', start_line=1, end_line=1)", "a = 10"),
        finish(),
    ]

    def reply(_: Seen) -> str:
        if len(replies) == 3:  # while the model thinks about its second step
            (stage.work / "main.py").write_text("# new\na = 1\nb = 3\n")
        return replies.pop(0)

    stage.open(script=reply)
    await stage.run()
    assert "[ENVIRONMENT CHANGE]" in stage.heard(2)
    assert "main.py" in stage.heard(2).partition("[ENVIRONMENT CHANGE]")[2]
    assert (stage.work / "main.py").read_text() == "# new\na = 1\nb = 3\n"
    assert "changed by somebody else" in stage.heard(3)


# ---------------------------------------------------------------- the other engine


async def test_the_same_story_in_the_other_engine(stage: Stage) -> None:
    pytest.importorskip("pydantic_monty")
    code = "write_file('a.txt')\nn = len(read_file('a.txt'))\nprint('length', n)"
    stage.open(act(code, "hello"), act("n + 1"), finish("done"), runtime={"control": "monty"})
    assert await stage.run() == "done"
    assert "length 6" in stage.heard(1)
    assert "7" in stage.heard(2).partition("[STATUS]")[0]
    assert (stage.work / "a.txt").read_text() == "hello\n"


# ---------------------------------------------------------------- many at once


async def test_forty_runtimes_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    one = Stage("async", tmp_path)

    def reply(seen: Seen) -> str:
        said = str(seen.json["messages"][0]["content"])
        number = said.partition("<")[2].partition(">")[0]
        if f"value {number}" in seen.text:
            return finish(number)
        return act(f"write_file('f{number}.txt')\nwait()\nprint('value', read_file('f{number}.txt').strip())", number)

    meeting = asyncio.Barrier(40)  # all forty are in the middle of a block at the same time

    async def wait() -> None:
        async with asyncio.timeout(PATIENCE):
            await meeting.wait()

    async def work(agent: Path, number: int) -> str | None:
        async with AsyncRuntime(agent, session_id=f"s{number}") as rt:
            rt.hooks.clear()
            rt.register_tool("wait", wait)
            return await rt.run(f"<{number}>")

    with FakeModel(reply) as fake:
        agent = one.agent(url=fake.url)
        assert await asyncio.gather(*(work(agent, n) for n in range(40))) == [str(n) for n in range(40)]


async def test_events_are_given_again_from_any_number_on(stage: Stage) -> None:
    rt = stage.open(act("1"), finish("ok"))
    await stage.run()
    last = stage.events[-1].seq
    if stage.sync:
        again = rt.events(3)
        seen = [next(again).seq for _ in range(last - 3)]
        again.close()
    else:
        again = rt.events(3)
        seen = [(await anext(again)).seq for _ in range(last - 3)]
        await again.aclose()
    assert seen == list(range(4, last + 1))


BARE_MACHINE = """
import sys
from autopilot_runtime import Runtime, SandboxUnavailable
from autopilot_runtime.confine.seccomp import ALLOW, Rule, install, refuse

install([Rule(name, action=refuse(1)) for name in ("landlock_create_ruleset", "unshare", "mount")], default=ALLOW)
with Runtime(sys.argv[1]) as rt:
    rt.hooks.clear()
    try:
        rt.run("go")
    except SandboxUnavailable as error:
        print(error)
"""


@posix
def test_a_confinement_that_cannot_be_had_is_refused_not_forgotten(tmp_path: Path) -> None:
    # A kernel that offers nothing: what it would offer is taken away from the process first.
    one = Stage("sync", tmp_path)
    required = {"sandbox": {"shell": "required"}, "control": "monty"}
    with FakeModel([finish(), finish()]) as fake:
        for tools, said in ((["execute"], "shell: required"), (["ask_user"], "")):
            agent = one.agent(url=fake.url, tools=tools, runtime=required)
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            ran = subprocess.run(
                [sys.executable, "-c", BARE_MACHINE, agent], env=env, capture_output=True, text=True, check=False
            )
            assert (ran.returncode, ran.stderr) == (0, "")
            assert said in ran.stdout
            assert bool(ran.stdout) == bool(said)
            assert len(fake.requests) == (0 if said else 1)  # without a shell there is nothing to confine
