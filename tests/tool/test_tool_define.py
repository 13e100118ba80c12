"""A plain function becomes a tool: what the model sees, how it is called, how it is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import autopilot_runtime
from autopilot_runtime import ToolContext, ToolError
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.tool.bind import bind
from autopilot_runtime.tool.context import PayloadQueue
from autopilot_runtime.tool.define import Preview, Tool, define, is_tool, tool, tool_of
from autopilot_runtime.tool.permit import Subject
from autopilot_runtime.tool.registry import ToolRegistry
from autopilot_runtime.tool.workspace import Workspace

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass
class Block:
    content: str
    filename: str | None = None


def context(tmp_path: Path, *blocks: Block, **more: Any) -> ToolContext:
    return ToolContext("t", Workspace(tmp_path), payloads=PayloadQueue(blocks), **more)


def call(one: Tool, ctx: ToolContext, *args: Any, **kwargs: Any) -> Any:
    return one.call(ctx, bind(one.spec, args, kwargs))


def test_the_bare_decorator_leaves_the_function_a_function() -> None:
    @autopilot_runtime.tool
    def add(a: int, b: int = 2) -> int:
        """Add two numbers."""
        return a + b

    assert add(1) == 3
    assert is_tool(add)
    assert tool_of(add).spec.signature == "add(a: int, b: int = 2)"
    assert tool_of(add).spec.doc == "Add two numbers."


def test_what_goes_by_name_only_is_shown_as_python_writes_it() -> None:
    @tool
    def send(text: str, *, to: str, copy: bool = False) -> None:
        """Send a text."""

    assert tool_of(send).spec.signature == "send(text: str, *, to: str, copy: bool = False)"


def test_a_context_is_filled_in_and_hidden(tmp_path: Path) -> None:
    @tool
    def where(ctx: ToolContext, name: str, *more: str, deep: bool = False, **rest: int) -> Any:
        return [str(ctx.work_dir), name, more, deep, rest]

    one = tool_of(where)
    assert one.wants_context
    assert one.spec.signature == "where(name: str, *more: str, deep: bool = False, **rest: int)"
    found = call(one, context(tmp_path), "a", "b", "c", deep=True, x=1)
    assert found == [str(tmp_path), "a", ("b", "c"), True, {"x": 1}]


def test_arguments_arrive_as_annotated(tmp_path: Path) -> None:
    def take(edits: list[tuple[int, int]], where: Path, amount: Decimal) -> Any:
        return edits, where, amount

    found = call(define(take), context(tmp_path), [[1, 2]], "a", 3)
    # Decimal is known to the type checker alone, so none of the annotations can be resolved: nothing is converted.
    assert found == ([[1, 2]], "a", 3)

    def sure(edits: list[tuple[int, int]], where: Path) -> Any:
        return edits, where

    assert call(define(sure), context(tmp_path), [[1, 2]], "a") == ([(1, 2)], Path("a"))


async def test_an_async_tool_is_awaited_by_its_caller(tmp_path: Path) -> None:
    async def answer(question: str) -> str:
        return question.upper()

    one = define(answer)
    assert one.is_async
    assert await call(one, context(tmp_path), "hi") == "HI"


def test_an_object_that_can_be_called_is_a_tool(tmp_path: Path) -> None:
    class Counter:
        """Count."""

        def __call__(self, by: int) -> int:
            return by + 1

    one = define(Counter(), "count")
    assert one.spec.signature == "count(by: int)"
    assert call(one, context(tmp_path), 1) == 2


@pytest.mark.parametrize("name", ["", "two words", "a.b.c", "1st", "<lambda>"])
def test_a_name_a_block_could_not_call_is_refused(name: str) -> None:
    with pytest.raises(SetupError, match=r"no name for a tool"):
        define(lambda: None, name)


def test_a_path_parameter_must_exist() -> None:
    with pytest.raises(SetupError, match=r"path='file' is not one of its parameters"):
        define(lambda name: None, "f", path="file")


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Running `{command}`", "Running `ls⟨LF⟩rm`"),
        (lambda args: f"Run {args['command'][:2]}", "Run ls"),
        ("{missing}", "run(command='ls\\nrm')"),
        ("{command.__class__.__init__.__globals__}", "run(command='ls\\nrm')"),
        (None, "run(command='ls\\nrm')"),
    ],
)
def test_labels_are_one_line_and_never_break_a_tool(label: Any, expected: str) -> None:
    def run(command: str, timeout: int = 5) -> None: ...

    shown = define(run, label=label).label({"command": "ls\nrm", "timeout": 5})
    assert "\n" not in shown
    assert shown == expected or "__globals__" in str(label)
    assert "__name__" not in shown


def test_permission_is_asked_by_the_tool_unless_its_settings_say_no() -> None:
    def send() -> None: ...

    assert not define(send).asks
    assert define(send, permission="ask").asks
    assert define(send).with_config({"require_permission": True}).asks
    assert not define(send, permission="ask").with_config({"require_permission": False}).asks
    assert define(send, permission="ask").with_config({"require_permission": None}).asks


def test_rules_see_the_real_path_and_the_given_one(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("x")
    (tmp_path / "link.txt").symlink_to("real.txt")

    def read(path: str) -> None: ...

    one = define(read, path="path", effect="read")
    assert one.outline(context(tmp_path), {"path": "./a/../real.txt"}).subject == Subject("path", ("real.txt",))
    assert one.outline(context(tmp_path), {"path": "link.txt"}).subject == Subject("path", ("real.txt", "link.txt"))


def test_a_preview_uses_up_no_payload_and_hands_its_plan_on(tmp_path: Path) -> None:
    def plan(ctx: ToolContext, args: Mapping[str, Any]) -> Preview:
        return Preview(f"Send\x1b[2J {args['to']}", plan=ctx.payload())

    def send(ctx: ToolContext, to: str) -> Any:
        return ctx.plan, ctx.payload()

    one = define(send, payloads=1, preview=plan)
    ctx = context(tmp_path, Block("hello"))
    preview = one.preview(ctx, {"to": "you"})
    assert preview.description == "Send⟨ESC⟩[2J you"
    assert call(one, ctx, "you") == ("hello", "hello")
    assert one.spec.payloads is not None and one.spec.payloads({}) == 1


async def test_a_preview_that_has_to_wait_is_async(tmp_path: Path) -> None:
    async def plan(ctx: ToolContext, args: Mapping[str, Any]) -> Preview:
        await asyncio.sleep(0)
        return Preview("Send it", plan=ctx.payload())

    async def broken(ctx: ToolContext, args: Mapping[str, Any]) -> Preview:
        raise SystemExit(3)

    def send(ctx: ToolContext) -> Any:
        """Send it."""
        return ctx.plan, ctx.payload()

    one = define(send, payloads=1, preview=plan)
    ctx = context(tmp_path, Block("hello"))
    assert (await one.previewed(ctx, {})).description == "Send it"
    assert call(one, ctx) == ("hello", "hello")
    with pytest.raises(Exception, match="SystemExit: 3"):
        await define(send, preview=broken).previewed(context(tmp_path), {})
    with pytest.raises(SetupError, match="gave a str; it gives a Preview"):
        await define(send, preview=lambda *_: "text").previewed(context(tmp_path), {})  # type: ignore[arg-type,return-value]


def test_a_call_keeps_its_payloads_from_the_next_one() -> None:
    queue = PayloadQueue([Block("one"), Block("two")])
    first = queue.take(1)
    with pytest.raises(ToolError, match=r"needs 2 payload blocks, only 1 left"):
        queue.take(2)
    assert queue.next().content == "two"
    assert first.next().content == "one"
    with pytest.raises(ToolError, match=r"needs 1 payload block"):
        first.next()


def test_a_payload_that_names_another_file_is_refused_with_both_names(tmp_path: Path) -> None:
    ctx = context(tmp_path, Block("x", "b.py"), Block("y", "./a.py"))
    with pytest.raises(ToolError, match=r"filename='b.py'.*writes 'a.py'"):
        ctx.payload("a.py")
    assert ctx.payload("a.py") == "y"


async def test_a_context_alone_answers_nothing_and_hears_nothing(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    ctx.emit("text")
    ctx.event("warning", message="m")
    assert not ctx.aborted
    with pytest.raises(ToolError, match=r"Nobody is there"):
        await ctx.ask("Who?")


def test_a_context_passes_on_what_the_runtime_wants_to_hear(tmp_path: Path) -> None:
    heard: list[Any] = []
    ctx = context(tmp_path, on_emit=heard.append, on_event=lambda *a: heard.append(a), is_aborted=lambda: True)
    ctx.emit("text")
    ctx.event(EventType.WARNING, message="m")
    assert heard == ["text", (EventType.WARNING, {"message": "m"})]
    assert ctx.aborted


def test_a_registry_refuses_a_taken_name_and_keeps_its_settings_on_replacement() -> None:
    registry = ToolRegistry()
    registry.register("run", define(lambda command: None, "run").with_config({"require_permission": True}))
    with pytest.raises(SetupError, match=r"already a tool 'run'.*replace=True"):
        registry.register("run", lambda: None)
    registry.register("run", lambda: None, replace=True)
    assert registry.asks("run")
    assert "run" in registry and registry.names() == ["run"] and len(registry) == 1
    assert [one.name for one in registry] == ["run"]
    with pytest.raises(KeyError, match=r"Did you mean 'run'"):
        registry["rum"]


def test_a_decorated_function_can_be_registered_under_another_name() -> None:
    @tool(effect="read")
    def look(at: str) -> None:
        """Look."""

    registry = ToolRegistry()
    found = registry.register("watch", look)
    assert found.spec.signature == "watch(at: str)"
    assert found.effect == "read"


def test_a_side_door_asks_when_its_gate_does() -> None:
    registry = ToolRegistry()
    registry.register("execute", define(lambda command: None, "execute").with_config({"require_permission": True}))
    registry.register("send_input", define(lambda text: None, "send_input", gate="execute"))
    assert registry.asks("send_input")
