"""What a person sees of a sub-agent: dim lines under its name, one for each call. Its words are for its caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autopilot_runtime.cli import diffview, figures, safe
from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.core.event import Event, EventType

_CHARS = 160
_WELL = ("completed", "answered")


class SubView:
    """Shows the events that carry the name of an agent."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._labels: dict[str, str] = {}  # by span: several may be at work
        self._changes: dict[str, list[Mapping[str, Any]]] = {}
        self._tellers: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
            EventType.START: lambda data: f": {_first(data.get('task'))}",
            EventType.RUN_ENDED: _ended,
            EventType.BLOCK_ENDED: lambda data: None if data.get("ok") else f": a block failed: {_last(data)}",
            EventType.RETRY: lambda data: f": the model call failed: {_first(data.get('error'))}; trying again",
            EventType.WARNING: lambda data: f": warning: {_first(data.get('message'))}",
            EventType.SECURITY_ERROR: lambda data: f": refused: {_first(data.get('error'))}",
            EventType.PERMISSION_DECIDED: _decided,
        }

    def show(self, event: Event) -> None:
        """Show one event, if it has something to show."""
        data, kind = event.data, str(event.type)
        agent = safe.one_line(str(data["agent"]), 80)
        if event.type is EventType.DELEGATED:
            kind, data = str(data.get("event")), data.get("data") or {}
        if kind == EventType.TOOL_CALL:
            self._labels[event.span] = str(data.get("label") or data.get("tool"))
        elif kind == EventType.FILE_CHANGED:
            self._changes.setdefault(event.span, []).append(data)
        elif kind == EventType.TOOL_RESULT:
            self._called(agent, event.span, data)
        elif kind in self._tellers:
            text = self._tellers[kind](data)
            if text is not None:
                self._dim(f"{agent}{text}")

    def _called(self, agent: str, span: str, data: Mapping[str, Any]) -> None:
        label = safe.one_line(self._labels.pop(span, str(data.get("tool"))), _CHARS)
        mark, took = "✓" if data.get("ok") else "✗", figures.seconds(float(data.get("elapsed") or 0))
        self._dim(f"{agent} {mark} {label}  {took}")
        if not data.get("ok"):
            self._dim(f"{agent}   {_first(data.get('result'))}")
        for change in self._changes.pop(span, ()):
            plus, minus = diffview.changed_lines(str(change.get("diff") or ""))
            what = f"{change.get('path')} {change.get('change')}"
            self._dim(f"{agent}   {safe.one_line(what, _CHARS)}  +{plus} -{minus}")

    def _dim(self, text: str) -> None:
        self._screen.line(self._screen.paint(f"    {text}", "dim"))


def _ended(data: Mapping[str, Any]) -> str | None:
    if data.get("status") in _WELL:
        return None
    return f": ended as {data.get('status')}: {_first(data.get('error'))}".rstrip(": ")


def _decided(data: Mapping[str, Any]) -> str | None:
    if data.get("allowed"):
        return None
    return f": {safe.one_line(str(data.get('tool')), _CHARS)} not allowed: {_first(data.get('reason'))}"


def _first(text: object) -> str:
    return safe.one_line(str(text or "").strip().partition("\n")[0], _CHARS)


def _last(data: Mapping[str, Any]) -> str:
    return safe.one_line(str(data.get("failure") or "").strip().rpartition("\n")[2], _CHARS)
