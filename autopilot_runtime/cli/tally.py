"""Counts what the events of a run say: steps, tokens, dollars, and which requests found nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from autopilot_runtime.cli import figures
from autopilot_runtime.core.event import Event, EventType

_DOING: dict[str, str] = {
    EventType.STEP: "waiting for the model",
    EventType.STREAM: "writing",
    EventType.THOUGHT: "thinking",
    EventType.RETRY: "waiting to try again",
    EventType.BLOCK_STARTED: "running",
    EventType.TOOL_RESULT: "running",
}


class Tally:
    """Figures of one run. `note` every event; `line` is the live line."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._doing = "starting"
        self.step = 0
        self.max_steps = 0
        self.tokens = 0
        self.cost: float | None = 0.0
        self.unanswered = 0
        self.error: str | None = None  # why the run ended, with secrets masked as in every event
        self.denials: list[dict[str, Any]] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._begun

    def note(self, event: Event, *, person: bool) -> None:
        """Take one event into account. Without a person, a question goes unanswered."""
        data = event.data
        self._doing = _doing(event) or self._doing
        if event.type is EventType.STEP:
            self.step, self.max_steps = int(data["step"]), int(data["max_steps"])
        elif event.type is EventType.USAGE:
            self.tokens, self.cost = int(data.get("total_tokens") or 0), data.get("total_cost_usd")
        elif event.type is EventType.PERMISSION_DECIDED and not data.get("allowed"):
            self.unanswered += data.get("source") == "nobody"
            self.denials.append({"tool_name": data.get("tool"), "reason": data.get("reason")})
        elif event.type is EventType.ASK_USER:
            self.unanswered += not person
        elif event.type is EventType.RUN_ENDED:
            self.error = data.get("error")

    def stopping(self) -> None:
        """The run was told to stop and has not ended yet."""
        self._doing = "stopping (Ctrl+C again leaves at once)"

    def line(self) -> str:
        """`step 2/30 · 12 s · 3.1k tokens · $0.02 · Reading app.py`."""
        parts = [figures.seconds(float(int(self.elapsed))) if self.elapsed >= 10 else f"{int(self.elapsed)} s"]
        if self.step:
            parts.insert(0, f"step {self.step}/{self.max_steps}")
            parts += [figures.tokens(self.tokens), figures.dollars(self.cost)]
        return " · ".join([*parts, self._doing])


def _doing(event: Event) -> str | None:
    """What goes on now, and under whose name; None when the event does not say."""
    data, kind = event.data, str(event.type)
    name = f"{data['agent']}: " if data.get("agent") else ""
    if event.type is EventType.TOOL_CALL:
        return name + str(data.get("label") or data.get("tool"))
    if event.type is EventType.DELEGATED:
        kind = str(data.get("event"))
    return name + _DOING[kind] if kind in _DOING else None
