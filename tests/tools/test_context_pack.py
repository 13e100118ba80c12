"""`archive_context` and its kin: what goes together, what does not, and what the model reads about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.tool.bind import bind
from autopilot_runtime.tool.context import ArchivedTask, ToolContext
from autopilot_runtime.tool.pack import load_tools
from autopilot_runtime.tool.workspace import Workspace

ARCHIVE, REVEAL, LIST = load_tools("context", folder=Path("/nowhere"))


class Memory:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.away: list[ArchivedTask] = []

    async def archive(self, summaries: Mapping[int, str]) -> int:
        self.told.append(dict(summaries))
        return 12_345

    async def reveal(self, task: int) -> int:
        self.told.append(task)
        return 99

    def archived(self) -> list[ArchivedTask]:
        return self.away


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def ctx(memory: Memory, tmp_path: Path) -> ToolContext:
    return ToolContext("archive_context", Workspace(tmp_path), memory=memory)


async def archived(ctx: ToolContext, *args: Any, **kwargs: Any) -> Any:
    return await ARCHIVE.call(ctx, bind(ARCHIVE.spec, args, kwargs))


async def test_one_task_under_either_name(ctx: ToolContext, memory: Memory) -> None:
    result = await archived(ctx, task=3, summary="Built the auth middleware.")
    assert result.value == {"archived": [3], "tokens_saved": 12_345}
    assert result.shown == "Task 3: shown as summary from the next step on, about 12,345 tokens less."
    await archived(ctx, position=4, summary="Added routes.")
    await archived(ctx, 5, "Fixed tests.")
    assert memory.told == [{3: "Built the auth middleware."}, {4: "Added routes."}, {5: "Fixed tests."}]


@pytest.mark.parametrize("form", [tuple, list])
async def test_several_in_one_call(ctx: ToolContext, memory: Memory, form: type) -> None:
    result = await archived(ctx, task=form((1, 2)), summary=["One.", "Two."])
    assert memory.told == [{1: "One.", 2: "Two."}]
    assert result.shown.startswith("Tasks 1, 2: ")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"summary": "s"}, "Name what to archive once"),
        ({"task": 1, "position": 1, "summary": "s"}, "Name what to archive once"),
        ({"task": (1, 2), "summary": "both"}, "2 tasks and 1 summaries"),
        ({"task": (1, 2), "summary": ["a", "b", "c"]}, "2 tasks and 3 summaries"),
        ({"task": (), "summary": []}, "No task is named"),
        ({"task": (1, 1), "summary": ["a", "b"]}, "named twice"),
        ({"task": 1}, "Task 1 needs a summary"),
        ({"task": (1, 2), "summary": ["a", "  "]}, "Task 2 needs a summary"),
    ],
    ids=range(8),
)
async def test_what_does_not_go_together_archives_nothing(
    ctx: ToolContext, memory: Memory, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ToolError, match=says):
        await archived(ctx, **given)
    assert memory.told == []


async def test_a_task_comes_back(ctx: ToolContext, memory: Memory) -> None:
    result = await REVEAL.call(ctx, bind(REVEAL.spec, (3,), {}))
    assert memory.told == [3]
    assert result.shown == "Task 3: shown in full from the next step on, about 99 tokens more."


async def test_the_list_shows_summaries_in_short_and_what_is_saved(ctx: ToolContext, memory: Memory) -> None:
    assert LIST.call(ctx, {}).shown == "No task is archived."
    memory.away = [ArchivedTask(1, "word " * 100, 12, 4_000), ArchivedTask(2, "", 4, 1_000)]
    result = LIST.call(ctx, {})
    lines = result.shown.splitlines()
    assert lines[0].startswith("Task 1 (12 messages, about 4,000 tokens less): word word") and lines[0].endswith("…")
    assert lines[1:] == [
        "Task 2 (4 messages, about 1,000 tokens less): in the global summary",
        "Together about 5,000 tokens.",
    ]
    assert result.value[0]["tokens_saved"] == 4_000


async def test_without_a_conversation_it_says_so(tmp_path: Path) -> None:
    ctx = ToolContext("archive_context", Workspace(tmp_path))
    with pytest.raises(ToolError, match="no conversation"):
        await archived(ctx, task=1, summary="s")
    assert LIST.call(ctx, {}).shown == "No task is archived."


def test_they_need_no_permission_and_say_what_they_do() -> None:
    assert {tool.effect for tool in (ARCHIVE, REVEAL, LIST)} == {"read"}
    assert ARCHIVE.label(bind(ARCHIVE.spec, (), {"task": (1, 2), "summary": ["a", "b"]})) == "Archiving tasks 1, 2"
    assert ARCHIVE.label(bind(ARCHIVE.spec, (3, "x"), {})) == "Archiving task 3"
    assert REVEAL.label({"position": 3}) == "Revealing task 3"


@pytest.mark.parametrize(("args", "kwargs"), [((3,), {}), ((), {"position": 3}), ((), {"task": 3})])
async def test_a_task_is_revealed_by_either_name(memory: Memory, ctx: ToolContext, args: Any, kwargs: Any) -> None:
    result = await REVEAL.call(ctx, bind(REVEAL.spec, args, kwargs))
    assert memory.told == [3]
    assert result.value["revealed"] == 3
    assert REVEAL.label(bind(REVEAL.spec, args, kwargs)) == "Revealing task 3"


@pytest.mark.parametrize("kwargs", [{}, {"position": 3, "task": 3}])
async def test_one_task_is_revealed_and_named_once(ctx: ToolContext, kwargs: Any) -> None:
    with pytest.raises(ToolError, match="Name one task"):
        await REVEAL.call(ctx, bind(REVEAL.spec, (), kwargs))
