"""Where a run stands, as the session keeps it: enough to go on with it in another process."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from autopilot_runtime.core.errors import AutopilotError
from autopilot_runtime.core.ids import new_id
from autopilot_runtime.core.protocols import NOTHING_USED, RunResult, SessionStore, Usage
from autopilot_runtime.runtime.ledger import RUN
from autopilot_runtime.runtime.run import Ending, Run

PROCESS = new_id()  # this process: what lives in one, such as a terminal, is gone in another
RUNNING = "running"
# A run that ended like this can be resumed. One that is "running" in a session nobody writes to was interrupted.
RESUMABLE = frozenset({RUNNING, "suspended", "failed", "aborted", "max_steps", "budget"})
# Of these, resuming is meant to give it more: the others go on with what they had left.
_REFILLED = frozenset({"max_steps", "budget"})
_USAGE = tuple(field.name for field in dataclasses.fields(Usage))
# A sub-agent that ended like this has given what it had to give.
_ENDED = frozenset({"completed", "answered", "max_steps", "budget", "failed"})


def standing(run: Run, ending: Ending | None = None) -> dict[str, Any]:
    """Where the run stands now, or how it ended. Plain JSON, and small."""
    state = {
        "id": run.id,
        "task": run.task,
        "status": ending.status if ending else RUNNING,
        "step": run.step,
        "usage": _plain(run.usage),
        "newest": _plain(run.newest),
        "spent_usd": run.purse.spent.usd,
        "tokens": run.purse.spent.tokens,
        "seconds": round(run.elapsed, 3),
        "files": list(run.files_changed),
        "helped": {nest: _plain(usage) for nest, usage in run.helped.items()},
        "before": run.before,
        "process": PROCESS,
    }
    if ending is not None:
        state["summary"], state["output"] = ending.summary, ending.output
        state["error"] = str(ending.error) if ending.error else None
    return state


def used_before(state: Mapping[str, Any], *, resumed: bool) -> dict[str, float]:
    """What the session had used before the run that begins, or goes on, now."""
    if resumed and status_of(state) not in _REFILLED:
        return {key: float(value) for key, value in (state.get("before") or {}).items()}
    return session_totals(state)


def take_up(run: Run, state: Mapping[str, Any]) -> None:
    """Go on where the run stood. One that had used up what it may gets as much again."""
    run.resumed_from = status_of(state)
    run.elsewhere = state.get("process") != PROCESS
    for path in state.get("files") or ():
        run.changed(str(path))
    run.helped = {nest: _usage(used) for nest, used in (state.get("helped") or {}).items()}
    run.newest = _usage(state.get("newest"))
    if run.resumed_from in _REFILLED:
        run.usage = _usage(state.get("usage"))
        return
    run.step = int(state.get("step") or 0)
    run.started -= float(state.get("seconds") or 0)
    run.owe_again(_usage(state.get("usage")))


def ended_before(caller: Run, session: SessionStore) -> RunResult | None:
    """How the run of a sub-agent came to its end before its caller was interrupted; None when it did not.

    Its caller has not heard of that, so what the run has used and changed is made up for.
    """
    state = session.extra().get(RUN) or {}
    status = status_of(state)
    if status not in _ENDED:
        return None
    usage, files = _usage(state.get("usage")), tuple(str(path) for path in state.get("files") or ())
    caller.owe_for(session.session_id, usage)
    for path in files:
        caller.changed(path)
    return RunResult(
        status=status,  # type: ignore[arg-type]
        summary=state.get("summary"),
        output=state.get("output"),
        steps=int(state.get("step") or 0),
        usage=usage,
        cost_usd=usage.cost_usd,
        files_changed=files,
        run_id=str(state.get("id") or ""),
        session_id=session.session_id,
        error=AutopilotError(state["error"]) if state.get("error") else None,
    )


def session_totals(state: Mapping[str, Any]) -> dict[str, float]:
    """What all runs of a session have used so far, out of where its newest stands."""
    before = state.get("before") or {}
    return {
        "usd": float(before.get("usd") or 0) + float(state.get("spent_usd") or 0),
        "tokens": float(before.get("tokens") or 0) + float(state.get("tokens") or 0),
        "seconds": float(before.get("seconds") or 0) + float(state.get("seconds") or 0),
    }


def _plain(usage: Usage) -> dict[str, Any]:
    return {name: getattr(usage, name) for name in _USAGE}  # `asdict` takes ten times as long, at every step


def _usage(value: Any) -> Usage:
    if not isinstance(value, Mapping):
        return NOTHING_USED
    return Usage(**{key: item for key, item in value.items() if key in _USAGE})


def status_of(state: Mapping[str, Any]) -> str:
    """How the newest run of a session ended; "running" for one that did not; "" for none."""
    return str(state.get("status") or "")
