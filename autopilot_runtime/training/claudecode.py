"""Claude Code as an agent: drives the `claude` executable, one process for each task, and leaves none behind."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from autopilot_runtime.core.errors import AutopilotError, SetupError
from autopilot_runtime.core.ids import new_id
from autopilot_runtime.core.protocols import NOTHING_USED, RunResult, Usage
from autopilot_runtime.shell.environ import child_environment
from autopilot_runtime.shell.program import ProgramResult, run_program
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
        timeout: float = 1_800.0,
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
                "(npm install -g @anthropic-ai/claude-code), pass executable=<path>, or use RuntimeAgent('proposer')"
            )
        return found

    async def run(self, task: str) -> RunResult:
        """Work on `task` to its end. It always gives a result; only what cannot be started is raised."""
        argv = [self.ready(), *self._options()]
        done = await run_program(
            argv,
            cwd=str(self._work_dir or Path.cwd()),
            env=child_environment(os.environ, allow=(*_ITS_OWN, *self._env)),
            marker=new_id("claude"),
            timeout=self.timeout,
            stdin=task,
            max_bytes=_MAX_BYTES,
        )
        result = _result(done, self.timeout)
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


def _result(done: ProgramResult, seconds: float) -> RunResult:
    if done.timed_out:
        return RunResult("failed", error=AutopilotError(f"Claude Code did not end within {seconds:g} s"))
    said: Mapping[str, Any] = json_in(done.out, dict) or {}
    text, turns, subtype = said.get("result"), said.get("num_turns"), str(said.get("subtype") or "")
    usage = _usage(said)
    result = RunResult(
        "completed",
        text if isinstance(text, str) else "",
        steps=turns if isinstance(turns, int) else 0,
        usage=usage,
        cost_usd=usage.cost_usd,
    )
    if done.code == 0 and _succeeded(said):
        return result
    kind = f" ({subtype})" if subtype else ""
    error = AutopilotError(f"Claude Code ended with exit code {done.code}{kind}: {_why(result, done, subtype)}")
    status: Any = "max_steps" if subtype == "error_max_turns" else "budget" if "budget" in subtype else "failed"
    return replace(result, status=status, summary=result.summary or None, error=error)


def _succeeded(said: Mapping[str, Any]) -> bool:
    return bool(said) and not said.get("is_error") and said.get("subtype") in (None, "", "success")


def _why(result: RunResult, done: ProgramResult, subtype: str) -> str:
    words = (result.summary, done.err.strip(), subtype or done.out.strip())
    return next((one[-2_000:] for one in words if one), "it said nothing")


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
