"""What only the `monty` engine has to answer for: its part of Python, its workers, its way out."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from autopilot_runtime.confine.level import level
from autopilot_runtime.core.errors import MissingExtra
from autopilot_runtime.core.protocols import Call, Limits, Outcome
from autopilot_runtime.sandbox.display import rebound
from autopilot_runtime.sandbox.monty import MontySandbox
from autopilot_runtime.sandbox.monty_bridge import bridge
from autopilot_runtime.sandbox.monty_jail import launcher
from autopilot_runtime.sandbox.monty_value import plain
from autopilot_runtime.sandbox.wire import WireError
from tests.contracts.sandbox_contract import TOOLS, Desk, everything, shown

pytest.importorskip("pydantic_monty")
TASKS = Path("/proc/self/task")
ROOT = Path(__file__).resolve().parents[2]
QUICK = Limits(seconds=2.0)


@pytest.fixture
async def box() -> AsyncIterator[MontySandbox]:
    sandbox = MontySandbox()
    yield sandbox
    await sandbox.close()


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("kind", "clause", "caught"),
    [
        ("ToolError", "ToolError", True),
        ("PathRefused", "PathRefused", True),
        ("PathRefused", "ToolError", True),
        ("PathRefused", "(KeyError, ToolError)", True),
        ("PathRefused", "EditConflict", False),
        ("ToolError", "PermissionDenied", False),
        ("ToolError", "RuntimeError", False),
        ("ConnectionError", "ToolError", True),
        ("UnicodeDecodeError", "ToolError", True),
    ],
)
async def test_our_errors_have_a_family_although_classes_cannot_inherit(
    box: MontySandbox, kind: str, clause: str, caught: bool
) -> None:
    code = f'try:\n    fail("{kind}", "oh no")\nexcept {clause} as e:\n    print("caught", e)\n'
    result = await box.run(code, tools=TOOLS, call=Desk(), limits=QUICK)
    assert (result.failure is None) is caught, result.failure
    assert ("oh no" in shown(result, "text")) is caught
    if not caught:
        assert result.failure is not None
        assert f"{kind}: oh no" in result.failure.text


async def test_a_block_may_raise_a_tool_error_of_its_own(box: MontySandbox) -> None:
    result = await box.run('raise ToolError("mine")\n', tools=TOOLS, call=Desk(), limits=QUICK)
    assert result.failure is not None
    assert result.failure.text.endswith("ToolError: mine")


async def test_what_a_block_makes_of_our_names_ends_with_it(box: MontySandbox) -> None:
    code = "ToolError = None\ndef __show__(x):\n    pass\nread_file = 3\n"
    await box.run(code, tools=TOOLS, call=Desk(), limits=QUICK)
    code = 'try:\n    fail("ToolError")\nexcept ToolError:\n    pass\n6 * 7\n'
    result = await box.run(code, tools=TOOLS, call=Desk(), limits=QUICK)
    assert result.failure is None, result.failure
    assert shown(result, "value") == "42"


async def test_a_traceback_goes_through_functions_of_earlier_blocks(box: MontySandbox) -> None:
    await box.run("def inner(x):\n    return 1 / x\n", tools=TOOLS, call=Desk(), limits=QUICK)
    result = await box.run("y = 1\ninner(0)\n", tools=TOOLS, call=Desk(), limits=QUICK)
    assert result.failure is not None
    assert result.failure.line == 2
    assert 'File "<control block 2>", line 2' in result.failure.text
    assert 'File "<control block 1>", line 2, in inner' in result.failure.text
    assert "return 1 / x" in result.failure.text
    assert "python-input" not in result.failure.text


async def test_a_bare_call_shows_in_a_traceback_as_it_was_written(box: MontySandbox) -> None:
    result = await box.run("x = 1\nread_file(\n    'no')\n", tools=TOOLS, call=Desk(), limits=QUICK)
    assert result.failure is not None
    assert "__bare__" not in result.failure.text
    assert "read_file(" in result.failure.text


# ---------------------------------------------------------------- a part of Python


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("class Mine(Exception):\n    pass\n", "line 2: no class inheritance (class Mine)"),
        ("def numbers():\n    yield 1\n", "no generators (yield)"),
        ("import textwrap\n", "no module 'textwrap'"),
        ("from dataclasses import dataclass, asdict\n", "no dataclasses.asdict"),
        ("import re\nre.subn('a', 'b', 'c')\n", "no re.subn"),
        ("a, b = [1], [2]\ndel a[0], b[0]\n", "no del of several things"),
        ("class P:\n    @property\n    def x(self):\n        return 1\n", "no @property"),
    ],
)
async def test_what_it_does_not_have_is_said_before_anything_runs(box: MontySandbox, code: str, said: str) -> None:
    desk = Desk({"a": "x"})
    result = await box.run('read_file("a")\n' + code, tools=TOOLS, call=desk, limits=QUICK)
    assert result.failure is not None
    assert result.failure.kind == "check"
    assert said in result.failure.text
    assert "Nothing of this block ran" in result.failure.text
    assert desk.calls == []


async def test_a_guarded_import_is_left_to_the_block(box: MontySandbox) -> None:
    code = "try:\n    import textwrap\nexcept ImportError:\n    textwrap = None\nprint(textwrap)\n"
    result = await box.run(code, tools=TOOLS, call=Desk(), limits=QUICK)
    assert shown(result, "text") == "None\n"


async def test_a_tool_handed_to_map_is_told_what_to_do(box: MontySandbox) -> None:
    result = await box.run("x = list(map(read_file, ['a']))\n", tools=TOOLS, call=Desk(), limits=QUICK)
    assert result.failure is not None
    assert "for loop or a comprehension" in result.failure.text


BRIDGED = """
import sys
words = ["b", "A", "c"]
print(next(w for w in words if w > "a"), next((w for w in words if w == "z"), None))
print(next (next(c for c in w) for w in words))
print(sorted(words, key=str.lower), [*map(str.upper, words)], str.join("-", words), dict.fromkeys("ab"))
counts = {"b": 2, "A": 1, "c": 3}
print(max(counts, key=counts.get), sorted(counts, key=counts.get))
del counts["b"]
if True: del counts [
    "A"
]; print(counts)
grid = [[1, 2], [3, 4]]
del grid[0][-1]
print(grid, "déjà vu".upper(), "日本", sorted("ba", key=str.lower))
del words
"""


async def test_small_things_it_lacks_are_said_in_words_it_has(
    box: MontySandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    result = await box.run(BRIDGED + "1\n", tools=TOOLS, call=Desk(), limits=QUICK)
    assert result.failure is None, result.failure
    exec(compile(BRIDGED, "block", "exec"), {})
    assert shown(result, "text") == capsys.readouterr().out


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_bridging_moves_no_line_and_gives_python(ends: str) -> None:
    code = BRIDGED.replace("\n", ends)
    after = bridge(code, rebound(ast.parse(code)))
    assert after.count(ends) == code.count(ends)
    tree = ast.parse(after)
    assert [s.lineno for s in tree.body] == [s.lineno for s in ast.parse(code).body]
    assert not any(isinstance(node, ast.Delete) for node in ast.walk(tree))


def test_names_the_block_binds_itself_are_not_bridged() -> None:
    code = "str = Mine()\nx = str.lower\nnext = f\nnext(a for a in b)\n"
    assert bridge(code, rebound(ast.parse(code))) == code


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("value", ["datetime.now()", "Decimal(1)", "Thing()", "Point(1)", "[Thing()]", "len", "..."])
async def test_what_is_no_plain_value_is_refused_by_name_and_never_reaches_a_tool(
    box: MontySandbox, value: str
) -> None:
    code = (
        "from datetime import datetime\nfrom decimal import Decimal\nfrom dataclasses import dataclass\n"
        f"class Thing:\n    pass\n@dataclass\nclass Point:\n    x: int\nx = {value}\necho(x)\n"
    )
    desk = Desk()
    result = await box.run(code, tools=TOOLS, call=desk, limits=QUICK)
    assert desk.calls == []
    assert result.failure is not None
    assert "cannot send a" in result.failure.text


@pytest.mark.parametrize(
    "value",
    [object(), {1: object()}, [set(), frozenset(), (1,)], "\ud800", 10**5000, float("nan")],
    ids=lambda value: type(value).__name__,
)
async def test_whatever_a_tool_gives_the_worker_lives_on(box: MontySandbox, value: object) -> None:
    async def give(call: Call) -> Outcome:
        return Outcome(value=value)

    result = await box.run(
        "try:\n    x = echo(1)\nexcept ToolError as e:\n    print(e)\n", tools=TOOLS, call=give, limits=QUICK
    )
    assert result.failure is None, result.failure
    assert len(result.effects) == 1
    after = await box.run("print(1)\n", tools=TOOLS, call=give, limits=QUICK)
    assert shown(after, "text") == "1\n"


def test_a_value_is_bounded_in_parts_characters_and_depth() -> None:
    laughs: object = "ha" * 1000
    for _ in range(9):
        laughs = [laughs] * 10
    deep: object = 1
    for _ in range(500):
        deep = [deep]
    for value in (laughs, deep, ["x" * 1_000_000] * 1_000):
        begun = time.monotonic()
        with pytest.raises(WireError, match=r"too large|too deeply"):
            plain(value)
        assert time.monotonic() - begun < 5


async def test_the_value_of_a_last_expression_is_shown_as_python_would(box: MontySandbox) -> None:
    code = (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
        "class Q:\n    def __repr__(self):\n        return 'Q!'\n"
    )
    await box.run(code, tools=TOOLS, call=Desk(), limits=QUICK)
    for expression, text in {
        "P(1)": "P(x=1)",
        "Q()": "Q!",
        "{'a': [1]}": "{'a': [1]}",
        "[Q()]": "[<Q object>]",
    }.items():
        result = await box.run(f"{expression}\n", tools=TOOLS, call=Desk(), limits=QUICK)
        assert shown(result, "value") == text


# ---------------------------------------------------------------- time and workers


async def test_sleeping_is_the_blocks_own_time(box: MontySandbox) -> None:
    code = "import time, asyncio\ntime.sleep(0.05)\nasyncio.run(asyncio.sleep(0.05))\nprint('awake')\n"
    result = await box.run(code, tools=TOOLS, call=Desk(), limits=QUICK)
    assert shown(result, "text") == "awake\n"
    assert result.elapsed >= 0.1
    begun = time.monotonic()
    code = "import time\ntime.sleep(1e9)\n"
    result = await box.run(code, tools=TOOLS, call=Desk(), limits=Limits(seconds=0.3))
    assert result.failure is not None
    assert result.failure.kind == "timeout"
    assert "variables of earlier blocks are lost" in result.failure.text
    assert time.monotonic() - begun < 2


async def test_cancelling_is_quick_and_the_worker_is_dead(box: MontySandbox) -> None:
    await box.run("x = 1\n", tools=TOOLS, call=Desk(), limits=QUICK)
    assert box._lease is not None
    pid = box._lease.pid
    assert pid is not None
    begun_block = asyncio.Event()

    async def tell(call: Call) -> Outcome:
        begun_block.set()
        return Outcome()

    code = "echo(0)\nwhile True:\n    pass\n"
    task = asyncio.ensure_future(box.run(code, tools=TOOLS, call=tell, limits=Limits(seconds=30)))
    await begun_block.wait()
    begun = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - begun < 0.5
    await gone(pid, 2.0)
    result = await box.run("print(x)\n", tools=TOOLS, call=tell, limits=QUICK)
    assert "variables are lost" in shown(result)
    assert result.failure is not None
    assert "NameError" in result.failure.text


async def test_a_worker_that_dies_is_reported_and_replaced(box: MontySandbox) -> None:
    await box.start()
    assert box._lease is not None
    pid = box._lease.pid
    assert pid is not None

    async def shoot(call: Call) -> Outcome:
        os.kill(pid, signal.SIGKILL)
        return Outcome(value=1)

    result = await box.run("x = echo(1)\nprint('on')\n", tools=TOOLS, call=shoot, limits=Limits())
    assert result.failure is not None
    assert result.failure.kind == "killed"
    assert "variables of earlier blocks are lost" in result.failure.text
    assert result.effects == ("echo(1)",)
    assert shown(await box.run("print(2)\n", tools=TOOLS, call=Desk(), limits=QUICK), "text").endswith("2\n")


async def test_more_sandboxes_than_processors_do_not_wait_for_each_other() -> None:
    boxes = [MontySandbox() for _ in range(12)]
    try:
        async with asyncio.timeout(20):
            results = await asyncio.gather(
                *(one.run("slow(0.3)\nprint(1)\n", tools=TOOLS, call=Desk(), limits=Limits()) for one in boxes)
            )
        assert [shown(result, "text") for result in results] == ["1\n"] * 12
    finally:
        for one in boxes:
            await one.close()


async def test_a_closed_sandbox_leaves_no_worker() -> None:
    box = MontySandbox()
    await box.start()
    assert box._lease is not None
    pid = box._lease.pid
    assert pid is not None
    await box.close()
    await gone(pid, 2.0)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at /proc")
async def test_a_start_that_is_cancelled_leaves_no_worker() -> None:
    for delay in (0.0, 0.001, 0.01, 0.03, 0.05, 0.08):
        box = MontySandbox()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(delay):
                await box.start()
                await asyncio.sleep(10)
        await box.close()
    for _ in range(250):
        if not workers():
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"workers are left: {workers()}")


def workers() -> list[str]:
    """The pids of this process's living Monty workers, and of those on their way to become one."""
    found = []
    for task in TASKS.iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            for pid in (task / "children").read_text().split():
                if b"monty" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
    return found


