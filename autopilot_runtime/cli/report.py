"""How a run ended: one JSON object with the field names scripts already parse, or one line for a person."""

from __future__ import annotations

from typing import Any

from autopilot_runtime.cli import figures, safe
from autopilot_runtime.cli.exitcode import ExitCode, reason
from autopilot_runtime.cli.tally import Tally
from autopilot_runtime.cli.tty import Paint
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.protocols import RunResult, RunStatus

_SUBTYPE: dict[RunStatus, str] = {
    "completed": "success",
    "answered": "success",
    "max_steps": "error_max_turns",
    "budget": "error_max_budget_usd",
    "suspended": "error_needs_input",
    "aborted": "error_aborted",
    "failed": "error_during_execution",
}
_WORDS: dict[RunStatus, str] = {
    "completed": "done",
    "answered": "answered",
    "max_steps": "stopped at the step limit",
    "budget": "stopped at its budget",
    "suspended": "waiting for an answer",
    "aborted": "stopped",
    "failed": "failed",
}
_ENDED: dict[ExitCode, str] = {ExitCode.TIMEOUT: "stopped at the time limit"}
_NEXT: dict[ExitCode, str] = {
    ExitCode.MAX_STEPS: "Give it more with --max-steps.",
    ExitCode.BUDGET: "Give it more with --max-cost-usd or --max-tokens.",
    ExitCode.TIMEOUT: "Give it more with --timeout.",
    ExitCode.NEEDS_PERSON: (
        "Something needed a person: allow a tool with --allow 'tool(pattern)', answer a question in the task, "
        "or run this in a terminal."
    ),
}


def result_object(result: RunResult, tally: Tally, code: ExitCode) -> dict[str, Any]:
    """The final object of `--output json` and the last line of `--output jsonl`."""
    usage = result.usage
    return {
        "type": "result",
        "subtype": "error_needs_input" if code == ExitCode.NEEDS_PERSON else _SUBTYPE[result.status],
        "is_error": code != ExitCode.DONE,
        "result": result.summary,
        "session_id": result.session_id,
        "num_turns": result.steps,
        "duration_ms": round(tally.elapsed * 1000),
        "total_cost_usd": result.cost_usd,
        "usage": {
            "input_tokens": _fresh(result),
            "cache_creation_input_tokens": usage.cache_write,
            "cache_read_input_tokens": usage.cache_read,
            "output_tokens": usage.output,
        },
        "permission_denials": tally.denials,
        "status": result.status,
        "run_id": result.run_id,
        "structured_output": result.output,
        "files_changed": list(result.files_changed),
        "gate": None,
        "error": tally.error,
        "exit_code": int(code),
    }


def _fresh(result: RunResult) -> int | None:
    """Input that came from no cache; scripts add the three up."""
    total = result.usage.input_total
    return None if total is None else max(0, total - result.usage.cache_read - result.usage.cache_write)


def error_object(error: BaseException, code: ExitCode) -> dict[str, Any]:
    """The same object for a command that could not start a run."""
    return {
        "type": "result",
        "subtype": "error_setup",
        "is_error": True,
        "result": None,
        "session_id": None,
        "num_turns": 0,
        "duration_ms": 0,
        "total_cost_usd": 0.0,
        "usage": None,
        "permission_denials": [],
        "status": "failed",
        "run_id": None,
        "structured_output": None,
        "files_changed": [],
        "gate": None,
        "error": reason(error),
        "exit_code": int(code),
    }


def waiting_object(session_id: str, requests: list[dict[str, Any]]) -> dict[str, Any]:
    """The same object for a run that still waits for answers (or, with none, was answered and left at that)."""
    code = ExitCode.NEEDS_PERSON if requests else ExitCode.DONE
    status = "suspended" if requests else "answered"
    nothing = error_object(SetupError("it waits for an answer"), code)
    subtype = {"subtype": "error_needs_input" if requests else "success", "is_error": bool(requests)}
    error = {"error": nothing["error"] if requests else None}
    return {**nothing, **subtype, **error, "session_id": session_id, "status": status, "open_requests": requests}


def last_lines(result: RunResult, tally: Tally, code: ExitCode, paint: Paint) -> list[str]:
    """`✓ done · 3 steps · 12 s · 8.1k tokens · $0.02 · 1 file changed`, the error if any, and what to do next."""
    good = code == ExitCode.DONE
    good_but_alone = code == ExitCode.NEEDS_PERSON and result.status in ("completed", "answered")
    parts = [
        "done as far as possible alone" if good_but_alone else _ENDED.get(code, _WORDS[result.status]),
        figures.count(result.steps, "step"),
        figures.seconds(tally.elapsed),
        figures.tokens((result.usage.input_total or 0) + (result.usage.output or 0)),
        figures.dollars(result.cost_usd),
    ]
    if result.files_changed:
        parts.append(f"{figures.count(len(result.files_changed), 'file')} changed")
    mark = paint("✓", "green") if good else paint("✗", "red")
    lines = [f"{mark} {paint(' · '.join(parts), 'dim')}"]
    if tally.error and result.status in ("failed", "budget"):
        lines.append(f"{paint('error:', 'red', 'bold')} {safe.prose(tally.error)}")
    if code in _NEXT and result.status != "suspended":  # that one is told how to answer
        lines.append(_NEXT[code])
    return lines
