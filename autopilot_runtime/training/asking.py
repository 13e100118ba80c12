"""Puts a task to an agent of any kind, within a limit, and gives how that ended."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any

from autopilot_runtime.core.bridge import bridge, contained, in_thread
from autopilot_runtime.core.errors import AutopilotError, SetupError
from autopilot_runtime.core.protocols import RunResult
from autopilot_runtime.training.fault import EvaluationFailed, TrainingError


def ask(agent: Any, task: str, *, timeout: float | None = None) -> RunResult:
    """How the agent's work on `task` ended, for code that is not async."""
    return bridge().call(asked(agent, task, timeout=timeout))


async def asked(agent: Any, task: str, *, timeout: float | None = None) -> RunResult:
    """How the agent's work on `task` ended. An agent has `run(task)`, async or not, or is a function of the task."""
    run = getattr(agent, "run", agent)
    if not callable(run):
        raise TrainingError(f"{type(agent).__name__} is no agent: give something with run(task), or a function")
    return result_of(agent, await limited(run, task, timeout=timeout, what=name_of(agent)))


async def limited(work: Any, *given: Any, timeout: float | None, what: str) -> Any:
    """What users' code gives, async or not: never on the loop, never for longer than `timeout` seconds."""
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            if inspect.iscoroutinefunction(work):
                return await contained(work(*given))
            value = await in_thread(work, *given)
            return await contained(value) if inspect.isawaitable(value) else value
    except TimeoutError as error:
        if limit.expired():
            raise EvaluationFailed(f"{what} gave no answer within {timeout:g} s and was given up") from error
        raise


def result_of(agent: Any, value: Any) -> RunResult:
    """What `run` gave as a result: many agents give their text only, and say how it went elsewhere."""
    if isinstance(value, RunResult):
        return value
    last = getattr(agent, "last", None)
    if isinstance(last, RunResult):
        return last
    if value is None:
        return RunResult("failed", error=AutopilotError(f"{name_of(agent)} gave no answer"))
    if isinstance(value, str):
        return RunResult("answered", value)
    return RunResult("answered", output=value)


def answer_of(result: RunResult, *, who: str) -> Any:
    """The answer: data where the agent gives data, else its text. Raises for a run that came to no end."""
    if result.status not in ("completed", "answered"):
        error = result.error
        if isinstance(error, SetupError):
            raise error
        raise EvaluationFailed(f"{who} ended as {result.status}: {error or 'no reason is given'}") from error
    return result.summary if result.output is None else result.output


def name_of(agent: Any) -> str:
    """A name for messages."""
    named = getattr(agent, "name", None) or getattr(agent, "__name__", None)
    return named if isinstance(named, str) and named else type(agent).__name__


async def gathered_in_order(work: list[Awaitable[Any]], *, at_once: int) -> list[Any]:
    """All the results, in the order of the work, with no more than `at_once` of it under way."""
    seats = asyncio.Semaphore(max(1, at_once))

    async def seated(one: Awaitable[Any]) -> Any:
        async with seats:
            return await one

    return list(await asyncio.gather(*map(seated, work)))
