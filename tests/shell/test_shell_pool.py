"""Named terminals: starting, finding, answering, surviving, sharing nothing. Real shells throughout."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import RuntimeClosed, ToolError
from autopilot_runtime.shell.pool import TerminalPool
from tests.confine.walls import Wrapping, refuse
from tests.shell.watching import LONG, until

if sys.platform == "win32":
    pytest.skip("POSIX shells", allow_module_level=True)

PYTHON = sys.executable


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[TerminalPool]:
    pool = TerminalPool(tmp_path)
    yield pool
    await pool.close()


async def test_nothing_starts_before_the_first_command(pool: TerminalPool, tmp_path: Path) -> None:
    (main,) = pool.snapshot()
    assert (main.session_id, main.status, main.pid, main.cwd) == ("main", "not started", None, str(tmp_path))
    with pytest.raises(ToolError, match="has not run anything yet"):
        await pool.read_output("main")
    assert (await pool.execute("main", "pwd")).output == str(tmp_path)
    (main,) = pool.snapshot()
    assert main.status == "idle"
    assert main.pid is not None


async def test_an_unknown_terminal_is_refused_with_the_known_ones(pool: TerminalPool) -> None:
    await pool.execute("server", "true", new_terminal=True)
    for call in (
        pool.execute("sever", "true"),
        pool.read_output("sever"),
        pool.send_input("sever", "x"),
        pool.terminate("sever"),
    ):
        with pytest.raises(ToolError, match=r"no terminal 'sever'. Open terminals: main, server"):
            await call


async def test_terminals_run_side_by_side(pool: TerminalPool) -> None:
    await pool.execute("a", "x=1; read wait", 0, new_terminal=True)
    assert (await pool.execute("b", "echo [$x]", new_terminal=True)).output == "[]"
    assert {state.session_id: state.status for state in pool.snapshot()} == {
        "main": "not started", "a": "running", "b": "idle",
    }  # fmt: skip
    await pool.send_input("a", "\n", LONG)
    assert (await pool.execute("a", "echo [$x]")).output == "[1]"


async def test_opening_what_is_open_uses_it_and_says_so(pool: TerminalPool) -> None:
    await pool.execute("a", "x=1", new_terminal=True)
    result = await pool.execute("a", "echo $x", new_terminal=True)
    assert result.output == "1"
    assert "already open" in result.notes[0]


@pytest.mark.parametrize("end", ["exit 3", "kill -9 $$", "exec true", "set -e; false"])
async def test_a_dead_terminal_gets_a_fresh_shell_in_the_same_folder(
    pool: TerminalPool, tmp_path: Path, end: str
) -> None:
    (tmp_path / "sub").mkdir()
    await pool.execute("main", "cd sub")
    assert (await pool.execute("main", end)).status == "exited"
    result = await pool.execute("main", "pwd")
    assert result.output == f"{tmp_path}/sub"
    assert "fresh one" in result.notes[0]
    assert not (await pool.execute("main", "true")).notes


async def test_a_shell_killed_while_idle_is_replaced(pool: TerminalPool) -> None:
    pid = int((await pool.execute("main", "echo $$")).output)
    os.kill(pid, 9)
    async with asyncio.timeout(LONG):
        while pool.snapshot()[0].status != "exited":  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    assert int((await pool.execute("main", "echo $$")).output) != pid


async def test_a_vanished_folder_is_told(pool: TerminalPool, tmp_path: Path) -> None:
    await pool.execute("main", "mkdir gone; cd gone; exit")
    (tmp_path / "gone").rmdir()
    result = await pool.execute("main", "pwd")
    assert result.output == str(tmp_path)
    assert "is gone" in result.notes[0]


async def test_terminate_forgets_a_terminal_and_main_comes_back(pool: TerminalPool) -> None:
    await pool.execute("main", "x=1; sleep 1000", 0)
    state = await pool.terminate("main")
    assert (state.status, state.command) == ("running", "x=1; sleep 1000")
    assert (await pool.execute("main", "echo [$x]")).output == "[]"


async def test_a_shell_of_choice(pool: TerminalPool) -> None:
    assert (await pool.execute("s", "echo ${BASH_VERSION:-none}", shell="sh", new_terminal=True)).return_code == 0
    with pytest.raises(ToolError, match="runs sh, not bash"):
        await pool.execute("s", "true", shell="bash")
    with pytest.raises(ToolError, match=r"no shell 'powershell' on this system. Use one of: bash, zsh, sh"):
        await pool.execute("p", "true", shell="powershell", new_terminal=True)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 1e9, True, "5", None])
async def test_a_time_out_is_a_number_of_seconds(pool: TerminalPool, timeout: object) -> None:
    with pytest.raises(ToolError, match="timeout is seconds"):
        await pool.execute("main", "true", timeout)  # type: ignore[arg-type]


async def test_ctrl_c_works_although_the_host_ignores_it(tmp_path: Path) -> None:
    script = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
from autopilot_runtime.shell.pool import TerminalPool
async def main():
    pool = TerminalPool(sys.argv[1])
    await pool.execute("main", "sleep 1000", 0.3)
    result = await pool.send_input("main", "\\x03", 10)
    print(result.status, result.return_code)
    await pool.close()
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        PYTHON, "-c", script, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), LONG)
    assert out.decode().split() == ["completed", "130"]


async def test_a_program_that_leaves_the_terminal_raw_does_no_harm(pool: TerminalPool) -> None:
    await pool.execute("main", "stty raw -echo -isig; kill -9 $(sh -c 'echo $$') 2>/dev/null")
    await pool.execute("main", "sleep 1000", 0.2)
    assert (await pool.send_input("main", "\x03", LONG)).return_code == 130


async def test_unread_output_survives_any_number_of_looks(pool: TerminalPool) -> None:
    await pool.execute(
        "main", "for i in $(seq 300); do echo n$i; done; read x; for i in $(seq 301 600); do echo n$i; done", 0
    )
    deltas = await until(pool, "main", "n300")
    deltas += "\n" + (await pool.send_input("main", "\n", LONG)).output
    for n in range(1, 601):
        assert deltas.splitlines().count(f"n{n}") == 1
    full = await pool.read_output("main")
    assert (full.mode, full.status) == ("full", "completed")
    assert [line for line in full.output.splitlines() if line] == [f"n{n}" for n in range(1, 601)]


async def test_wide_lines_stay_whole(pool: TerminalPool) -> None:
    result = await pool.execute("main", "printf 'x%.0s' $(seq 5000); echo; printf '%300s|\\n' y")
    assert result.output.splitlines() == ["x" * 5000, " " * 299 + "y|"]


async def test_nothing_pages(pool: TerminalPool) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    setup = "git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m one"
    assert (await pool.execute("main", setup, LONG)).return_code == 0
    result = await pool.execute("main", "git log --oneline; git --paginate log --format=%s", LONG)
    assert result.status == "completed"
    assert result.output.endswith("one")


async def test_two_pools_share_nothing(tmp_path: Path) -> None:
    one, two = TerminalPool(tmp_path), TerminalPool(tmp_path)
    await one.execute("main", "x=1")
    assert (await two.execute("main", "echo [$x]")).output == "[]"
    await one.close()
    assert (await two.execute("main", "echo still")).output == "still"
    await two.close()


async def test_a_closed_pool_refuses(tmp_path: Path) -> None:
    pool = TerminalPool(tmp_path)
    await pool.execute("main", "true")
    await pool.close()
    await pool.close()
    with pytest.raises(RuntimeClosed):
        await pool.execute("main", "true")


def test_a_terminal_moves_to_the_loop_that_uses_it(tmp_path: Path) -> None:
    pool = TerminalPool(tmp_path)
    asyncio.run(pool.execute("main", "x=kept; echo one; (sleep 0.2; echo late) &"))
    assert asyncio.run(pool.execute("main", "echo $x; wait")).output.splitlines()[-1] != ""
    assert "kept" in asyncio.run(pool.read_output("main")).output
    asyncio.run(pool.close())


@contextlib.asynccontextmanager
async def free_loop() -> AsyncIterator[None]:
    """Nothing in it works for half a second on end, nor waits for much longer, however busy the machine is."""
    worked, passed = [0.0], [0.0]

    async def tick() -> None:
        last = (time.thread_time(), time.perf_counter())
        while True:
            now = (time.thread_time(), time.perf_counter())
            worked.append(now[0] - last[0])
            passed.append(now[1] - last[1])
            last = now
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    yield
    ticking.cancel()
    assert max(worked) < 0.5
    assert max(passed) < 3.0


async def test_the_loop_stays_free_while_output_floods(pool: TerminalPool) -> None:
    await pool.execute("main", "true")
    async with free_loop():
        await pool.execute("main", "head -c 50000000 /dev/zero | tr '\\0' x | fold -w 120", 60)


async def test_a_hundred_terminals_at_once(tmp_path: Path, shell: str) -> None:
    names = [f"t{n}" for n in range(100)]
    pool = TerminalPool(tmp_path, shell=shell)
    async with free_loop():
        calls = [pool.execute(name, f"read x; echo {name} got $x", 0, new_terminal=True) for name in names]
        results = await asyncio.gather(*calls)
    assert {result.status for result in results} == {"running"}
    answers = await asyncio.gather(*(pool.send_input(name, f"{name}!\n", LONG) for name in names))
    assert [answer.output.splitlines()[-1] for answer in answers] == [f"{name} got {name}!" for name in names]
    results = await asyncio.gather(*(pool.execute(name, f"(exit {n})", LONG) for n, name in enumerate(names)))
    assert [result.return_code for result in results] == list(range(100))
    await pool.close()


async def test_too_many_terminals_are_refused(tmp_path: Path) -> None:
    pool = TerminalPool(tmp_path, most=2)
    await pool.execute("a", "true", new_terminal=True)
    await pool.execute("b", "true", new_terminal=True)
    with pytest.raises(ToolError, match="2 terminals are open"):
        await pool.execute("c", "true", new_terminal=True)
    await pool.close()


async def test_an_interrupt_that_comes_too_early_leaves_the_terminal_usable(tmp_path: Path, shell: str) -> None:
    pool = TerminalPool(tmp_path, shell=shell)
    for _ in range(15):
        result = await pool.execute("main", "while :; do :; done", 0)
        async with asyncio.timeout(LONG):
            while result.status == "running":
                result = await pool.send_input("main", "\x03", 0.5)
        assert (await pool.execute("main", "echo fine", LONG)).output.endswith("fine")
    await pool.close()


async def test_an_abort_ends_what_runs_and_keeps_idle_shells(pool: TerminalPool) -> None:
    await pool.execute("idle", "x=kept", new_terminal=True)
    await pool.execute("main", "sleep 1000", 0)
    pool.kill()
    assert [state.status for state in pool.snapshot()] == ["exited", "idle"]
    assert (await pool.execute("idle", "echo $x")).output == "kept"
    assert (await pool.execute("main", "echo again")).output == "again"


async def test_shells_start_inside_what_confines_them(tmp_path: Path) -> None:
    wall = Wrapping("env", "WRAPPED=yes", in_child=lambda: os.umask(0o077) and None)
    pool = TerminalPool(tmp_path, open_wall=lambda readable: wall)
    assert (await pool.execute("main", "echo $WRAPPED; umask; (exit 3)")).output == "yes\n0077"
    await pool.close()


async def test_a_confinement_that_fails_starts_nothing(tmp_path: Path) -> None:
    pool = TerminalPool(tmp_path, open_wall=lambda readable: Wrapping(in_child=refuse))
    with pytest.raises(ToolError, match="No shell could be started"):
        await pool.execute("main", "true")
    await pool.close()
