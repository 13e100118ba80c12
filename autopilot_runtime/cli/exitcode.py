"""What the command's exit code says. These numbers are frozen: scripts and CI depend on them."""

from __future__ import annotations

from enum import IntEnum

from autopilot_runtime.core.errors import AutopilotError, MissingKey, ProviderError, SetupError
from autopilot_runtime.core.protocols import RunResult


class ExitCode(IntEnum):
    """How a command ended, for the program that called it."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REJECTED = 3
    MAX_STEPS = 4
    BUDGET = 5
    NEEDS_PERSON = 6
    PROVIDER = 7
    TIMEOUT = 124
    INTERRUPTED = 130
    TERMINATED = 143


MEANING = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "the run failed",
    ExitCode.USAGE: "wrong usage, or a fault in the agent file",
    ExitCode.REJECTED: "rejected by a gate or a policy",
    ExitCode.MAX_STEPS: "the step limit was reached",
    ExitCode.BUDGET: "the budget (dollars or tokens) is spent",
    ExitCode.NEEDS_PERSON: "a permission or an answer was needed, and nobody was there",
    ExitCode.PROVIDER: "the model could not be reached, or refused the key",
    ExitCode.TIMEOUT: "the time limit was reached",
    ExitCode.INTERRUPTED: "stopped by Ctrl+C",
    ExitCode.TERMINATED: "stopped by SIGTERM",
}


def of_error(error: BaseException | None) -> ExitCode:
    """The code for an error that ended a command."""
    if isinstance(error, MissingKey):
        return ExitCode.PROVIDER
    if isinstance(error, SetupError):
        return ExitCode.USAGE
    if isinstance(error, ProviderError):
        return ExitCode.BUDGET if error.kind == "budget" else ExitCode.PROVIDER
    return ExitCode.FAILED


def of_result(result: RunResult, *, unanswered: int = 0, stopped_by: int | None = None) -> ExitCode:
    """The code for a run. `unanswered` counts requests that found nobody, `stopped_by` is the signal, if any."""
    if result.status == "aborted":
        return ExitCode(128 + stopped_by) if stopped_by in (2, 15) else ExitCode.FAILED
    if result.status == "suspended":
        return ExitCode.NEEDS_PERSON
    if result.status == "max_steps":
        return ExitCode.MAX_STEPS
    if result.status == "budget":
        return ExitCode.TIMEOUT if getattr(result.error, "what", "") == "timeout_s" else ExitCode.BUDGET
    if result.status == "failed":
        return of_error(result.error)
    return ExitCode.NEEDS_PERSON if unanswered else ExitCode.DONE


def reason(error: BaseException) -> str:
    """What to print for an error: ours are written for people; a foreign one shows its type, too."""
    text = str(error) or "no details"
    return text if isinstance(error, AutopilotError) else f"{type(error).__name__}: {text}"
