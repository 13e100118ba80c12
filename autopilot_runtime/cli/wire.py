"""Events as `--output jsonl` writes them: one JSON object per line, with dotted type names that stay."""

from __future__ import annotations

import json
from typing import Any

from autopilot_runtime.core.event import Event, EventType

NAMES: dict[EventType, str] = {
    EventType.START: "run.started",
    EventType.STEP: "step.started",
    EventType.STREAM: "text.delta",
    EventType.THOUGHT: "thought.delta",
    EventType.USAGE: "usage",
    EventType.RETRY: "model.retry",
    EventType.BLOCK_STARTED: "block.started",
    EventType.BLOCK_ENDED: "block.finished",
    EventType.TOOL_CALL: "tool.started",
    EventType.TOOL_RESULT: "tool.finished",
    EventType.FILE_CHANGED: "file.changed",
    EventType.FILES_RESTORED: "files.restored",
    EventType.DELEGATED: "agent.event",
    EventType.ASK_USER: "input.requested",
    EventType.PERMISSION_REQUEST: "permission.requested",
    EventType.PERMISSION_DECIDED: "permission.decided",
    EventType.SECURITY_ERROR: "error.security",
    EventType.RUNTIME_ERROR: "error",
    EventType.WARNING: "warning",
    EventType.FINISH: "task.completed",
    EventType.MAX_STEPS: "limit.steps",
    EventType.ABORTED: "run.aborted",
    EventType.BUDGET_EXCEEDED: "limit.budget",
    EventType.SUSPENDED: "run.suspended",
    EventType.RESUMED: "run.resumed",
    EventType.RUN_ENDED: "run.finished",
    EventType.USER_MESSAGE_QUEUED: "message.queued",
    EventType.USER_MESSAGE_INJECTED: "message.injected",
    EventType.SESSION_RESET: "session.reset",
    EventType.ENVIRONMENT_CHANGE: "environment.changed",
    EventType.INSTRUCTIONS_LOADED: "instructions.loaded",
    EventType.COMPACTED: "context.compacted",
    EventType.CONFINEMENT: "sandbox.level",
    EventType.HOOK_ERROR: "hook.error",
    EventType.FIT_START: "fit.started",
    EventType.EPOCH_START: "epoch.started",
    EventType.BATCH_START: "batch.started",
    EventType.BATCH_END: "batch.finished",
    EventType.LOSS: "loss.value",
    EventType.BACKWARD: "loss.backward",
    EventType.GRADIENT_READY: "gradient.ready",
    EventType.STEP_START: "optimizer.started",
    EventType.PROPOSED: "candidate.proposed",
    EventType.STEP_APPLIED: "optimizer.applied",
    EventType.STEP_REJECTED: "optimizer.rejected",
    EventType.EVAL_START: "evaluation.started",
    EventType.EVAL_ITEM: "evaluation.item",
    EventType.EVAL_END: "evaluation.finished",
    EventType.VALIDATION_END: "validation.finished",
    EventType.GATE_PASSED: "gate.passed",
    EventType.GATE_WARNED: "gate.warned",
    EventType.GATE_FAILED: "gate.failed",
    EventType.ACCEPTED: "candidate.accepted",
    EventType.DISCARDED: "candidate.discarded",
    EventType.ROLLBACK: "candidate.rolledback",
    EventType.SNAPSHOT: "state.tagged",
    EventType.MERGED: "candidate.merged",
    EventType.PLATEAU: "fit.plateau",
    EventType.BUDGET_WARNING: "budget.warning",
    EventType.CHECKPOINT_SAVED: "checkpoint.saved",
    EventType.EXCEPTION: "fit.error",
    EventType.EPOCH_END: "epoch.finished",
    EventType.FIT_END: "fit.finished",
}
_FAILED = "run.failed"
_TYPES = {name: kind for kind, name in NAMES.items()} | {_FAILED: EventType.RUN_ENDED}
_WELL = ("completed", "answered")


def name_of(event: Event) -> str:
    """The dotted name. Every run ends with exactly one `run.finished` or `run.failed`."""
    if event.type is EventType.RUN_ENDED and event.data.get("status") not in _WELL:
        return _FAILED
    return NAMES.get(event.type) or event.type.value.replace("_", ".")


def to_line(event: Event) -> str:
    """The event as one line, without its line end."""
    return dumps({**event.to_dict(), "type": name_of(event)})


def from_dict(value: dict[str, Any]) -> Event | None:
    """The event of a line, by its dotted or its plain name; None for a type this release does not know."""
    name = str(value.get("type"))
    kind = _TYPES.get(name)
    if kind is None:
        try:
            kind = EventType(name)
        except ValueError:
            return None
    return Event.from_dict({**value, "type": kind})


def dumps(value: Any) -> str:
    """JSON on one line. Line separators of Unicode are escaped: some readers of lines break there."""
    text = json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
