"""Around the loop: whatever ends a run, expected or not, becomes one ending, told once, with the session intact."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from autopilot_runtime.core.errors import AutopilotError, ProviderError, SetupError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.runtime.parts import Parts
from autopilot_runtime.runtime.purse import BudgetSpent
from autopilot_runtime.runtime.requests import Suspended
from autopilot_runtime.runtime.run import Ending, Run
from autopilot_runtime.runtime.step import work

log = logging.getLogger("autopilot_runtime")
ABORTED = "The run was stopped here."


class Aborted(AutopilotError):
    """`abort()` was called."""


async def supervise(run: Run, parts: Parts, *, aborted: Callable[[], bool]) -> Ending:
    """Run the loop to its ending. Only a cancellation that was not an `abort()` is raised."""
    limit = asyncio.timeout(run.purse.seconds_left())
    try:
        async with limit:
            if aborted():  # abort() came before the run: it counts for this one
                raise asyncio.CancelledError
            return await work(run, parts)
    except asyncio.CancelledError:
        await _keep_partial(run, parts)
        run.scope.emit(EventType.ABORTED, step=run.step)
        if not aborted():
            raise
        return Ending("aborted", error=Aborted("The run was aborted."))
    except SetupError:
        raise  # a missing key, say: nothing was begun, and the caller has something to put right
    except BudgetSpent as spent:
        return await _over_budget(run, parts, spent)
    except Suspended as waiting:
        run.scope.emit(EventType.SUSPENDED, request_id=waiting.requests[0], requests=list(waiting.requests))
        return Ending("suspended", error=waiting)
    except Exception as error:
        if limit.expired():
            return await _over_budget(run, parts, run.purse.tightest_clock())
        return _failed(run, error)


async def _over_budget(run: Run, parts: Parts, spent: BudgetSpent) -> Ending:
    await _keep_partial(run, parts)
    run.scope.emit(EventType.BUDGET_EXCEEDED, what=spent.what, spent=spent.spent, limit=spent.limit)
    return Ending("budget", error=spent)


def _failed(run: Run, error: Exception) -> Ending:
    # What a failed model call had streamed is void: `resume()` asks again from the same messages.
    run.hearing = None
    if isinstance(error, AutopilotError):
        kind = error.kind if isinstance(error, ProviderError) else "setup"
        run.scope.emit(EventType.RUNTIME_ERROR, error=str(error), kind=kind)
    else:
        # A fault of ours or of a user's provider: the run ends, the host and the session do not.
        log.error("run %s failed", run.id, exc_info=error)
        run.scope.emit(EventType.RUNTIME_ERROR, error=f"{type(error).__name__}: {error}", kind="internal")
    return Ending("failed", error=error)


async def _keep_partial(run: Run, parts: Parts) -> None:
    """What the model had said when it was stopped stays in the conversation, marked as unfinished."""
    hearing, run.hearing = run.hearing, None
    if hearing is not None and hearing.text.strip():
        await parts.history.add("assistant", hearing.text, kind="reply", task=run.task, stop="aborted")
        await parts.note(run, f"{ABORTED} Nothing of the unfinished reply above was executed.")
    elif parts.history.awaits_result:
        await parts.note(
            run, f"{ABORTED} The control block above may have run in part: look before you repeat anything."
        )
