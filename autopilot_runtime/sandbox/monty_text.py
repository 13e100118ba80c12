"""An error of the Monty interpreter as text for the block's author: original lines, real names, bounded."""

from __future__ import annotations

import builtins
import re
from collections.abc import Collection
from typing import Any

from autopilot_runtime.core.message import printable
from autopilot_runtime.sandbox.display import restore
from autopilot_runtime.sandbox.signature import did_you_mean

# Classes cannot inherit there, but the errors of `decimal` already do: one with three below it, and nothing of
# ordinary code raises them. So `except ToolError` and `except PathRefused` mean what they say.
ERRORS = {
    "ToolError": "decimal.DecimalException",
    "PermissionDenied": "decimal.Clamped",
    "PathRefused": "decimal.Rounded",
    "EditConflict": "decimal.Subnormal",
}
# What the interpreter has under its own name.
_HAS = (
    "Exception ArithmeticError OverflowError ZeroDivisionError LookupError IndexError KeyError RuntimeError "
    "NotImplementedError RecursionError AttributeError NameError ValueError ImportError ModuleNotFoundError OSError "
    "FileNotFoundError FileExistsError IsADirectoryError NotADirectoryError PermissionError AssertionError "
    "MemoryError StopIteration SyntaxError TimeoutError TypeError"
)
_KNOWN = frozenset(_HAS.split())
_MARK = "<control block"
_HINTS = {
    "cannot suspend in this synchronous context": "Call tools in a for loop or a comprehension, not through map(), "
    "sorted(key=...) or a method like __repr__.",
    "has no attribute": "This interpreter has a part of Python's library only; use another way.",
    "not yet support": "This interpreter runs a part of Python only; write it in another way.",
}
_LINE_END = re.compile(r"\r\n|\r|\n")
_FRAMES = 8
_LINE = 200
_CHARS = 4_000


class Sources:
    """The newest blocks' lines by the interpreter's name for them."""

    def __init__(self) -> None:
        self._feeds = 0
        self._blocks = 0
        self._named: dict[str, tuple[str, list[str]]] = {}

    def fed(self, code: str | None = None) -> str:
        """Count a feed; of a block the name and the lines are kept."""
        name = f"<python-input-{self._feeds}>"
        self._feeds += 1
        if code is not None:
            self._blocks += 1
            self._named[name] = (f"{_MARK} {self._blocks}>", _LINE_END.split(code))
            if len(self._named) > 50:
                del self._named[next(iter(self._named))]
        return name

    def frame(self, name: str, line: int, function: str | None) -> list[str]:
        """One frame of a traceback; nothing for code of ours."""
        if name not in self._named:
            return []
        label, lines = self._named[name]
        source = lines[line - 1].strip()[:_LINE] if 0 < line <= len(lines) else ""
        return [f'  File "{label}", line {line}, in {function or "<module>"}', *([f"    {source}"] if source else [])]


def outcome_error(kind: str, text: str) -> dict[str, Any]:
    """A tool's error as the interpreter takes it: its own exception of that name, or a ToolError that says it."""
    text = printable(text)[:20_000]
    if kind in ERRORS:
        return {"exc_type": ERRORS[kind], "message": text}
    if kind in _KNOWN:
        return {"exc_type": kind, "message": text}
    return {"exc_type": ERRORS["ToolError"], "message": f"{kind}: {text}"}


def text_of(error: Any, *, sources: Sources, current: str, tools: Collection[str]) -> tuple[str, int | None]:
    """The traceback of a block's error, and the line of the current block where it happened."""
    frames = error.traceback()
    parts = [sources.frame(frame.filename, frame.line, frame.function_name) for frame in frames]
    parts = [part for part in parts if part]
    if len(parts) > _FRAMES:
        hidden = len(parts) - _FRAMES
        parts = [*parts[:2], [f"  [... {hidden} more frames ...]"], *parts[-_FRAMES + 2 :]]
    head = ["Traceback (most recent call last):"] if parts else []
    said = _said(error, tools)
    lines = [frame.line for frame in frames if frame.filename == current]
    return "\n".join([*head, *(line for part in parts for line in part), said]), (lines[-1] if lines else None)


def _said(error: Any, tools: Collection[str]) -> str:
    text = str(error.display("type-msg"))
    for name, theirs in ERRORS.items():
        if text.startswith(f"{theirs}:") or text == theirs:
            text = name + text[len(theirs) :]
    if text.startswith("KeyError: "):
        text = f"KeyError: {text[10:]!r}"
    text = restore(text, tools)
    if len(text) > _CHARS:
        text = f"{text[: _CHARS // 2]}\n[... {len(text) - _CHARS} characters not shown ...]\n{text[-_CHARS // 2 :]}"
    for sign, hint in _HINTS.items():
        if sign in text and not text.startswith(tuple(ERRORS)):
            return f"{text}\n{hint}"
    return text


def unknown_name(name: str, tools: Collection[str]) -> str:
    """What a name that is nothing here gets told: the nearest one, and the tools there are."""
    if hasattr(builtins, name):
        return f"name {name!r} is not defined: this interpreter has no {name}()"
    near = did_you_mean(name, tools)
    return f"name {name!r} is not defined{near}. Tools here: {', '.join(sorted(tools)) or 'none'}"[:1_500]
