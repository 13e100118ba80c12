"""What a script sees without any hook of its own: the reply on stdout, and prompts when a person is there."""

from __future__ import annotations

import sys
from typing import Any

from autopilot_runtime.core.decision import Decision
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.hooks import HookSystem

_HIDDEN = {chr(c) for c in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def visible(text: str) -> str:
    """The text on one line, with every character that could fake another line or order shown as an escape."""
    return "".join(c.encode("unicode_escape").decode() if c in _HIDDEN else c for c in text)


def someone_is_there() -> bool:
    """Whether a person sits at this terminal: both ends of the conversation are one."""
    try:
        return sys.stdin.isatty() and sys.stdout.isatty()
    except (AttributeError, ValueError):  # no stdio at all (a service), or it was closed
        return False


def install(hooks: HookSystem) -> None:
    """Set the default handlers; each is replaced by the first handler of its type."""
    hooks.default(EventType.STREAM, _stream)
    hooks.default(EventType.STEP, lambda step, **_: _end(hooks) if step > 1 else None)
    hooks.default(EventType.TOOL_CALL, _tool_call)
    hooks.default(EventType.RETRY, _retry)
    hooks.default(EventType.WARNING, lambda message, **_: _note(f"warning: {message}"))
    hooks.default(EventType.RUNTIME_ERROR, lambda error, **_: _note(f"error: {error}"))
    hooks.default(EventType.SECURITY_ERROR, lambda error, **_: _note(f"security error: {error}"))
    hooks.default(EventType.MAX_STEPS, lambda **_: _note("stopped: the step limit is reached"))
    hooks.default(EventType.RUN_ENDED, lambda **_: _end(hooks))
    hooks.default(EventType.ASK_USER, _ask)
    hooks.default(EventType.PERMISSION_REQUEST, _permission)


def _stream(text: str, **_: Any) -> None:
    print(text, end="", flush=True)


def _end(hooks: HookSystem) -> None:
    # What another handler prints is its own business: not even a newline is added to it.
    if hooks.handlers(EventType.STREAM) == [_stream]:
        print(flush=True)


def _tool_call(tool: str, args: dict[str, Any], label: str = "", agent: str = "", **_: Any) -> None:
    name = f"{agent}: {tool}" if agent else tool
    print(f"\n[{name}] {visible(label or str(args))}", flush=True)


def _retry(error: str, delay: float, **_: Any) -> None:
    _note(f"the model call failed ({error}); trying again in {delay:.1f} s")


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _ask(question: str, **_: Any) -> None:
    if someone_is_there():
        print(f"\n{question}", flush=True)


def read_answer() -> str | None:
    """What a person at this terminal types, if there is one: for a question that no handler has answered."""
    return _line("> ") if someone_is_there() else None


def _permission(tool: str, description: str, diff: str = "", **_: Any) -> bool | Decision:
    if not someone_is_there():
        return Decision(False, "nobody is there to ask", source="nobody")
    if diff:
        print("\n" + "\n".join(visible(line) for line in diff.splitlines()), flush=True)
    answer = _line(f"\n[{tool}] {visible(description)}\nAllow? [y/N] ")
    return (answer or "").strip().lower() in ("y", "yes")


def _line(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        return None
