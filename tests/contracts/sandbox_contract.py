"""What every `Sandbox` must do. Subclass `SandboxContract`, say how to make one, and name honestly what is missing.

Also the parts both engines' tests share: `Desk`, a set of real tools over files in memory, and `sections`, which
reads the data files of blocks and escapes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.errors import ReplayError
from autopilot_runtime.core.protocols import BlockResult, Call, Limits, Outcome, Param, Sandbox, ToolSpec

_TEXT = {"type": "string"}
_INT = {"type": "integer"}


def _spec(name: str, *params: Param, payloads: Callable[[Mapping[str, Any]], int] | None = None) -> ToolSpec:
    return ToolSpec(name, f"The {name} tool.", params, payloads)


TOOLS: dict[str, ToolSpec] = {
    spec.name: spec
    for spec in (
        _spec("read_file", Param("path", _TEXT, shown="str"), Param("start", _INT, False, None, "int | None")),
        _spec(
            "write_file",
            Param("path", _TEXT, shown="str"),
            Param("content", _TEXT, False, None, "str | None"),
            payloads=lambda given: 0 if given.get("content") is not None else 1,
        ),
        _spec("find", Param("pattern", _TEXT, shown="str")),
        _spec("execute", Param("command", _TEXT, shown="str")),
        _spec("echo", Param("value", {}, shown="Any")),
        _spec("fail", Param("kind", _TEXT, shown="str"), Param("text", _TEXT, False, "it failed", "str")),
        _spec("final"),
        _spec("slow", Param("seconds", {"type": "number"}, shown="float")),
        _spec("server.ping", Param("number", _INT, shown="int")),
    )
}


class Desk:
    """Tools over files in memory. `calls` is every call that arrived, in order."""

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        self.files = dict(files or {})
        self.calls: list[Call] = []
        self.arrived = asyncio.Event()

    async def __call__(self, call: Call) -> Outcome:
        self.calls.append(call)
        self.arrived.set()
        if call.tool == "slow":
            await asyncio.sleep(call.args[0])
            return Outcome(value="awake")
        if call.tool == "fail":
            names = dict(zip(("kind", "text"), call.args, strict=False)) | dict(call.kwargs)
            return Outcome(error=names.get("text", "it failed"), error_type=names["kind"])
        if call.tool == "final":
            return Outcome(error="the run was aborted", fatal=True)
        return self._value(call)

    def _value(self, call: Call) -> Outcome:
        names = [param.name for param in TOOLS[call.tool].params]
        given = dict(zip(names, call.args, strict=False)) | dict(call.kwargs)
        match call.tool:
            case "read_file":
                text = self.files.get(given["path"])
                if text is None:
                    return Outcome(error=f"no file {given['path']!r}", error_type="FileNotFoundError")
                return Outcome(value=text, shown="\n".join(f"{n}| {x}" for n, x in enumerate(text.splitlines(), 1)))
            case "write_file":
                self.files[given["path"]] = given.get("content") or "(payload)"
                return Outcome(shown=f"wrote {given['path']}")
            case "find":
                hits = sorted(path for path, text in self.files.items() if given["pattern"] in text)
                return Outcome(value=hits)
            case "execute":
                return Outcome(value=f"$ {given['command']}\nok")
            case "echo":
                return Outcome(value=given["value"])
        return Outcome(value=given["number"] + 1)

    def called(self) -> list[str]:
        """The names of the tools called, in order."""
        return [call.tool for call in self.calls]


def sections(path: Path) -> list[tuple[str, str]]:
    """Name and text of each `#== name` section of a data file."""
    found: list[tuple[str, str]] = []
    for part in ("\n" + path.read_text(encoding="utf-8")).split("\n#== ")[1:]:
        name, _, text = part.partition("\n")
        found.append((name.strip(), text.strip("\n") + "\n"))
    return found


# Everything both engines can read of clock and chance, and two calls that depend on it.
WANDERING = """\
import datetime, os, random, time
from datetime import datetime as moment
from time import time as now
print(time.time(), time.time_ns(), time.monotonic(), time.perf_counter(), now())
print(time.localtime(), time.gmtime(), time.ctime(), time.asctime(), time.strftime("%X"))
print(moment.now(), moment.now(datetime.timezone.utc), datetime.date.today())
echo([random.random(), random.randint(1, 10**9), random.Random().random()])
print(os.urandom(8), os.urandom(100), random.choice(range(10**9)))
print([word for word in {"one", "two", "three", "four", "five", "six", "seven"}])
random.seed()
echo([time.time(), random.random(), time.process_time() >= 0])
print(time.time(), random.getrandbits(60))
"""


def shown(result: BlockResult, *kinds: str) -> str:
    """The text of the items of these kinds (all, if none are named)."""
    return "".join(item.text for item in result.items if not kinds or item.kind in kinds)


def everything(result: BlockResult) -> str:
    """All text that would reach the model."""
    failure = result.failure.text if result.failure else ""
    return "\n".join([shown(result), failure, *result.effects])


class SandboxContract:
    """`missing`: test name -> why this engine cannot. Each such test is skipped with that reason, visibly."""

    missing: Mapping[str, str] = {}

    def make(self) -> Sandbox:
        """A fresh sandbox of the engine under test."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _skipped(self, request: pytest.FixtureRequest) -> None:
        reason = self.missing.get(request.node.originalname or request.node.name)
        if reason:
            pytest.skip(reason)

    @pytest.fixture
    def desk(self) -> Desk:
        return Desk({"a.py": "import os\nprint(1)\n", "b.py": "x = 1\n"})

    @pytest.fixture
    async def box(self) -> AsyncIterator[Sandbox]:
        sandbox = self.make()
        yield sandbox
        await sandbox.close()

    async def run(
        self, box: Sandbox, code: str, desk: Desk, *, payloads: int = 0, reads: Sequence[Any] = (), **limits: Any
    ) -> BlockResult:
        """Run one block with the tools above."""
        settings = Limits(**{"seconds": 20.0, **limits})
        return await box.run(code, tools=TOOLS, call=desk, limits=settings, payloads=payloads, reads=reads)

    async def again(self, code: str, reads: Sequence[Any], **limits: Any) -> tuple[BlockResult, Desk]:
        """Run one block in a sandbox of its own with the reads of an earlier life, as a file would give them."""
        box, desk = self.make(), Desk({"a.py": "import os\n"})
        try:
            return await self.run(box, code, desk, reads=json.loads(json.dumps(reads)), **limits), desk
        finally:
            await box.close()

    # ------------------------------------------------------------ showing

    async def test_a_bare_call_shows_its_result(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'read_file("b.py")\n', desk)
        assert result.failure is None
        assert [(item.kind, item.text) for item in result.items] == [("shown", "1| x = 1")]
        assert desk.calls[0].bare
        assert desk.calls[0].line == 1

    async def test_an_assigned_call_leaves_one_line(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'text = read_file("b.py")\n', desk)
        assert [(item.kind, item.text) for item in result.items] == [("receipt", 'read_file("b.py") -> str, 6 chars')]
        assert not desk.calls[0].bare

    async def test_a_nested_call_is_not_bare(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'print(len(read_file("b.py")))\n', desk)
        assert shown(result, "text") == "6\n"
        assert not desk.calls[0].bare

    async def test_a_bare_call_in_a_loop_is_bare(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'for name in ["a.py", "b.py"]:\n    read_file(name)\n', desk)
        assert [item.kind for item in result.items] == ["shown", "shown"]

    async def test_the_last_expression_shows(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, "x = 20\nx * 2 + 2\n", desk)
        assert [(item.kind, item.text) for item in result.items] == [("value", "42")]

    async def test_a_last_expression_of_none_shows_nothing(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, "x = None\nx\n", desk)
        assert result.items == ()

    async def test_prints_and_results_keep_their_order(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'print("one")\nread_file("b.py")\nprint("two")\n', desk)
        assert [item.kind for item in result.items] == ["text", "shown", "text"]

    async def test_much_output_keeps_head_and_tail_and_counts_the_rest(self, box: Sandbox, desk: Desk) -> None:
        code = 'print("first")\nfor i in range(2000):\n    print("x" * 100)\nprint("last")\n'
        result = await self.run(box, code, desk, output_chars=4_000)
        text = shown(result)
        assert len(text) < 5_000
        assert text.startswith("first\n")
        assert text.endswith("last\n")
        assert result.dropped_chars > 190_000
        assert str(result.dropped_chars) in text

    async def test_a_tool_name_the_block_binds_itself_is_left_alone(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'def find(x):\n    return "mine " + x\nprint(find("it"))\n', desk)
        assert shown(result, "text") == "mine it\n"
        assert desk.calls == []

    async def test_tools_are_bound_again_before_every_block(self, box: Sandbox, desk: Desk) -> None:
        await self.run(box, "find = 3\nread_file = None\n", desk)
        result = await self.run(box, 'read_file("b.py")\n', desk)
        assert result.failure is None
        assert desk.called() == ["read_file"]

    async def test_a_tool_of_a_server_is_called_with_a_dot(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, "n = server.ping(1)\nprint(n)\nserver.ping(number=n)\n", desk)
        assert result.failure is None, result.failure
        assert desk.called() == ["server.ping", "server.ping"]
        assert desk.calls[1].bare
        assert shown(result, "shown") == "3"

    # ------------------------------------------------------------ values

    @pytest.mark.parametrize(
        "value",
        [
            "plain",
            "",
            "zeile\r\nü 漢\U0001f600\0",
            7,
            -(2**70),
            2**64,
            1.5,
            True,
            None,
            [1, [2, []]],
            {"a": {"b": 1}},
        ],
        ids=repr,
    )
    async def test_a_value_goes_both_ways_unchanged(self, box: Sandbox, desk: Desk, value: object) -> None:
        result = await self.run(box, f"x = {value!r}\ny = echo(x)\nprint(y == x, type(y) == type(x))\n", desk)
        assert result.failure is None, result.failure
        assert desk.calls[0].args == (value,)
        assert shown(result, "text") == "True True\n"

    @pytest.mark.parametrize("value", ["b'\\x00\\xff'", "(1, (2,))", "{1: 'a', 'b': 2}", "{'$': 'int', 'v': 1}"])
    async def test_a_value_json_has_no_word_for_goes_both_ways(self, box: Sandbox, desk: Desk, value: str) -> None:
        result = await self.run(box, f"x = {value}\ny = echo(x)\nprint(y == x)\n", desk)
        assert result.failure is None, result.failure
        assert shown(result, "text") == "True\n"

    async def test_infinity_and_nan_go_both_ways(self, box: Sandbox, desk: Desk) -> None:
        code = 'a = echo(float("inf"))\nb = echo(float("nan"))\nprint(a, b)\n'
        result = await self.run(box, code, desk)
        assert shown(result, "text") == "inf nan\n"

    async def test_a_small_list_that_is_huge_written_out_does_not_reach_the_host(
        self, box: Sandbox, desk: Desk
    ) -> None:
        code = "a = ['ha'] * 10\nfor i in range(9):\n    a = [a] * 10\necho(a)\n"
        begun = time.monotonic()
        result = await self.run(box, code, desk, memory_mb=256)
        assert result.failure is not None
        assert time.monotonic() - begun < 15
        assert len(everything(result)) < 100_000

    async def test_a_small_list_that_is_huge_written_out_can_be_shown(self, box: Sandbox, desk: Desk) -> None:
        code = "a = ['ha'] * 10\nfor i in range(9):\n    a = [a] * 10\na\n"
        begun = time.monotonic()
        result = await self.run(box, code, desk)
        assert time.monotonic() - begun < 15
        assert len(everything(result)) < 100_000

    async def test_a_large_text_goes_both_ways(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'y = echo("ab" * 2_000_000)\nprint(len(y))\n', desk)
        assert shown(result, "text") == "4000000\n"

    # ------------------------------------------------------------ variables

    async def test_variables_live_from_block_to_block(self, box: Sandbox, desk: Desk) -> None:
        await self.run(box, "def double(x):\n    return 2 * x\nitems = [1, 2]\n", desk)
        result = await self.run(box, "items.append(double(4))\nprint(items)\n", desk)
        assert shown(result, "text") == "[1, 2, 8]\n"

    async def test_variables_survive_an_error(self, box: Sandbox, desk: Desk) -> None:
        await self.run(box, "kept = 5\nkept / 0\n", desk)
        result = await self.run(box, "print(kept)\n", desk)
        assert shown(result, "text") == "5\n"

    async def test_two_sandboxes_share_nothing(self, desk: Desk) -> None:
        one, two = self.make(), self.make()
        try:
            await self.run(one, "mine = 1\n", desk)
            result = await self.run(two, "print(mine)\n", desk)
            assert result.failure is not None
            assert "mine" in result.failure.text
        finally:
            await one.close()
            await two.close()

    async def test_many_sandboxes_run_at_once(self, desk: Desk) -> None:
        boxes = [self.make() for _ in range(4)]
        try:
            code = 'print(len(read_file("b.py")) * {})\n'
            results = await asyncio.gather(
                *(self.run(box, code.format(number), Desk(desk.files)) for number, box in enumerate(boxes))
            )
            assert [shown(result, "text") for result in results] == ["0\n", "6\n", "12\n", "18\n"]
        finally:
            for box in boxes:
                await box.close()

    # ------------------------------------------------------------ errors

    async def test_a_syntax_error_runs_nothing_and_points_at_the_place(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'read_file("a.py")\nx = (1,\n', desk)
        assert result.failure is not None
        assert result.failure.kind == "syntax"
        assert result.failure.line == 2
        assert "^" in result.failure.text
        assert desk.calls == []

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ('read_file("a.py")\nread_file(pth="a.py")\n', "did you mean 'path'"),
            ('read_file("a.py")\nread_file()\n', "'path'"),
            ('read_file("a.py")\nread_file("a", 1, 2)\n', "at most 2"),
            ('read_file("a.py")\nread_file("a.py", start="one")\n', "'one'"),
            ('read_file("a.py")\nserver.ping("one")\n', "'number'"),
        ],
    )
    async def test_a_wrong_argument_costs_no_side_effect(
        self, box: Sandbox, desk: Desk, code: str, said: str
    ) -> None:
        result = await self.run(box, code, desk)
        assert result.failure is not None
        assert result.failure.kind == "check"
        assert said in result.failure.text
        assert "Signature:" in result.failure.text
        assert desk.calls == []

    async def test_a_wrong_argument_only_running_can_tell_is_an_error_with_the_signature(
        self, box: Sandbox, desk: Desk
    ) -> None:
        result = await self.run(box, 'names = {"pth": "a.py"}\nread_file(**names)\n', desk)
        assert result.failure is not None
        assert result.failure.kind == "error"
        assert "read_file(path: str" in result.failure.text
        assert desk.calls == []

    async def test_too_few_payloads_run_nothing(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'write_file("a")\nwrite_file("b")\n', desk, payloads=1)
        assert result.failure is not None
        assert result.failure.kind == "check"
        assert desk.calls == []

    async def test_something_forbidden_is_refused_with_advice(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'read_file("a.py")\nimport subprocess\n', desk)
        assert result.failure is not None
        assert result.failure.kind == "security"
        assert "execute()" in result.failure.text
        assert desk.calls == []

    async def test_an_error_shows_the_line_of_the_block(self, box: Sandbox, desk: Desk) -> None:
        code = "def half(x):\n    return x / 0\n\nhalf(3)\n"
        result = await self.run(box, code, desk)
        assert result.failure is not None
        assert result.failure.kind == "error"
        assert result.failure.line == 2
        assert "ZeroDivisionError" in result.failure.text
        assert "return x / 0" in result.failure.text
        assert "autopilot_runtime" not in result.failure.text

    async def test_a_failing_tool_raises_in_the_block(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'x = 1\nread_file("nowhere")\n', desk)
        assert result.failure is not None
        assert "FileNotFoundError: no file 'nowhere'" in result.failure.text
        assert result.failure.line == 2

    @pytest.mark.parametrize("kind", ["FileNotFoundError", "ValueError", "PermissionError", "TimeoutError"])
    async def test_a_tool_error_can_be_caught_by_its_built_in_name(self, box: Sandbox, desk: Desk, kind: str) -> None:
        code = f'try:\n    fail("{kind}", "oh no")\nexcept {kind} as e:\n    print("caught", e)\n'
        result = await self.run(box, code, desk)
        assert result.failure is None, result.failure
        assert "caught oh no" in shown(result, "text")

    @pytest.mark.parametrize("kind", ["ToolError", "PermissionDenied", "EditConflict"])
    async def test_our_own_tool_errors_have_names_in_the_block(self, box: Sandbox, desk: Desk, kind: str) -> None:
        code = f'try:\n    fail("{kind}", "oh no")\nexcept ToolError as e:\n    print("caught", e)\n'
        result = await self.run(box, code, desk)
        assert result.failure is None, result.failure
        assert "caught" in shown(result, "text")
        assert "oh no" in shown(result, "text")

    async def test_any_tool_error_is_an_exception(self, box: Sandbox, desk: Desk) -> None:
        code = 'try:\n    fail("SomethingElse", "oh no")\nexcept Exception as e:\n    print("caught", e)\n'
        result = await self.run(box, code, desk)
        assert "oh no" in shown(result, "text")

    async def test_a_failure_half_way_names_what_took_effect(self, box: Sandbox, desk: Desk) -> None:
        code = 'for name in ["1", "2", "3"]:\n    write_file(name, "x")\nread_file("nowhere")\nwrite_file("4", "x")\n'
        result = await self.run(box, code, desk)
        assert result.failure is not None
        assert result.effects == ('write_file("1", "x")', 'write_file("2", "x")', 'write_file("3", "x")')
        assert result.calls == 4

    async def test_an_unknown_name_lists_the_tools(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'red_file("a.py")\n', desk)
        assert result.failure is not None
        assert "NameError" in result.failure.text
        assert "read_file" in result.failure.text
        assert "write_file" in result.failure.text

    async def test_a_huge_error_is_cut(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'raise ValueError("x" * 10_000_000)\n', desk)
        assert result.failure is not None
        assert len(result.failure.text) < 30_000
        assert "ValueError" in result.failure.text

    async def test_a_huge_name_of_a_tool_or_key_is_cut(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'read_file(**{"x" * 1_000_000: 1})\n', desk)
        assert result.failure is not None
        assert len(everything(result)) < 100_000

    async def test_a_caller_that_raises_does_not_take_the_sandbox_with_it(self, box: Sandbox) -> None:
        async def broken(call: Call) -> Outcome:
            raise RuntimeError("a bug in the host")

        result = await box.run('read_file("a")\n', tools=TOOLS, call=broken, limits=Limits())
        assert result.failure is not None
        assert "a bug in the host" in result.failure.text
        assert (await self.run(box, "print(1)\n", Desk())).failure is None

    async def test_leaving_the_block_does_not_end_the_run(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'import sys\nprint("before")\nsys.exit(3)\nprint("after")\n', desk)
        assert result.failure is None
        assert "before" in shown(result)
        assert "3" in shown(result)
        assert "after" not in shown(result)
        assert (await self.run(box, "print(1)\n", desk)).failure is None

    async def test_reading_standard_input_is_the_end_at_once(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, 'input("name?")\n', desk)
        assert result.failure is not None
        assert "EOFError" in result.failure.text

    # ------------------------------------------------------------ stopping

    async def test_an_endless_loop_is_stopped(self, box: Sandbox, desk: Desk) -> None:
        begun = time.monotonic()
        result = await self.run(box, 'print("begun")\nwhile True:\n    pass\n', desk, seconds=0.5)
        assert result.failure is not None
        assert result.failure.kind == "timeout"
        assert "begun" in shown(result)
        assert time.monotonic() - begun < 10
        assert (await self.run(box, "print(1)\n", desk)).failure is None

    async def test_an_endless_loop_that_swallows_everything_is_killed(self, box: Sandbox, desk: Desk) -> None:
        # Two statements: the first instruction of a `try` is not yet guarded by it.
        work = "            x = 1\n            while True:\n                x = 2\n"
        swallow = "        except BaseException:\n            pass\n"
        code = f"def spin():\n    while True:\n        try:\n{work}{swallow}spin()\n"
        result = await self.run(box, code, desk, seconds=0.5)
        assert result.failure is not None
        assert result.failure.kind == "timeout"
        assert "variables" in result.failure.text
        assert (await self.run(box, "print(1)\n", desk)).failure is None

    async def test_time_inside_tools_does_not_count(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, "print(slow(0.8))\nprint(slow(0.8))\n", desk, seconds=1.0)
        assert result.failure is None
        assert shown(result, "text") == "awake\nawake\n"

    async def test_too_many_calls_end_the_block(self, box: Sandbox, desk: Desk) -> None:
        code = "while True:\n    try:\n        echo(1)\n    except Exception:\n        pass\n"
        result = await self.run(box, code, desk, calls=5)
        assert result.failure is not None
        assert result.failure.kind == "limit"
        assert len(desk.calls) == 5

    async def test_a_final_outcome_ends_a_block_that_catches_everything(self, box: Sandbox, desk: Desk) -> None:
        code = (
            "def go():\n    while True:\n        try:\n            final()\n"
            "        except BaseException:\n            pass\ngo()\n"
        )
        result = await self.run(box, code, desk)
        assert result.failure is not None
        assert result.failure.kind == "stopped"
        assert "the run was aborted" in result.failure.text
        assert desk.called() == ["final"]

    async def test_too_much_memory_ends_the_block_not_the_host(self, box: Sandbox, desk: Desk) -> None:
        code = "a = []\nwhile True:\n    a.append('x' * 1_000_000 + str(len(a)))\n"
        result = await self.run(box, code, desk, memory_mb=128)
        assert result.failure is not None
        assert result.failure.kind in ("memory", "killed")
        assert (await self.run(box, "a = None\nprint(1)\n", desk)).failure is None

    async def test_recursion_without_end_is_an_error(self, box: Sandbox, desk: Desk) -> None:
        result = await self.run(box, "def down(x):\n    return down(x + 1)\ndown(0)\n", desk)
        assert result.failure is not None
        assert "RecursionError" in result.failure.text
        assert len(result.failure.text) < 20_000

    async def test_cancelling_kills_the_block_and_the_next_one_works(self, box: Sandbox, desk: Desk) -> None:
        task = asyncio.ensure_future(self.run(box, "slow(0)\nwhile True:\n    pass\n", desk))
        await desk.arrived.wait()
        task.cancel()
        begun = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - begun < 3
        result = await self.run(box, "print(1)\n", desk)
        assert result.failure is None
        assert "1\n" in shown(result, "text")

    async def test_cancelling_during_a_call_kills_the_block(self, box: Sandbox, desk: Desk) -> None:
        task = asyncio.ensure_future(self.run(box, "slow(60)\n", desk))
        await desk.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await self.run(box, "print(1)\n", desk)).failure is None

    async def test_the_loop_stays_free_while_a_block_computes(self, box: Sandbox, desk: Desk) -> None:
        await box.start()
        task = asyncio.ensure_future(self.run(box, "t = 0\nfor i in range(3_000_000):\n    t += i\n", desk))
        gap, last = 0.0, time.monotonic()
        while not task.done():
            await asyncio.sleep(0.001)
            gap, last = max(gap, time.monotonic() - last), time.monotonic()
        assert (await task).failure is None
        assert gap < 0.5

    # ------------------------------------------------------------ life

    async def test_start_twice_and_close_twice_are_fine(self, desk: Desk) -> None:
        box = self.make()
        await box.start()
        await box.start()
        assert (await self.run(box, "print(1)\n", desk)).failure is None
        await box.close()
        await box.close()

    async def test_code_no_parser_likes_is_a_failure_not_an_exception(self, box: Sandbox, desk: Desk) -> None:
        deep = [
            "-" * 50_000 + "1",
            "1" + "+1" * 50_000,
            "(" * 500 + ")" * 500,
            "x = 'a\0b'",
            "a" + ".b" * 50_000,
            "\ud800",
        ]
        for code in [*deep, "x" * 2_000_000]:
            result = await self.run(box, code, desk)
            assert result.failure is not None
            assert len(result.failure.text) < 5_000
        assert (await self.run(box, "", desk)).failure is None

    # ------------------------------------------------------------ replays

    async def test_a_block_run_again_goes_the_same_way_as_far_as_its_reads_go(self, box: Sandbox, desk: Desk) -> None:
        first = await self.run(box, WANDERING, desk)
        assert first.failure is None, first.failure
        one, two = desk.calls
        second, other = await self.again(WANDERING, [*one.reads, *two.reads])
        assert second.failure is None, second.failure
        assert [call.args for call in other.calls] == [one.args, two.args]
        assert [call.reads for call in other.calls] == [(), ()]
        assert len(second.reads) == len(first.reads) > 0
        before, after = (shown(result).splitlines() for result in (first, second))
        assert before[:-1] == after[:-1]
        assert before[-1] != after[-1]

    async def test_a_block_run_again_to_its_end_reads_nothing_new(self, box: Sandbox, desk: Desk) -> None:
        first = await self.run(box, WANDERING, desk)
        second, _ = await self.again(WANDERING, [*desk.calls[0].reads, *desk.calls[1].reads, *first.reads])
        assert (second.failure, second.reads) == (None, ())
        assert shown(second) == shown(first)

    async def test_reads_travel_with_the_next_call_and_with_the_end(self, box: Sandbox, desk: Desk) -> None:
        code = "import time\nx = time.time()\necho(1)\necho(2)\ny = time.monotonic()\n"
        result = await self.run(box, code, desk)
        assert [[read[0] for read in call.reads] for call in desk.calls] == [["time.time"], []]
        assert [read[0] for read in result.reads] == ["time.monotonic"]
        assert (await self.run(box, "echo(3)\n", desk)).reads == desk.calls[2].reads == ()

    async def test_reads_before_a_call_that_is_refused_are_kept(self, box: Sandbox, desk: Desk) -> None:
        code = (
            'import time\nx = time.time()\nnames = {"pth": "a.py"}\n'
            "try:\n    read_file(**names)\nexcept TypeError:\n    pass\necho(1)\n"
        )
        await self.run(box, code, desk)
        assert [read[0] for read in desk.calls[0].reads] == ["time.time"]

    async def test_a_replay_that_reads_something_else_is_stopped_whatever_it_catches(self, desk: Desk) -> None:
        read = "            time.monotonic()\n            echo(1)\n"
        swallow = "        except BaseException:\n            x = 1\n"
        code = f"import time\ndef go():\n    while True:\n        try:\n{read}{swallow}go()\n"
        begun = time.monotonic()
        result, other = await self.again(code, [["time.time", 1.5]])
        assert result.failure is not None
        assert result.failure.kind == "error"
        assert result.failure.text.startswith("ReplayError: ")
        assert "time.monotonic" in result.failure.text
        assert "time.time" in result.failure.text
        assert other.calls == []
        assert time.monotonic() - begun < 10

    async def test_a_replay_that_ends_too_early_says_so(self, desk: Desk) -> None:
        for code, said in (("x = 1\n", ""), ("x = 1\nx / 0\n", "ZeroDivisionError")):
            result, _ = await self.again(code, [["time.time", 1.5]])
            assert result.failure is not None
            assert result.failure.text.startswith("ReplayError: ")
            assert "time.time" in result.failure.text
            assert said in result.failure.text

    async def test_a_block_that_reads_too_often_ends_well_and_cannot_be_replayed(
        self, box: Sandbox, desk: Desk
    ) -> None:
        code = "import time\nfor i in range(10_500):\n    x = time.time()\necho(x)\nx = time.time()\n"
        result = await self.run(box, code, desk)
        assert result.failure is None, result.failure
        reads = desk.calls[0].reads
        assert len(reads) == 10_001
        assert reads[-1] == {"lost": 500}
        assert result.reads == ({"lost": 1},)
        again, other = await self.again(code, reads)
        assert again.failure is not None
        assert again.failure.text.startswith("ReplayError: 500 reads")
        assert other.calls == []

    async def test_a_damaged_record_is_refused_before_anything_runs(self, desk: Desk) -> None:
        for reads in ([["time.time"]], [5], [["x" * 1000, 1]], [["time.time", [1]]], [{"lost": -1}]):
            with pytest.raises(ReplayError, match="damaged"):
                await self.again("echo(1)\n", reads)

    async def test_a_record_of_another_kind_fails_the_block_and_nothing_else(self, desk: Desk) -> None:
        code = "import datetime, os\nprint(os.urandom(3), datetime.datetime.now())\n"
        for reads in (
            [["os.urandom(3)", 5]],
            [["os.urandom(3)", "zz"]],
            [["os.urandom(3)", ""], ["datetime.now", "x"]],
        ):
            result, _ = await self.again(code, reads)
            assert result.failure is not None
            assert result.failure.kind == "error"

    async def test_after_a_replay_a_steady_clock_does_not_go_back(self, desk: Desk) -> None:
        code = "import time\na = time.monotonic()\nb = time.monotonic()\nprint(a, a <= b < a + 60)\n"
        result, _ = await self.again(code, [["time.monotonic", 5e9]])
        assert shown(result, "text") == "5000000000.0 True\n"

    async def test_a_replay_does_not_wait_where_the_block_slept(self, desk: Desk) -> None:
        code = "import time\na = time.time()\ntime.sleep(15)\nb = time.time()\nprint(b - a)\n"
        begun = time.monotonic()
        result, _ = await self.again(code, [["time.time", 100.0], ["time.time", 115.5]])
        assert shown(result, "text") == "15.5\n"
        assert time.monotonic() - begun < 10
