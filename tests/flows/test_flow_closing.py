"""What is left when a runtime is forked, closed or forgotten: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time
from pathlib import Path

import pytest

from autopilot_runtime import (
    Runtime,
    RuntimeClosed,
)
from tests.fake_provider import FakeModel
from tests.flows.stage import PATIENCE, Gate, Stage, act, finish


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_is_refused_and_the_parent_goes_on(stage: Stage) -> None:
    rt = stage.open(finish("parent"), finish("parent again"))
    assert await stage.run() == "parent"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            rt.send_message("from the child")
        except RuntimeClosed as error:
            code = 0 if "parent process" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1]) == 0
    assert await stage.run() == "parent again"
    assert "from the child" not in stage.conversation


async def test_a_closed_runtime_says_so(stage: Stage) -> None:
    rt = stage.open(finish())
    await stage.run()
    await stage.close()
    for call in (lambda: rt.send_message("x"), rt.reset, lambda: rt.register_tool("t", print)):
        with pytest.raises(RuntimeClosed):
            call()
    with pytest.raises(RuntimeClosed):
        await stage.run()
    await stage.close()  # twice is fine


async def test_close_during_a_run_ends_it(stage: Stage) -> None:
    rt = stage.open(act("hold()"))
    inside = Gate()

    async def hold() -> None:
        inside.open()
        await asyncio.Event().wait()

    rt.register_tool("hold", hold)
    work = stage.begin()
    await inside.passed()
    await stage.do(rt.close)
    assert await work is None
    assert stage.status == "aborted"


def _fds() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(f"{entry.name}:{entry.readlink()}")
    return found


def _children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def _use(agent: Path, number: int) -> None:
    with Runtime(agent, session_id=f"s{number}") as rt:
        assert rt.run("Go") == "done"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_runtimes_leave_no_descriptor_thread_or_child(tmp_path: Path) -> None:
    reply = act("write_file('a.txt')\nexecute('main', 'cd / && echo $PPID')", "x", done="done")
    one = Stage("sync", tmp_path)
    with FakeModel(lambda _: reply) as fake:
        agent = one.agent(url=fake.url, tools=["write_file", "execute"])
        _use(agent, 0)  # what a process needs once: the bridge's loop, the zygote
        _settled()
        before = (_fds(), _children(), threading.active_count())
        for number in range(1, 6):
            _use(agent, number)
        _settled()
        fds, children, threads = _fds(), _children(), threading.active_count()
    assert children == before[1]
    assert len(fds) <= len(before[0]), fds - before[0]
    assert threads <= before[2] + 1


def _settled() -> None:
    """Wait until the server's threads for closed connections are gone (they read end-of-file first)."""
    gc.collect()
    limit = time.monotonic() + PATIENCE
    while any("process_request" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < limit
        threading.Event().wait(0.01)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of the connection; that is Python's word for it
def test_a_forgotten_runtime_takes_its_shell_with_it(tmp_path: Path) -> None:
    one = Stage("sync", tmp_path)
    with FakeModel([act("execute('main', 'echo up')", done="done")]) as fake:
        rt = Runtime(one.agent(url=fake.url, tools=["execute"]), permission_mode="bypass")
        assert rt.run("Go") == "done"
        [terminal] = rt._async._terminal_manager.snapshot()
        pid = terminal.pid
        assert pid is not None
        guard = rt._async._terminal_manager._guard.pid
        assert {pid, guard} <= _descendants()
        del rt, terminal
        gc.collect()
        limit = time.monotonic() + PATIENCE
        while {pid, guard} & _descendants():  # a process nobody has reaped still counts
            assert time.monotonic() < limit, "the shell or its guard has outlived its runtime"
            threading.Event().wait(0.01)


def _descendants() -> set[int]:
    found, fresh = set(), _children()
    while fresh:
        found |= fresh
        lists = (Path(f"/proc/{pid}/task/{pid}/children") for pid in fresh)
        fresh = {int(child) for path in lists if path.exists() for child in path.read_text().split()} - found
    return {pid for pid in found if Path(f"/proc/{pid}").exists()}
