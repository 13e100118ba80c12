"""Claude Code as an agent: drives the `claude` executable, one process for each task, and leaves none behind."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import shutil
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from autopilot_runtime.core.errors import AutopilotError, SetupError
from autopilot_runtime.core.protocols import NOTHING_USED, RunResult, Usage
from autopilot_runtime.shell.environ import child_environment
from autopilot_runtime.training.answer import json_in

# What it needs to reach its model. All other secrets of the host stay with the host.
_ITS_OWN = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_MODEL",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CONFIG_DIR",
)
_MAX_BYTES = 16 << 20
_GRACE = 3.0  # seconds between asking it to end and ending it


class ClaudeCodeAgent:
    """`claude -p` in a folder, with the tools to read and edit files there and no others.

    It gets the harmless variables of the environment, those it needs for its own model, and those named in `env`.
    """

    def __init__(
        self,
        executable: str = "claude",
        *,
        model: str | None = None,
        work_dir: str | os.PathLike[str] | None = None,
        tools: Iterable[str] = ("Read", "Edit", "Write", "Glob", "Grep"),
        permission_mode: str = "acceptEdits",
        timeout: float | None = 1_800.0,
        max_turns: int | None = None,
        max_budget_usd: float | None = None,
        env: Iterable[str] = (),
        arguments: Iterable[str] = (),
    ) -> None:
        self.executable, self.model, self.timeout = executable, model, timeout
        self.tools, self.permission_mode = tuple(tools), permission_mode
        self.max_turns, self.max_budget_usd = max_turns, max_budget_usd
        self.arguments = tuple(arguments)
        self._env = tuple(env)
        self._work_dir = None if work_dir is None else Path(work_dir)
        self.usage: Usage = NOTHING_USED
        self._counts = self

    name = "Claude Code"

    def within(self, folder: str | os.PathLike[str]) -> Self:
        """The same agent at work in another folder; what it uses is added up here."""
        other = copy.copy(self)
        other._work_dir = Path(folder)
        return other

    def ready(self) -> str:
        """The path of the executable; raises when there is none."""
        found = shutil.which(self.executable)
        if found is None:
            raise SetupError(
                f"ClaudeCodeAgent needs the executable {self.executable!r}, and it is not on the PATH. Install it "
                "(npm install -g @anthropic-ai/claude-code), pass executable=<path>, or use RuntimeAgent('optimizer')."  # noqa: E501
            )
        return found

    async def run(self, task: str) -> RunResult:
        """Work on `task` to its end. It always gives a result; only a missing executable is raised."""
        argv = [self.ready(), *self._options()]
        folder = self._work_dir or Path.cwd()
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env=child_environment(os.environ, allow=(*_ITS_OWN, *self._env)),
            start_new_session=os.name == "posix",
        )
        limit = asyncio.timeout(self.timeout)
        try:
            async with limit:
                out, err = await _talk(process, task)
        except TimeoutError:
            if not limit.expired():
                raise
            return RunResult("failed", error=AutopilotError(f"Claude Code did not end within {self.timeout:g} s"))
        finally:
            await _end(process)
        result = _result(out.decode("utf-8", "replace"), err.decode("utf-8", "replace"), process.returncode)
        self._counts.usage += result.usage
        return result

    def _options(self) -> list[str]:
        options = ["-p", "--output-format", "json", "--permission-mode", self.permission_mode]
        if self.tools:
            options += ["--allowedTools", ",".join(self.tools)]
        if self.model:
            options += ["--model", self.model]
        if self.max_turns is not None:
            options += ["--max-turns", str(self.max_turns)]
        if self.max_budget_usd is not None:
            options += ["--max-budget-usd", f"{self.max_budget_usd:g}"]
        return [*options, *self.arguments]


async def _talk(process: asyncio.subprocess.Process, task: str) -> tuple[bytes, bytes]:
    """Give it the task, and read all it says; more than it may say is read and dropped."""
    assert process.stdin and process.stdout and process.stderr
    out, err = bytearray(), bytearray()
    readers = [asyncio.ensure_future(_read(*one)) for one in ((process.stdout, out), (process.stderr, err))]
    try:
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # it ended without reading: its exit says why
            process.stdin.write(task.encode("utf-8", "replace"))
            await process.stdin.drain()
        process.stdin.close()
        await process.wait()
        await asyncio.wait(readers, timeout=_GRACE)  # a program it left behind may hold the pipe open for ever
        return bytes(out), bytes(err)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _read(stream: asyncio.StreamReader, kept: bytearray) -> None:
    while chunk := await stream.read(65_536):
        kept += chunk[: max(0, _MAX_BYTES - len(kept))]


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it with all that it started."""
    _signal(process, signal.SIGTERM)
    if process.returncode is None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE)
    if os.name == "posix":
        _signal(process, signal.SIGKILL)
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    # Its group is its own (start_new_session), and may hold programs that outlived it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, number)
        elif process.returncode is None:
            process.terminate()


def _result(out: str, err: str, code: int | None) -> RunResult:
    found = json_in(out, dict)
    said: Mapping[str, Any] = found if isinstance(found, dict) else {}
    usage = _usage(said)
    text = said.get("result")
    summary = text if isinstance(text, str) else None
    steps = said.get("num_turns")
    steps = steps if isinstance(steps, int) else 0
    subtype = str(said.get("subtype") or "")
    if code == 0 and said and not said.get("is_error") and subtype in ("", "success"):
        return RunResult("completed", summary or "", steps=steps, usage=usage, cost_usd=usage.cost_usd)
    why = summary or err.strip()[-2_000:] or (out.strip()[-2_000:] if not said else subtype) or "it said nothing"
    error = AutopilotError(f"Claude Code ended with exit code {code}{f' ({subtype})' if subtype else ''}: {why}")
    status: Any = "max_steps" if subtype == "error_max_turns" else "budget" if "budget" in subtype else "failed"
    return RunResult(status, summary, steps=steps, usage=usage, cost_usd=usage.cost_usd, error=error)


def _usage(said: Mapping[str, Any]) -> Usage:
    told = said.get("usage")
    counts: Mapping[str, Any] = told if isinstance(told, dict) else {}

    def count(name: str) -> int:
        value = counts.get(name)
        return value if isinstance(value, int) else 0

    read, write = count("cache_read_input_tokens"), count("cache_creation_input_tokens")
    cost = said.get("total_cost_usd")
    priced = isinstance(cost, (int, float)) and not isinstance(cost, bool)
    return Usage(
        count("input_tokens") + read + write if counts else None,
        read,
        write,
        count("output_tokens") if counts else None,
        cost_usd=float(cost) if priced and cost is not None else None,
        cost_source="provider" if priced else "unknown",
    )
