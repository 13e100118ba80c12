"""Nothing outlives its terminal, its pool or its host: no process, no zombie, no descriptor, no file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import RuntimeClosed, ToolError
from autopilot_runtime.shell.pool import TerminalPool
from tests.shell.watching import LONG, lives

if not sys.platform.startswith("linux"):
    pytest.skip("needs /proc", allow_module_level=True)

STUBBORN = """
import os, signal, sys, time
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"): signal.signal(getattr(signal, name), signal.SIG_IGN)
for _ in range(sys.argv.count("leave")):
    if os.fork(): os._exit(0)
    if os.getsid(0) != os.getpid(): os.setsid()
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(1000)
"""
KINDS = {
    "foreground": "{python} stubborn.py pid",
    "background": "{python} stubborn.py pid & sleep 1000",
    "nohup": "nohup {python} stubborn.py pid >/dev/null 2>&1 & sleep 1000",
    "setsid": "{python} stubborn.py pid leave & sleep 1000",
    "daemon": "{python} stubborn.py pid leave leave; sleep 1000",
    "disowned": "({python} stubborn.py pid &) ; sleep 1000",
    "without environment": "env -i {python} stubborn.py pid & sleep 1000",
}
HOST = """
import asyncio, sys
from autopilot_runtime.shell.pool import TerminalPool

async def main():
    pool = TerminalPool(sys.argv[1], shell=sys.argv[3])
    await pool.execute("main", "echo $$ > shell")
    print(pool.run_dir, flush=True)
    await pool.execute("main", sys.argv[2], 1000)

asyncio.run(main())
"""


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[TerminalPool]:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    pool = TerminalPool(tmp_path)
    yield pool
    await pool.close()


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110 - a process of somebody else
            await asyncio.sleep(0.005)


async def written(path: Path) -> int:
    await wait_for(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def children() -> str:
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()


@pytest.mark.parametrize("kind", KINDS)
async def test_terminate_ends_the_whole_tree(pool: TerminalPool, tmp_path: Path, kind: str) -> None:
    await pool.execute("main", KINDS[kind].format(python=sys.executable), 0.1)
    pid = await written(tmp_path / "pid")
    assert lives(pid)
    await pool.terminate("main")
    assert not lives(pid)


@pytest.mark.parametrize("kind", KINDS)
async def test_abort_ends_what_runs(pool: TerminalPool, tmp_path: Path, kind: str) -> None:
    task = asyncio.create_task(pool.execute("main", KINDS[kind].format(python=sys.executable), 1000))
    pid = await written(tmp_path / "pid")
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_for(lambda: not lives(pid))
    assert time.monotonic() - began < 1
    result = await pool.execute("main", "echo again")
    assert result.output == "again"


async def test_close_ends_what_a_dead_shell_left(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    pool = TerminalPool(tmp_path)
    await pool.execute("main", f"{sys.executable} stubborn.py pid leave >/dev/null 2>&1 & exit")
    pid = await written(tmp_path / "pid")
    assert lives(pid)
    await pool.close()
    assert not lives(pid)


async def test_one_terminal_ends_and_the_other_lives(pool: TerminalPool) -> None:
    await pool.execute("a", "sleep 1000", 0, new_terminal=True)
    await pool.execute("b", "x=kept", new_terminal=True)
    await pool.terminate("a")
    assert (await pool.execute("b", "echo $x")).output == "kept"


@pytest.mark.parametrize(
    ("shell", "kind"),
    [("bash", kind) for kind in KINDS] + [(shell, kind) for shell in ("zsh", "sh") for kind in ("nohup", "daemon")],
)
async def test_a_killed_host_leaves_nothing(tmp_path: Path, shell: str, kind: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    command = KINDS[kind].format(python=sys.executable)
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOST, str(tmp_path), command, shell, stdout=asyncio.subprocess.PIPE
    )
    assert host.stdout is not None
    folder = Path((await host.stdout.readline()).decode().strip())
    try:
        pid, shell = await written(tmp_path / "pid"), await written(tmp_path / "shell")
    except TimeoutError:
        host.kill()
        raise
    assert lives(pid)
    assert lives(shell)
    began = time.monotonic()
    host.send_signal(signal.SIGKILL)
    await host.wait()
    try:
        await wait_for(lambda: not lives(shell) and not folder.exists())
        await wait_for(lambda: not lives(pid))
        assert time.monotonic() - began < 2
    finally:
        if lives(pid):
            os.kill(pid, signal.SIGKILL)


async def test_fifty_shells_leave_no_descriptor_process_or_file(tmp_path: Path) -> None:
    fds, kids, threads = descriptors(), children(), 0
    for cycle in range(11):
        pool = TerminalPool(tmp_path)
        await asyncio.gather(*(pool.execute(f"t{n}", "sleep 1000 &", new_terminal=True) for n in range(5)))
        await pool.terminate("t1")
        await pool.execute("t2", "exit")
        await pool.execute("t3", "read x\ntrue", 0)
        folder = pool.run_dir
        assert list(folder.iterdir())
        await pool.close()
        assert not folder.exists()
        if cycle == 0:  # what is made once and kept: the threads of the loop
            fds, kids, threads = descriptors(), children(), threading.active_count()
    assert descriptors() == fds
    assert children() == kids
    assert threading.active_count() <= threads + (os.cpu_count() or 1) + 4  # the pool of the loop, at most


async def test_exit_codes_of_the_hosts_own_children_are_its_own(pool: TerminalPool) -> None:
    own = subprocess.Popen(["sh", "-c", "exit 17"])  # noqa: ASYNC220 - on purpose
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    await pool.execute("main", "sleep 0.01 & wait; exit 3")
    await pool.execute("main", "true")
    assert own.wait() == 17
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL


@pytest.mark.parametrize("free", [0, 1, 3, 5, 6])
async def test_without_descriptors_the_error_says_so(tmp_path: Path, free: int) -> None:
    import resource

    pool = TerminalPool(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await pool.execute("main", "true")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, descriptors())) + 8, hard))
    hoard: list[int] = []
    with contextlib.suppress(OSError):
        while True:
            hoard.append(os.open(os.devnull, os.O_RDONLY))
    for fd in [hoard.pop() for _ in range(min(free, len(hoard)))]:
        os.close(fd)
    try:
        with pytest.raises(ToolError, match="No shell could be started"):
            await pool.execute("other", "true", new_terminal=True)
    finally:
        for fd in hoard:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (await pool.execute("main", "echo fine")).output == "fine"
    await pool.close()


async def test_a_forked_copy_of_the_host_cannot_touch_the_terminals(pool: TerminalPool) -> None:
    await pool.execute("main", "x=kept")
    pid = os.fork()
    if pid == 0:
        try:
            pool._check_usable()
            os._exit(1)
        except RuntimeClosed:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0  # noqa: ASYNC222 - on purpose
    assert (await pool.execute("main", "echo $x")).output == "kept"
