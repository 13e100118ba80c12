"""What happened: one frozen `Event` per happening, numbered, and hung under the span that caused it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

VERSION = 1
_HEAD = ("v", "seq", "ts", "type", "run_id", "session_id", "span", "parent")


class EventType(StrEnum):
    """Every kind of event. The comment names the payload fields."""

    # a run
    START = "start"  # task
    STEP = "step"  # step, max_steps
    STREAM = "stream"  # text
    THOUGHT = "thought"  # text
    USAGE = "usage"  # input_total, cache_read, cache_write, output, reasoning, cost_usd, cost_source, ...
    RETRY = "retry"  # attempt, delay, error, kind: discard the text streamed since the step began
    BLOCK_STARTED = "block_started"  # code
    BLOCK_ENDED = "block_ended"  # ok, result, failure, elapsed, calls
    TOOL_CALL = "tool_call"  # tool, args, label
    TOOL_RESULT = "tool_result"  # tool, result, note, ok, elapsed
    FILE_CHANGED = "file_changed"  # path, change, diff
    FILES_RESTORED = "files_restored"  # undone, undo_id, files, left
    DELEGATED = "delegated"  # agent, event, data: what a sub-agent says, and how its run goes
    ASK_USER = "ask_user"  # question, request_id
    PERMISSION_REQUEST = "permission_request"  # tool, description, request_id, args, diff
    PERMISSION_DECIDED = "permission_decided"  # tool, request_id, allowed, reason, source
    SECURITY_ERROR = "security_error"  # error
    RUNTIME_ERROR = "runtime_error"  # error, kind
    WARNING = "warning"  # message
    FINISH = "finish"  # summary
    MAX_STEPS = "max_steps"
    ABORTED = "aborted"  # step
    BUDGET_EXCEEDED = "budget_exceeded"  # what, spent, limit
    SUSPENDED = "suspended"  # request_id, requests
    RESUMED = "resumed"  # run, status
    RUN_ENDED = "run_ended"  # status, summary, steps, cost_usd, files_changed
    # the conversation around it
    USER_MESSAGE_QUEUED = "user_message_queued"  # message
    USER_MESSAGE_INJECTED = "user_message_injected"  # message
    SESSION_RESET = "session_reset"
    ENVIRONMENT_CHANGE = "environment_change"  # report
    INSTRUCTIONS_LOADED = "instructions_loaded"  # path, lines
    COMPACTED = "compacted"  # before, after (tokens), what
    CONFINEMENT = "confinement"  # what, level, network, detail
    HOOK_ERROR = "hook_error"  # hook, event, error
    # a training run: span is the commit an event is about, parent the commit that one was made from;
    # each carries epoch, step, commit, and what of metrics, cost, why, source it is about
    FIT_START = "fit_start"  # run, max_epochs, forecast
    EPOCH_START = "epoch_start"
    BATCH_START = "batch_start"  # batch
    BATCH_END = "batch_end"  # batch
    LOSS = "loss"  # value
    BACKWARD = "backward"
    GRADIENT_READY = "gradient_ready"  # parameter, text
    STEP_START = "step_start"  # optimizer
    PROPOSED = "proposed"  # changed
    STEP_APPLIED = "step_applied"  # changed
    STEP_REJECTED = "step_rejected"  # error
    EVAL_START = "eval_start"  # split, items
    EVAL_ITEM = "eval_item"  # split, item, replicate, cached, ok, error
    EVAL_END = "eval_end"  # split
    VALIDATION_END = "validation_end"
    GATE_PASSED = "gate_passed"  # gate, value, bound
    GATE_WARNED = "gate_warned"  # gate, value, bound
    GATE_FAILED = "gate_failed"  # gate, value, bound
    ACCEPTED = "accepted"
    DISCARDED = "discarded"
    ROLLBACK = "rollback"  # to
    SNAPSHOT = "snapshot"  # tag
    MERGED = "merged"  # of
    PLATEAU = "plateau"  # epochs
    BUDGET_WARNING = "budget_warning"  # what, spent, limit
    CHECKPOINT_SAVED = "checkpoint_saved"  # path
    EXCEPTION = "exception"  # error
    EPOCH_END = "epoch_end"
    FIT_END = "fit_end"  # status


# What a sub-agent does, is refused, asks and costs comes under its own type, with `agent`: who watches over what is
# done need not know of sub-agents. All else of it comes as DELEGATED: nobody takes its words for the agent's own.
DEEDS = frozenset(
    {
        EventType.TOOL_CALL,
        EventType.TOOL_RESULT,
        EventType.FILE_CHANGED,
        EventType.ASK_USER,
        EventType.PERMISSION_REQUEST,
        EventType.PERMISSION_DECIDED,
        EventType.SECURITY_ERROR,
        EventType.USAGE,
    }
)


@dataclass(frozen=True, slots=True)
class Event:
    """One happening. Payload fields read as attributes (`event.text`) or through `event.data`."""

    seq: int
    ts: float
    type: EventType
    run_id: str = ""
    session_id: str = ""
    span: str = ""
    parent: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            have = ", ".join(self.data) or "nothing"
            raise AttributeError(f"{self.type.name} has no field {name!r}; it carries {have}") from None

    def to_dict(self) -> dict[str, Any]:
        """A flat JSON-ready dict: the head fields, then the payload."""
        head = (VERSION, self.seq, self.ts, self.type.value, self.run_id, self.session_id, self.span, self.parent)
        return {**dict(zip(_HEAD, head, strict=True)), **self.data}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Event:
        """The event that `to_dict` wrote."""
        data = {key: item for key, item in value.items() if key not in _HEAD}
        run_id, session_id, span, parent = (str(value.get(key) or "") for key in _HEAD[4:])
        kind = EventType(value["type"])
        return cls(int(value["seq"]), float(value["ts"]), kind, run_id, session_id, span, parent, data)


RESERVED = frozenset(_HEAD)
