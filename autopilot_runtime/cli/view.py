"""What a person sees of a run: the model's text as it comes, and one line for everything else."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from autopilot_runtime.cli import diffview, figures, safe
from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.subview import SubView
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.core.protocols import RunResult

DIFF_LINES = 60
_ERROR_CHARS = 400
_ERROR_LINE = re.compile(r"\w*(?:Error|Exception|Denied|Exit|Interrupt|Conflict)\b.*: ")


class View:
    """Shows events on a screen. `flow`: the model's text goes to stdout; else only the answer does, at the end."""

    def __init__(self, screen: Screen, *, flow: bool) -> None:
        self._screen = screen
        self._flow = flow
        self._sub = SubView(screen)
        self._window = ""
        self._spoken = False
        self._ends = ""
        self._written = False
        self._held: list[str] = []
        self._diffs: set[str] = set()
        self._labels: dict[str, str] = {}
        self._changes: list[dict[str, Any]] = []
        self._tellers: dict[EventType, Callable[[dict[str, Any]], None]] = {
            EventType.STEP: self._step,
            EventType.STREAM: self._stream,
            EventType.RETRY: self._retry,
            EventType.TOOL_RESULT: self._tool,
            EventType.FILE_CHANGED: self._changes.append,
            EventType.PERMISSION_DECIDED: self._decided,
            EventType.SECURITY_ERROR: lambda d: self._note("refused", d.get("error"), "red"),
            EventType.RUNTIME_ERROR: self._error,
            EventType.BLOCK_ENDED: self._block,
            EventType.WARNING: lambda d: self._note("warning", d.get("message"), "yellow"),
            EventType.HOOK_ERROR: lambda d: self._note("a hook failed", d.get("error"), "yellow"),
            EventType.INSTRUCTIONS_LOADED: self._loaded,
            EventType.USER_MESSAGE_QUEUED: lambda d: self._note("queued", d.get("message"), "cyan"),
            EventType.USER_MESSAGE_INJECTED: lambda d: self._note("delivered", d.get("message"), "cyan"),
            EventType.COMPACTED: self._compacted,
            EventType.ENVIRONMENT_CHANGE: lambda d: self._note("changed outside", d.get("report")),
        }

    def show(self, event: Event) -> None:
        """Show one event, if it has something to show."""
        if event.data.get("agent"):
            self._sub.show(event)
            return
        data = dict(event.data)
        if event.type is EventType.TOOL_CALL:
            self._labels[event.span] = str(data.get("label") or data.get("tool"))
        elif event.type is EventType.TOOL_RESULT:
            data["label"] = self._labels.pop(event.span, data.get("tool"))
        elif event.type is not EventType.FILE_CHANGED:
            self._tell_changes()
        if event.type in (EventType.BLOCK_STARTED, EventType.STEP):
            self._release()
        teller = self._tellers.get(event.type)
        if teller is not None:
            teller(data)

    def seen(self, diff: str) -> None:
        """This diff was shown when it was approved; it is not shown again."""
        self._diffs.add(diff)

    def end(self, result: RunResult) -> None:
        """The answer on stdout, when it did not flow there already."""
        self._screen.end_text()
        held = "".join(self._held).strip("\n")
        self._held.clear()
        if self._flow:
            return
        if result.status == "completed" and held:
            self._screen.line(safe.prose(held))
        if result.summary:
            self._screen.text(result.summary if result.summary.endswith("\n") else f"{result.summary}\n")

    def _step(self, data: dict[str, Any]) -> None:
        self._screen.end_text()
        self._window, self._spoken = "", False
        self._fresh()

    def _fresh(self) -> None:
        self._ends, self._written = "", False

    def _stream(self, data: dict[str, Any]) -> None:
        text, window = str(data.get("text") or ""), str(data.get("window") or "prose")
        if not self._flow:
            if window == "prose":
                self._held.append(text)
            return
        if window != self._window and self._window:
            self._screen.end_text()
            self._fresh()
        self._window = window
        self._spoken = True
        # Line ends wait for what follows: those before a control block would only make gaps.
        whole = self._ends + text if self._written else text.lstrip("\n")
        body = whole.rstrip("\n")
        self._ends = whole[len(body) :]
        self._written = self._written or bool(body)
        self._screen.text(body)

    def _release(self) -> None:
        """Prose before a control block is a remark on the way, not the answer: it goes to stderr."""
        held = "".join(self._held).strip("\n")
        if held:
            self._screen.line(safe.prose(held))
        self._held.clear()

    def _retry(self, data: dict[str, Any]) -> None:
        void = "; the text above is void" if self._spoken else ""
        self._held.clear()
        self._spoken = False
        self._fresh()
        again = f"trying again in {data.get('delay', 0):.1f} s{void}"
        self._note("the model call failed", f"{data.get('error')} ({again})", "yellow")

    def _compacted(self, data: dict[str, Any]) -> None:
        before, after = (f"{int(data.get(key) or 0):,}" for key in ("before", "after"))
        self._note("context", f"{data.get('what') or 'made shorter'}, {before} → {after} tokens")

    def _tool(self, data: dict[str, Any]) -> None:
        ok, paint = bool(data.get("ok")), self._screen.paint
        mark = paint("✓", "green") if ok else paint("✗", "red")
        took = paint(figures.seconds(float(data.get("elapsed") or 0)), "dim")
        note = str(data.get("note") or "")
        if ok and ("running" in note or "return_code" in note) and not note.endswith("return_code 0"):
            mark, took = paint("!", "yellow"), f"{took}  {paint(safe.one_line(note), 'yellow')}"
        self._screen.line(f"  {mark} {safe.one_line(str(data['label']), 200)}  {took}")
        if not ok:
            self._screen.line(paint(f"    {_first(data.get('result'))}", "red"))
        self._tell_changes()

    def _tell_changes(self) -> None:
        """The diffs of what a call changed, below the line of the call."""
        changes = list(self._changes)
        self._changes.clear()
        for data in changes:
            paint, diff = self._screen.paint, str(data.get("diff") or "")
            plus, minus = diffview.changed_lines(diff)
            what = f"{safe.one_line(str(data.get('path')))} {safe.one_line(str(data.get('change')))}"
            self._screen.line(f"    {what}  {paint(f'+{plus}', 'green')} {paint(f'-{minus}', 'red')}")
            if diff and diff not in self._diffs:
                shown = diffview.coloured(diff, paint, max_lines=DIFF_LINES)
                self._screen.line("\n".join(f"    {line}" for line in shown.splitlines()))
            self._diffs.discard(diff)

    def _decided(self, data: dict[str, Any]) -> None:
        if not data.get("allowed"):
            self._note(f"{data.get('tool')} not allowed", data.get("reason"), "yellow")

    def _error(self, data: dict[str, Any]) -> None:
        # Other kinds end the run; the last line of the command tells them once, with what to do.
        if data.get("kind") == "reply":
            self._note("a reply with a fault", f"{_first(data.get('error'))} (the model is told)", "yellow")

    def _block(self, data: dict[str, Any]) -> None:
        if not data.get("ok") and data.get("failure"):
            self._note("the block failed", f"{_cause(str(data['failure']))} (the model is told)", "yellow")

    def _loaded(self, data: dict[str, Any]) -> None:
        lines = data.get("lines")
        count = lines if isinstance(lines, int) else len(lines or ())
        self._note("loaded", f"{data.get('path')} ({figures.count(count, 'line')})")

    def _note(self, what: str, detail: object, *styles: str) -> None:
        text = safe.one_line(str(detail or ""), _ERROR_CHARS)
        self._screen.line(self._screen.paint(f"  {what}: {text}", *(styles or ("dim",))))


def _cause(failure: str) -> str:
    """The line of a traceback that names the error: what follows it may be many lines of advice."""
    lines = failure.strip().splitlines() or [""]
    return next((line for line in lines if _ERROR_LINE.match(line)), lines[-1])


def _first(text: object) -> str:
    lines = str(text or "").strip().splitlines()
    return safe.one_line(lines[0] if lines else "", _ERROR_CHARS)
