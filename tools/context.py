"""Keeps the conversation short: finished tasks are put away behind a summary, and come back when they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autopilot_runtime import ToolContext, ToolError, ToolResult, tool
from autopilot_runtime.tool.context import ArchivedTask

_PREVIEW = 160


def _archiving(arguments: Mapping[str, Any]) -> str:
    chosen = arguments["position"] if arguments["position"] is not None else arguments["task"]
    return f"Archiving {_named(chosen if isinstance(chosen, (list, tuple)) else [chosen])}"


def _named(numbers: Any) -> str:
    shown = [str(number) for number in numbers]
    return f"task{'' if len(shown) == 1 else 's'} {', '.join(shown)}"


@tool(label=_archiving, effect="read")
async def archive_context(
    ctx: ToolContext,
    position: int | list[int] | None = None,
    summary: str | list[str] | None = None,
    task: int | list[int] | None = None,
) -> ToolResult:
    """Put finished tasks away: from the next step on you see your summary in place of a task's messages.

    `task` is the number in [Task n], or a tuple of them with a list of as many summaries (`position` is another name
    for it). Into the summary belongs all that may be needed: what was done and decided, paths, names, what is open.
    """
    summaries = _paired(position, summary, task)
    saved = await ctx.memory.archive(summaries)
    when = "shown as summary from the next step on"
    text = f"{_named(summaries).capitalize()}: {when}, about {saved:,} tokens less."
    return ToolResult({"archived": list(summaries), "tokens_saved": saved}, text)


def _paired(position: Any, summary: Any, task: Any) -> dict[int, str]:
    """The summary of each task; whatever does not go together is an error that says how it should."""
    if (position is None) == (task is None):
        raise ToolError("Name what to archive once: archive_context(task=3, summary='...'), or position=3 instead.")
    chosen = task if position is None else position
    numbers = list(chosen) if isinstance(chosen, (list, tuple)) else [chosen]
    texts = list(summary) if isinstance(summary, (list, tuple)) else [summary]
    if not numbers:
        raise ToolError("No task is named: archive_context(task=(1, 2), summary=['...', '...']).")
    if len(texts) != len(numbers):
        raise ToolError(
            f"{len(numbers)} tasks and {len(texts)} summaries: give one summary for each task, in the same order."
        )
    if len(set(numbers)) != len(numbers):
        raise ToolError(f"A task is named twice in {numbers}.")
    for number, text in zip(numbers, texts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise ToolError(f"Task {number} needs a summary: it is all you will see of it.")
    return dict(zip(numbers, texts, strict=True))


def _revealing(arguments: Mapping[str, Any]) -> str:
    return f"Revealing task {arguments['task'] if arguments['position'] is None else arguments['position']}"


@tool(label=_revealing, effect="read")
async def reveal_context(ctx: ToolContext, position: int | None = None, task: int | None = None) -> ToolResult:
    """Bring a task back that is archived or in the global summary: from the next step on you see all its messages.

    `task` is the number in [Task n] (`position` is another name for it).
    """
    number = task if position is None else position
    if number is None or None not in (position, task):
        raise ToolError("Name one task: reveal_context(task=3), or position=3 instead.")
    taken = await ctx.memory.reveal(number)
    text = f"Task {number}: shown in full from the next step on, about {taken:,} tokens more."
    return ToolResult({"revealed": number, "tokens": taken}, text)


@tool(label="Listing archived tasks", effect="read")
def list_archived_context(ctx: ToolContext) -> ToolResult:
    """List the tasks that are out of sight, each with its summary in short and the tokens this saves."""
    tasks = ctx.memory.archived()
    if not tasks:
        return ToolResult([], "No task is archived.")
    value = [
        {"task": one.task, "summary": one.summary, "messages": one.messages, "tokens_saved": one.tokens}
        for one in tasks
    ]
    total = sum(one.tokens for one in tasks)
    return ToolResult(value, "\n".join([*map(_line, tasks), f"Together about {total:,} tokens."]))


def _line(one: ArchivedTask) -> str:
    return f"Task {one.task} ({one.messages} messages, about {one.tokens:,} tokens less): {_preview(one.summary)}"


def _preview(summary: str) -> str:
    text = " ".join(summary.split()) or "in the global summary"
    return text if len(text) <= _PREVIEW else text[: _PREVIEW - 1] + "…"
