"""Runs commands in terminals that keep their state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autopilot_runtime import Preview, Subject, ToolContext, ToolResult, tool
from autopilot_runtime.shell.terminal import CommandResult

_KEYS = {
    "\x03": "Ctrl+C",
    "\x04": "Ctrl+D",
    "\x1a": "Ctrl+Z",
    "\x1b": "Escape",
    "\n": "Enter",
    "\r": "Enter",
    "\t": "Tab",
}


def _running(arguments: Mapping[str, Any]) -> str:
    return f"Running `{_first_line(arguments['command'], 150)}`"


def _typing(arguments: Mapping[str, Any]) -> str:
    text = str(arguments["text"])
    return f"Sending {_KEYS.get(text) or repr(text)} to terminal {arguments['session_id']}"


def _first_line(command: str, limit: int = 100) -> str:
    """What tells this command from others, in one line."""
    first, *others = str(command).strip().splitlines() or [""]
    if len(first) > limit:
        # The end tells as much as the beginning: what the output is piped into.
        first = f"{first[: limit * 2 // 3]} … {first[-limit // 3 :]}"
    more = f" … (+{len(others)} line{'' if len(others) == 1 else 's'})" if others else ""
    return first + more


def _note(result: CommandResult) -> str:
    """How a command stands, for who sees only that it was called."""
    code = f", return_code {result.return_code}" if result.return_code is not None else ""
    return f"{result.status}{code}"


def _told(result: CommandResult, text: str) -> ToolResult:
    """A look at a command, named, so that a complete one can stand for the parts that were shown before it."""
    whole = result.mode == "full" and result.whole
    return ToolResult(result.value(), text, _note(result), source=result.id, whole=whole)


def _typed(ctx: ToolContext, arguments: Mapping[str, Any]) -> Preview:
    """What is typed is judged as a command would be, whole lines at a time: a program that reads may be a shell."""
    name, text = str(arguments["session_id"]), str(arguments["text"])
    line = ctx.state.get(name, "") + text
    running = ctx.terminals.running(name)
    where = f" (running `{running}`)" if running else ""
    return Preview(f"send_input to terminal {name}{where}: {line!r}", Subject("command", (line,)))


@tool(label=_running, command="command", effect="run")
async def execute(
    ctx: ToolContext,
    session_id: str,
    command: str,
    timeout: float = 10,
    new_terminal: bool = False,
    shell: str | None = None,
) -> ToolResult:
    """Run a shell command in a terminal and wait for it, at most `timeout` seconds.

    Terminals keep their folder, variables and background jobs between calls. "main" is always there; for a server or
    anything that keeps running, open another with new_terminal=True. `shell` chooses the shell of a new terminal
    ("bash", "zsh", "sh"; on Windows "powershell", "cmd").
    Returns a dict: status, return_code, output, cwd, elapsed, mode, command_number.
    status "completed": it ended, return_code is set.
    "running": time is over but it goes on; use read_output to wait for more, send_input to answer or interrupt it.
    "exited": it ended the shell itself; the next execute gets a fresh one in the same folder.
    """
    result = await ctx.terminals.execute(
        session_id, command, timeout, new_terminal, shell, max_chars=ctx.config.get("max_output_chars")
    )
    return _told(result, f"$ {_first_line(command)}\n{result.shown()}")


@tool(label="Reading terminal {session_id}", effect="read")
async def read_output(ctx: ToolContext, session_id: str, timeout: float = 5) -> ToolResult:
    """Wait up to `timeout` seconds for more output of the newest command in a terminal.

    Gives only what is new since the last look; when the command has ended and nothing is new, its complete output.
    Returns the same dict as execute.
    """
    result = await ctx.terminals.read_output(session_id, timeout, max_chars=ctx.config.get("max_output_chars"))
    return _told(result, result.shown())


@tool(label=_typing, effect="run", gate="execute", preview=_typed)
async def send_input(ctx: ToolContext, session_id: str, text: str, timeout: float = 5) -> ToolResult:
    r"""Type text into the command that runs in a terminal, and see what it answers.

    End a line with "\n". "\x03" is Ctrl+C (interrupt), "\x04" is Ctrl+D (end of input), "\x1b" is Escape. Only a
    running command can be typed into; to run a command use execute. Returns the same dict as execute.
    """
    line = ctx.state.get(session_id, "") + text
    ctx.state[session_id] = line[max(line.rfind("\n"), line.rfind("\r")) + 1 :][-2_000:]
    result = await ctx.terminals.send_input(session_id, text, timeout, max_chars=ctx.config.get("max_output_chars"))
    return _told(result, result.shown())


@tool(label="Closing terminal {session_id}", effect="run")
async def terminate_terminal(ctx: ToolContext, session_id: str) -> str:
    r"""Kill a terminal and everything it started. A last resort: try send_input(session_id, "\x03") first."""
    state = await ctx.terminals.terminate(session_id)
    ctx.state.pop(session_id, None)
    was = f"it was running: {state.command[:200]}" if state.status == "running" else f"it was {state.status}"
    return f"Terminal {session_id} is closed, with everything it had started ({was})."
