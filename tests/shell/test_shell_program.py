"""Programs without a terminal: what they get, what is kept of what they write, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from autopilot_runtime.confine.wall import Kind
from autopilot_runtime.core.errors import RuntimeClosed, ToolError
from autopilot_runtime.shell.pool import TerminalPool
from autopilot_runtime.tool.context import ToolContext
from autopilot_runtime.tool.workspace import Workspace
from tests.confine.walls import KINDS, Wrapping, opener, refuse

if sys.platform == "win32":
    pytest.skip("POSIX programs", allow_module_level=True)

LONG = 20.0
PYTHON = sys.executable


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[TerminalPool]:
    pool = TerminalPool(tmp_path)
    yield pool
    await pool.close()


def python(code: str, *more: str) -> list[str]:
    return [PYTHON, "-c", textwrap.dedent(code), *more]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def held() -> tuple[int, int]:
    """The descriptors and threads of this process."""
    return len([*Path("/proc/self/fd").iterdir()]), threading.active_count()


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not true():  # noqa: ASYNC110 - a process of somebody else
            await asyncio.sleep(0.01)


async def test_a_tool_runs_a_program_in_the_workspace(pool: TerminalPool, tmp_path: Path) -> None:
    ctx = ToolContext("t", Workspace(tmp_path), open_terminals=lambda: pool)
    done = await ctx.program(python("import os, sys; print(os.getcwd()); print('no', file=sys.stderr); exit(3)"))
    assert (done.code, done.out, done.err) == (3, f"{tmp_path}\n", "no\n")
    assert not done.truncated
    assert not done.timed_out
    with pytest.raises(ToolError, match="has no terminals"):
        await ToolContext("t", Workspace(tmp_path)).program(["true"])


async def test_nothing_is_interpreted_by_a_shell(pool: TerminalPool) -> None:
    words = ["$HOME; echo x", "a b", "'\"", "*", "日本"]
    done = await pool.program(python("import sys; print(sys.argv[1:])", *words))
    assert done.out == f"{words}\n"


async def test_it_has_a_session_of_its_own_and_no_terminal(pool: TerminalPool) -> None:
    done = await pool.program(python("import os; print(os.getsid(0) == os.getpid()); open('/dev/tty')"))
    assert done.out == "True\n"
    assert "No such device or address" in done.err


async def test_its_input_is_empty_unless_given(pool: TerminalPool) -> None:
    assert (await pool.program(["cat"])).out == ""
    assert (await pool.program(["cat"], stdin="héllo")).out == "héllo"
    assert (await pool.program(["cat"], stdin=b"\xff\0")).raw == b"\xff\0"
    much = b"x" * 3_000_000
    assert (await pool.program(["wc", "-c"], stdin=much)).out.strip() == "3000000"
    assert (await pool.program(["true"], stdin=much)).code == 0


async def test_it_has_the_variables_of_the_terminals_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdefghijklmnop")
    pool = TerminalPool(tmp_path)
    done = await pool.program(["env"], env={"EXTRA": "1"})
    await pool.close()
    assert "OPENAI" not in done.out
    assert "EXTRA=1\n" in done.out
    assert "TERM=xterm-256color\n" in done.out


async def test_text_that_is_no_utf8_is_replaced_and_its_bytes_are_there(pool: TerminalPool) -> None:
    done = await pool.program(python(r"import sys; sys.stdout.buffer.write(b'caf\xe9\n')"))
    assert (done.out, done.raw) == ("caf�\n", b"caf\xe9\n")


async def test_a_long_output_is_cut_in_the_middle_and_that_is_told(pool: TerminalPool) -> None:
    code = "import sys; sys.stdout.write('first' + 'x' * 50_000_000 + 'last'); sys.stderr.write('e' * 100)"
    done = await pool.program(python(code), max_bytes=1_000)
    assert done.truncated
    assert done.out.startswith("firstx")
    assert done.out.endswith("xlast")
    assert re.search(r"\n\[\.\.\. 49,999,\d\d\d bytes left out \.\.\.\]\n", done.out)
    assert 700 < len(done.out) < 1_100
    assert done.err == "e" * 100


async def test_when_time_is_over_all_it_started_is_killed(pool: TerminalPool) -> None:
    code = """
        import os, subprocess, time
        child = subprocess.Popen(["sleep", "1000"])
        lost = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        print(os.getpid(), child.pid, lost.pid, flush=True)
        time.sleep(1000)
    """
    began = time.monotonic()
    done = await pool.program(python(code), timeout=0.7)
    assert time.monotonic() - began < 5
    assert done.timed_out
    assert done.code == -signal.SIGKILL
    pids = [int(word) for word in done.out.split()]
    assert len(pids) == 3
    await eventually(lambda: not any(map(alive, pids)))


async def test_a_cancelled_one_is_killed_and_reaped_at_once(pool: TerminalPool, tmp_path: Path) -> None:
    code = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(1000)"
    work = asyncio.create_task(pool.program(python(code)))
    await eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


async def test_one_that_ignores_every_signal_ends_in_time(pool: TerminalPool) -> None:
    code = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 15)]; time.sleep(1000)"
    assert (await pool.program(python(code), timeout=0.5)).timed_out


async def test_what_it_left_behind_with_its_output_open_holds_nobody_up(pool: TerminalPool) -> None:
    began = time.monotonic()
    done = await pool.program(["sh", "-c", "sleep 1000 & echo $!"])
    assert time.monotonic() - began < 5
    assert done.code == 0
    await eventually(lambda: not alive(int(done.out)))


async def test_what_it_left_in_the_background_ends_with_the_runtime(tmp_path: Path) -> None:
    pool = TerminalPool(tmp_path)
    done = await pool.program(["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"])
    assert alive(int(done.out))
    await pool.close()
    assert not alive(int(done.out))
    with pytest.raises(RuntimeClosed):
        await pool.program(["true"])


async def test_a_killed_host_leaves_no_program_behind(tmp_path: Path) -> None:
    host = """
        import asyncio, sys
        from autopilot_runtime.shell.pool import TerminalPool
        argv = ["sh", "-c", "sleep 1000 & echo $! $$ >pids; wait"]
        asyncio.run(TerminalPool(sys.argv[1]).program(argv, timeout=100))
    """
    process = subprocess.Popen(python(host, str(tmp_path)))  # noqa: ASYNC220 - to be killed
    pids = tmp_path / "pids"
    await eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    process.kill()
    process.wait()
    await eventually(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


async def test_many_leave_no_descriptor_thread_or_zombie(pool: TerminalPool) -> None:
    async def some(count: int) -> None:
        for _ in range(count):
            await asyncio.gather(*(pool.program(["echo", "x"], stdin="y") for _ in range(4)))

    await some(2)
    before = held()
    await some(40)
    await eventually(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    assert not children.exists() or len(children.read_text().split()) <= 1  # the guard


async def test_the_exit_codes_of_the_hosts_own_children_stay_its_own(pool: TerminalPool) -> None:
    handler = signal.getsignal(signal.SIGCHLD)
    own = subprocess.Popen(["sh", "-c", "sleep 0.2; exit 7"])  # noqa: ASYNC220 - on purpose
    await asyncio.gather(*(pool.program(["true"]) for _ in range(5)))
    assert await asyncio.to_thread(own.wait) == 7
    assert signal.getsignal(signal.SIGCHLD) is handler


async def test_what_cannot_start_says_why(pool: TerminalPool, tmp_path: Path) -> None:
    for argv, text in (
        ("git status", "list of words"),
        ([], "list of words"),
        (["a\0b"], "list of words"),
        (["no-such-program-here"], "There is no program 'no-such-program-here'"),
        (["./missing"], "could not be started"),
        (["/etc/passwd"], "could not be started"),
    ):
        with pytest.raises(ToolError, match=text):
            await pool.program(argv)
    (tmp_path / "true").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "true").chmod(0o755)
    assert (await pool.program(["true"], env={"PATH": f":.:{os.environ['PATH']}"})).code == 0
    assert (await pool.program(["./true"])).code == 9


async def test_what_confines_shells_confines_programs(tmp_path: Path) -> None:
    wrapped = TerminalPool(tmp_path, open_wall=lambda readable: Wrapping("/usr/bin/env", "WALL=1"))
    assert "WALL=1\n" in (await wrapped.program(["env"])).out
    await wrapped.close()
    confined = TerminalPool(tmp_path, open_wall=lambda readable: Wrapping(in_child=refuse))
    with pytest.raises(ToolError, match="could not be started"):
        await confined.program(["true"])
    await confined.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_program_behind_a_wall_sees_and_reaches_what_a_shell_does(kind: Kind, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "secret").write_text("planted")
    pool = TerminalPool(work, open_wall=opener(kind, work))
    try:
        assert (await pool.program(["cat", str(tmp_path / "secret")])).code == 1
        assert (await pool.program(["sh", "-c", "echo in > f; cat f; kill -9 $$"])).out == "in\n"
        assert (await pool.program(["sh", "-c", "kill -9 $$"])).code == -9
        assert (await pool.program(["cat"], stdin="typed")).out == "typed"
        ours = await pool.program(["sh", "-c", "ls /proc/$$/fd"])
        assert set(ours.out.split()) <= {"0", "1", "2", "3", "10", "255"}
        slow = await pool.program(["sleep", "1000"], timeout=0.1)
        assert (slow.timed_out, slow.code) == (True, -9)
    finally:
        await pool.close()
