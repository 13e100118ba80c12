"""Workers and their zygote: they die when they must, are not missed, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from autopilot_runtime.confine.level import level
from autopilot_runtime.core.protocols import BlockResult, Limits
from autopilot_runtime.sandbox.python import PythonSandbox
from autopilot_runtime.sandbox.zygote import zygote
from tests.contracts.sandbox_contract import TOOLS, Desk, everything, shown

pytestmark = pytest.mark.skipif(sys.platform != "linux" or not level().workers, reason="no confinement here")
ROOT = Path(__file__).resolve().parents[2]
HOST = """
import asyncio, os, signal, sys
from autopilot_runtime.core.protocols import Limits, Outcome
from autopilot_runtime.core.errors import SandboxUnavailable
from autopilot_runtime.sandbox.engine import open_sandbox
from autopilot_runtime.sandbox.zygote import zygote
async def nothing(call): return Outcome()
async def once(code, box=None):
    mine = box or open_sandbox("python")
    try:
        return await mine.run(code, tools={}, call=nothing, limits=Limits())
    finally:
        if box is None:
            await mine.close()
"""


@pytest.fixture
async def box() -> AsyncIterator[PythonSandbox]:
    sandbox = PythonSandbox()
    yield sandbox
    await sandbox.close()


async def run(box: PythonSandbox, code: str, desk: Desk | None = None, **limits: float) -> BlockResult:
    settings = Limits(**{"seconds": 20.0, **limits})  # type: ignore[arg-type]
    return await box.run(code, tools=TOOLS, call=desk or Desk({"a.py": "x"}), limits=settings)


def script(code: str, *, python: str = sys.executable, root: Path = ROOT, user: int | None = None) -> str:
    """Output of a host program of its own; it must end well, and say nothing on stderr."""
    done = subprocess.run(  # noqa: PLW1510  (the assertion below shows what it said)
        [python, "-W", "error", "-c", HOST + textwrap.dedent(code)],
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        user=user,
        group=user,
        extra_groups=[] if user else None,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def ended(pidfd: int, seconds: float) -> bool:
    """Whether the process ends within this time."""
    return bool(select.select([pidfd], [], [], seconds)[0])


# ---------------------------------------------------------------- what a block does to its worker


async def test_a_block_that_leaves_hard_is_reported_and_the_next_one_works(box: PythonSandbox) -> None:
    await run(box, "kept = 1\n")
    result = await run(box, 'print("before")\nimport os\nos._exit(3)\n')
    assert result.failure is not None
    assert result.failure.kind == "killed"
    assert "exit code 3" in result.failure.text
    assert "variables" in result.failure.text
    after = await run(box, "print(kept)\n")
    assert "variables are lost" in shown(after)
    assert after.failure is not None
    assert "NameError" in after.failure.text


@pytest.mark.parametrize(("how", "name"), [("os.abort()", "SIGABRT"), ("os.kill(os.getpid(), 11)", "SIGSEGV")])
async def test_the_signal_that_killed_a_worker_is_named(box: PythonSandbox, how: str, name: str) -> None:
    result = await run(box, f'import os\nexec("{how}")\n')
    assert result.failure is not None
    assert name in result.failure.text


async def test_a_time_out_shows_the_line_and_keeps_the_variables(box: PythonSandbox) -> None:
    result = await run(box, "n = 7\nm = 8\nwhile True:\n    n += 1\n", seconds=0.3)
    assert result.failure is not None
    assert result.failure.kind == "timeout"
    assert result.failure.line in (3, 4)
    assert shown(await run(box, "print(m)\n")) == "8\n"


async def test_memory_for_ever_is_an_error_with_the_limit(box: PythonSandbox) -> None:
    result = await run(box, "m = 8\nbig = [0] * 10**9\n", memory_mb=64)
    assert result.failure is not None
    assert result.failure.kind == "memory"
    assert "64 MB" in result.failure.text
    assert shown(await run(box, "print(m)\n")) == "8\n"


async def test_tools_called_from_threads_take_turns(box: PythonSandbox) -> None:
    desk = Desk()
    code = """
        import threading
        got = {}
        def work(n):
            for i in range(20):
                got[n, i] = echo([n, i])
        threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
        for t in threads: t.start()
        for t in threads: t.join()
        print(all(got[n, i] == [n, i] for n, i in got), len(got))
    """
    result = await run(box, textwrap.dedent(code), desk)
    assert result.failure is None
    assert shown(result, "text") == "True 100\n"
    assert [call.index for call in desk.calls] == list(range(100))


async def test_threads_left_running_are_gone_before_the_next_block(box: PythonSandbox) -> None:
    code = """
        import threading, time
        n = 0
        def work():
            global n
            while True:
                n += 1
                time.sleep(0.001)
        threading.Thread(target=work, daemon=True).start()
    """
    result = await run(box, textwrap.dedent(code))
    assert result.failure is None
    after = await run(box, "import threading\nprint(threading.active_count())\n")
    assert shown(after, "text").endswith("1\n")


async def test_a_thread_that_refuses_to_end_costs_the_worker_and_says_so(box: PythonSandbox) -> None:
    code = """
        import threading
        def work():
            while True:
                try:
                    n = 0
                    while True: n = 1
                except BaseException: n = 2
        threading.Thread(target=work, daemon=True).start()
    """
    result = await run(box, textwrap.dedent(code))
    assert "1 thread(s)" in shown(result)
    assert "variables" in shown(result)
    after = await run(box, "import threading\nprint(threading.active_count())\n")
    assert shown(after, "text").endswith("1\n")


async def test_what_a_block_patches_is_whole_again_in_the_next(box: PythonSandbox) -> None:
    code = """
        import builtins, json, os, sys
        json.dumps = builtins.len = os.path.join = None
        sys.modules["json"] = 5
        builtins.added = 1
        sys.setrecursionlimit(60)
        sys.settrace(lambda *a: None)
    """
    assert (await run(box, textwrap.dedent(code))).failure is None
    code = "import json, os, sys\nprint(json.dumps([len('ab')]), os.path.join('a', 'b'), sys.getrecursionlimit())\n"
    result = await run(box, code)
    assert result.failure is None, result.failure
    assert shown(result) == "[2] a/b 1000\n"


async def test_patching_what_the_worker_uses_does_not_break_a_tool_call(box: PythonSandbox) -> None:
    code = """
        import builtins, json, os, time, threading
        json.JSONEncoder.encode = json.JSONDecoder.decode = json.dumps = json.loads = None
        os.read = os.write = time.monotonic = threading.RLock = None
        for name in ("len", "isinstance", "type", "min", "all", "str", "list", "memoryview", "bytes", "int"):
            setattr(builtins, name, None)
        x = read_file("a.py")
        print(x)
    """
    result = await run(box, textwrap.dedent(code))
    assert result.failure is None, result.failure
    assert shown(result, "text") == "x\n"


async def test_stdout_and_stderr_keep_their_order(box: PythonSandbox) -> None:
    code = 'import sys\nprint(1)\nprint(2, file=sys.stderr)\nsys.stdout.buffer.write(b"3\\n")\nprint(4)\n'
    assert shown(await run(box, code), "text") == "1\n2\n3\n4\n"


async def test_a_hundred_megabytes_of_output_stay_small_and_quick(box: PythonSandbox) -> None:
    result = await run(box, 'for i in range(1000):\n    print("y" * 100_000)\nprint("end")\n', output_chars=64_000)
    assert result.failure is None
    assert len(everything(result)) < 66_000
    assert shown(result).endswith("end\n")
    assert result.dropped_chars == 1000 * 100_001 + 4 - 64_000


async def test_a_function_of_an_earlier_block_is_shown_with_its_own_source(box: PythonSandbox) -> None:
    await run(box, "def broken(x):\n    return 1 / x\n")
    result = await run(box, "# another line\n# and one more\nbroken(0)\n")
    assert result.failure is not None
    assert "return 1 / x" in result.failure.text
    assert "broken(0)" in result.failure.text


async def test_the_clock_and_chance_differ_from_worker_to_worker() -> None:
    async def drawn() -> str:
        box = PythonSandbox()
        result = await run(box, "import random, uuid\nprint(random.random(), uuid.uuid4())\n")
        await box.close()
        return shown(result)

    assert await drawn() != await drawn()


# ---------------------------------------------------------------- the host and its zygote


async def test_a_dead_zygote_is_replaced(box: PythonSandbox) -> None:
    await run(box, "x = 1\n")
    pidfd = os.pidfd_open(zygote().pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert ended(pidfd, 5)
    os.close(pidfd)
    result = await run(box, "print(2)\n")
    if result.failure is not None:  # the worker was still dying when the block was sent
        assert result.failure.kind == "killed"
        result = await run(box, "print(2)\n")
    assert shown(result).endswith("2\n")


async def test_the_hosts_own_children_are_left_alone(box: PythonSandbox) -> None:
    before = signal.getsignal(signal.SIGCHLD)
    waits = "import sys; sys.stdin.read(); sys.exit(7)"
    child = subprocess.Popen([sys.executable, "-c", waits], stdin=subprocess.PIPE)  # noqa: ASYNC220
    for _ in range(3):
        await run(box, "import os\nos._exit(1)\n")
    child.communicate(b"")
    assert child.returncode == 7
    assert signal.getsignal(signal.SIGCHLD) is before


async def test_the_zygote_is_out_of_reach_of_the_terminals_control_c(box: PythonSandbox) -> None:
    await run(box, "x = 1\n")
    pid = zygote().pid
    assert os.getsid(pid) == pid != os.getsid(0)


async def test_many_sandboxes_leave_no_descriptor_and_no_process() -> None:
    async def one() -> None:
        box = PythonSandbox()
        await run(box, "x = 1\n")
        await box.close()

    await one()
    children = Path(f"/proc/{zygote().pid}/task/{zygote().pid}/children")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(30):
        await one()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    for pid in children.read_text().split():
        try:
            pidfd = os.pidfd_open(int(pid))
        except ProcessLookupError:
            continue
        assert ended(pidfd, 5)
        os.close(pidfd)


def test_one_sandbox_serves_several_loops_one_after_another() -> None:
    box = PythonSandbox()
    asyncio.run(run(box, "x = 5\n"))
    result = asyncio.run(run(box, "print(x)\n"))
    asyncio.run(box.close())
    assert shown(result) == "5\n"


def test_several_loops_in_several_threads_share_one_zygote() -> None:
    results: list[str] = []
    pids: set[int] = set()

    def work(number: int) -> None:
        async def inner() -> None:
            box = PythonSandbox()
            for _ in range(5):
                results.append(shown(await run(box, f"print({number})\n")))
            pids.add(zygote().pid)
            await box.close()

        asyncio.run(inner())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(f"{number}\n" for number in range(4) for _ in range(5))
    assert len(pids) == 1


def test_when_the_host_is_killed_the_zygote_and_a_busy_worker_die_with_it() -> None:
    code = """
        async def main():
            box = open_sandbox("python")
            await box.start()
            task = asyncio.ensure_future(once("while True: pass", box))
            print(zygote().pid, box._worker.pid, flush=True)
            await task
        asyncio.run(main())
    """
    host = subprocess.Popen(
        [sys.executable, "-c", HOST + textwrap.dedent(code)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with host:
        assert host.stdout is not None
        pidfds = [os.pidfd_open(int(pid)) for pid in host.stdout.readline().split()]
        host.kill()
    assert len(pidfds) == 2
    for pidfd in pidfds:
        assert ended(pidfd, 5)
        os.close(pidfd)


def test_a_forked_host_gets_a_zygote_of_its_own() -> None:
    code = """
        box = open_sandbox("python")
        asyncio.run(once("x = 1", box))
        mine = zygote().pid
        child = os.fork()
        if child == 0:
            result = asyncio.run(once("print('child')", box))
            other = asyncio.run(once("print('own')"))
            fine = zygote().pid != mine and other.items[-1].text == "own\\n" and "child\\n" in result.items[-1].text
            asyncio.run(box.close())
            sys.exit(0 if fine else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        result = asyncio.run(once("print(x)", box))
        asyncio.run(box.close())
        print(result.items[-1].text, zygote().pid == mine)
    """
    assert script(code) == "1\n True\n"


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A copy of what a sandbox needs, in a folder every user may read."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        for part in ("core", "confine", "sandbox"):
            shutil.copytree(ROOT / "autopilot_runtime" / part, root / "autopilot_runtime" / part)
        (root / "autopilot_runtime" / "__init__.py").touch()
        yield root


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_has_the_same_walls(open_to_all: Path) -> None:
    python = next((p for p in ("/usr/bin/python3", "/usr/local/bin/python3") if Path(p).exists()), None)
    old = "import sys; sys.exit(sys.version_info < (3, 11))"
    if python is None or subprocess.run([python, "-c", old], check=False).returncode:
        pytest.skip("no Python 3.11 that an ordinary user may run")
    code = """
        async def main():
            box = open_sandbox("auto")
            for block in (
                "print(6 * 7)",
                "exec('import io; io.open(\\"/etc/hostname\\")')",
                "exec('import os; os.kill(os.getppid(), 9)')",
                "exec('import os; os.fork()')",
                "while True: pass",
            ):
                result = await box.run(block, tools={}, call=nothing, limits=Limits(seconds=0.3))
                print(os.getuid(), box.name, [i.text for i in result.items], result.failure and result.failure.kind)
            await box.close()
        asyncio.run(main())
    """
    said = script(code, python=python, root=open_to_all, user=65534).splitlines()
    assert said[0] == "65534 python ['42\\n'] None"
    assert [line.rpartition(" ")[2] for line in said[1:]] == ["error", "error", "error", "timeout"]


@pytest.mark.parametrize("call", ["landlock_create_ruleset", "seccomp"])
def test_where_the_kernel_does_not_help_nothing_runs(call: str) -> None:
    code = f"""
        from autopilot_runtime.confine.seccomp import ALLOW, Rule, install, refuse
        install([Rule({call!r}, action=refuse(1))], default=ALLOW)
        try:
            asyncio.run(once("print(1)"))
        except SandboxUnavailable as error:
            print(error)
    """
    said = script(code)
    assert "python" in said
    assert "Landlock" in said or "seccomp" in said


def test_walls_that_fail_late_stop_the_worker_from_starting() -> None:
    code = """
        from autopilot_runtime.confine.seccomp import ALLOW, Rule, install, refuse
        install([Rule("landlock_restrict_self", action=refuse(1))], default=ALLOW)
        try:
            asyncio.run(once("print(1)"))
        except SandboxUnavailable as error:
            print(error)
    """
    assert "could not confine itself" in script(code)


def test_leaving_without_closing_is_quiet() -> None:
    code = """
        async def main():
            box = open_sandbox("python")
            await once("x = 1", box)
        asyncio.run(main())
        print("done")
    """
    assert script(code) == "done\n"


async def test_hundreds_are_asked_for_in_one_instant_and_the_zygote_is_not_taken_for_dead() -> None:
    threads = threading.active_count()
    boxes = [PythonSandbox() for _ in range(150)]
    before = zygote().pid
    starts = [asyncio.create_task(box.start()) for box in boxes]
    most = 0
    while not all(start.done() for start in starts):
        most = max(most, threading.active_count() - threads)
        await asyncio.sleep(0)
    await asyncio.gather(*starts)
    assert zygote().pid == before
    assert most <= 16, "those who wait for a worker wait on the loop, not each on a thread"
    await asyncio.gather(*(box.close() for box in boxes))
