"""Lets other agents do a part of the work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from autopilot_runtime import Preview, RunResult, Subject, ToolContext, ToolError, ToolResult, tool

AT_ONCE = 4
MAX_SHOWN_CHARS = 12_000


def _label(arguments: Mapping[str, Any]) -> str:
    return f"Delegating to {arguments['agent']}: {str(arguments['task']).strip().splitlines()[0]}"


@tool(agents=True, label=_label, effect="read")
async def delegate(ctx: ToolContext, agent: str, task: str, max_steps: int | None = None) -> ToolResult:
    """Let another agent work on a task to its end, and get its answer.

    It works in the same workspace, where its changes stay, and knows nothing of this conversation: say in `task` what
    is to be done, in which files, and what its answer must hold. Check what it says before you rely on it.
    Returns a dict: status, summary (its answer), output (the answer as data, if it gives data), steps, cost_usd,
    files_changed, error. status "completed" or "answered": it came to its end. "max_steps", "budget", "failed": it
    did not, and error says why.
    """
    result = await _work(ctx, agent, task, max_steps)
    return ToolResult(_value(result), _shown(agent, result, _room(ctx)))


def _preview_all(ctx: ToolContext, arguments: Mapping[str, Any]) -> Preview:
    """Rules for delegate() hold for each of them."""
    agents = tuple(agent for agent, _ in arguments["tasks"])
    return Preview(f"delegate_all to {', '.join(agents)}", Subject("text", agents))


def _label_all(arguments: Mapping[str, Any]) -> str:
    return f"Delegating to {', '.join(agent for agent, _ in arguments['tasks'])}"


@tool(agents=True, label=_label_all, effect="read", gate="delegate", preview=_preview_all)
async def delegate_all(ctx: ToolContext, tasks: list[tuple[str, str]], max_steps: int | None = None) -> ToolResult:
    """Let several agents work at the same time: tasks=[("reviewer", "Review a.py"), ("reviewer", "Review b.py")].

    For tasks that do not need each other's results and do not change the same files. Returns a list of what
    delegate() returns, in the order of the tasks.
    """
    unknown = [agent for agent, _ in tasks if agent not in ctx.agents]
    if unknown or not tasks:
        wrong = f"There is no agent {unknown[0][:60]!r}." if unknown else "There are no tasks."
        raise ToolError(f"{wrong} Nothing was begun. The agents are: {', '.join(ctx.agents)}.")
    seats = asyncio.Semaphore(AT_ONCE)

    async def seated(agent: str, task: str) -> RunResult:
        async with seats:
            return await _work(ctx, agent, task, max_steps)

    results = await asyncio.gather(*(seated(agent, task) for agent, task in tasks))
    room = _room(ctx) // len(tasks)
    shown = [_shown(agent, result, room) for (agent, _), result in zip(tasks, results, strict=True)]
    return ToolResult([_value(result) for result in results], "\n\n".join(shown))


async def _work(ctx: ToolContext, agent: str, task: str, max_steps: int | None) -> RunResult:
    if max_steps is not None and max_steps < 1:
        raise ToolError(f"max_steps is 1 or more, not {max_steps}.")
    limits = [steps for steps in (max_steps, ctx.config.get("max_steps")) if steps is not None]
    return await ctx.delegate(
        agent,
        task,
        max_steps=min(limits, default=None),
        max_cost_usd=ctx.config.get("max_cost_usd"),
        timeout=ctx.config.get("timeout"),
    )


def _value(result: RunResult) -> dict[str, Any]:
    return {
        "status": result.status,
        "summary": result.summary,
        "output": result.output,
        "steps": result.steps,
        "cost_usd": result.cost_usd,
        "files_changed": list(result.files_changed),
        "error": str(result.error) if result.error else None,
    }


def _room(ctx: ToolContext) -> int:
    return int(ctx.config.get("max_output_chars") or MAX_SHOWN_CHARS)


def _shown(agent: str, result: RunResult, room: int) -> str:
    """Who came to which end, and the answer: its beginning and its end when it is long."""
    facts = [f"{result.steps} step{'' if result.steps == 1 else 's'}"]
    if result.files_changed:
        facts.append(f"changed {', '.join(result.files_changed)}")
    text = str(result.error or "") if result.summary is None else result.summary
    if len(text) > room:
        text = f"{text[: room // 2]}\n… (+{len(text) - room} characters; the value has all) …\n{text[-room // 2 :]}"
    return f"{agent}: {result.status} ({'; '.join(facts)})\n{text}".rstrip()