async def gone(pid: int, seconds: float) -> None:
    """Wait until a process is no more (or only a zombie that its parent has not fetched)."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
            stat = Path(f"/proc/{pid}/stat")
            if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"process {pid} is still there")


HOST = """
import asyncio, sys
from autopilot_runtime.core.protocols import Limits
from autopilot_runtime.sandbox.monty import MontySandbox

async def main():
    box = MontySandbox()
    await box.run("x = 1", tools={}, call=None, limits=Limits(seconds=0.3))
    print(box._lease.pid, flush=True)
    if sys.argv[1] == "closed":
        await box.close()
    elif sys.argv[1] == "busy":
        await box.run("while True: pass", tools={}, call=None, limits=Limits(seconds=0.5))
    elif sys.argv[1] == "cancelled":
        task = asyncio.ensure_future(box.run("while True: pass", tools={}, call=None, limits=Limits(seconds=9)))
        await asyncio.sleep(0.05)
        task.cancel()

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["closed", "open", "busy", "cancelled"])
def test_the_host_ends_cleanly_whatever_its_worker_does(how: str) -> None:
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", HOST, how], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


@pytest.mark.skipif(sys.platform != "linux", reason="a process limit bounds what a killed host leaves running")
def test_a_killed_host_leaves_no_worker_behind_for_long() -> None:
    host = HOST.replace("seconds=0.5", "seconds=1.0")
    with subprocess.Popen(
        [sys.executable, "-c", host, "busy"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        stat = Path(f"/proc/{pid}/stat")
        while int(stat.read_text().rpartition(")")[2].split()[11]) < 5:  # not yet 50 ms of computing: it is busy
            time.sleep(0.01)
        process.kill()
    asyncio.run(gone(pid, 15.0))


# ---------------------------------------------------------------- the second wall

walled = pytest.mark.skipif(sys.platform != "linux" or not level().workers, reason="no confinement here")


@walled
async def test_a_worker_stands_behind_a_second_wall(box: MontySandbox) -> None:
    await box.start()
    assert box._lease is not None
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{box._lease.pid}/status").read_text().splitlines())
    assert status["Name"] == "monty"
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert int(status["CapEff"], 16) == 0
    assert Path(f"/proc/{box._lease.pid}/environ").read_bytes() == b""


@walled
@pytest.mark.parametrize(
    "attempt",
    [
        "read x < /etc/passwd",
        "echo x > {here}/new",
        "exec /bin/true",
        "(echo child)",
        "cd {here} && echo *.txt",
        "kill -0 1",
    ],
)
def test_behind_the_wall_even_a_shell_gets_nowhere(tmp_path: Path, attempt: str) -> None:
    (tmp_path / "secret.txt").write_text("x")
    shell = str(Path("/bin/sh").resolve())
    script = launcher(shell)
    assert script is not None
    command = attempt.format(here=tmp_path)
    inside = subprocess.run(
        [script, "-c", f"echo begun; {command} && echo ESCAPED"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert inside.stdout.startswith("begun\n")
    assert "ESCAPED" not in inside.stdout.replace("*.txt\nESCAPED", "")
    assert "child" not in inside.stdout
    assert "secret" not in inside.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]
    outside = subprocess.run(
        ["/bin/sh", "-c", f"{command} && echo ESCAPED"], capture_output=True, text=True, timeout=20, check=False
    )
    assert "exec" in attempt or "ESCAPED" in outside.stdout  # the attempt is one that works without the wall


# ---------------------------------------------------------------- setup


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_monty", None)
    with pytest.raises(MissingExtra, match=r"runtime.control: monty needs pydantic-monty.*\[monty\]"):
        MontySandbox()


def test_importing_the_engine_does_not_import_the_interpreter() -> None:
    code = "import sys, autopilot_runtime.sandbox.monty; print('pydantic_monty' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "False\n"


async def test_everything_that_comes_back_is_bounded(box: MontySandbox) -> None:
    code = "def f(x):\n    raise ValueError('x' * 10_000_000)\nfor i in range(3):\n    print('y' * 5_000_000)\nf(1)\n"
    result = await box.run(code, tools=TOOLS, call=Desk(), limits=Limits(seconds=10, output_chars=5_000))
    assert len(everything(result)) < 20_000
    assert result.dropped_chars > 14_000_000
