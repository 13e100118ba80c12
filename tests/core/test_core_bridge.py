"""The bridge: waiting, cancelling, and users' code that misbehaves on its thread."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from autopilot_runtime.core.bridge import Contained, bridge, in_thread
from autopilot_runtime.core.errors import AutopilotError


def test_a_coroutine_is_run_on_the_background_loop_and_its_result_comes_back() -> None:
    async def where() -> str:
        return threading.current_thread().name

    assert bridge().call(where()) == "autopilot-loop"


def test_errors_cross_the_bridge_as_they_are() -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        bridge().call(fail())


def test_a_call_from_the_loop_itself_is_an_error_and_no_deadlock() -> None:
    async def inner() -> None:
        bridge().call(asyncio.sleep(0))

    with pytest.raises(AutopilotError, match="own loop thread"):
        bridge().call(inner())


async def test_system_exit_in_users_code_is_contained() -> None:
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(Contained, match="SystemExit: 3"):
        await in_thread(leave)


async def test_cancelling_leaves_a_stuck_thread_behind() -> None:
    release = threading.Event()
    task = asyncio.create_task(in_thread(release.wait, 30))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 2)
    release.set()


async def test_many_jobs_at_once_all_come_back() -> None:
    results = await asyncio.gather(*(in_thread(lambda n=n: n * 2) for n in range(500)))
    assert results == [n * 2 for n in range(500)]


SCRIPT = """
import asyncio, sys
from autopilot_runtime.core.bridge import bridge
async def work():
    try:
        print("ready", flush=True)
        await asyncio.sleep(60)
    finally:
        print("cleaned", flush=True)
try:
    bridge().call(work())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_cancels_waits_for_the_clean_up_and_is_raised_once() -> None:
    child = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=10)
    assert out == "cleaned\ninterrupted\n"
    assert child.returncode == 0
