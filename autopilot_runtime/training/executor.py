"""Where evaluations run: the seam that threads, processes and a cluster stand behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work: a function (one that can be pickled, where it crosses a process) and what it may use.

    `key` names the work: a job that is submitted again under the key of one that runs or is done gives that one;
    one that failed or was cancelled is run again. `files` is a folder to be copied for this job alone; `work` then
    gets the copy's path as `worktree=`. `timeout_s` counts from when the work begins. One that fails is begun anew
    `retries` times. `work` may be a coroutine function.
    """

    work: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    files: str | None = None
    timeout_s: float | None = None
    memory_mb: int | None = None
    cpu_s: float | None = None
    retries: int = 0


@runtime_checkable
class Executor(Protocol):
    """Runs jobs. A job that raises, is too slow or dies gives `EvaluationFailed` from its future, and no other job
    is the worse for it. What cannot be run at all (no such folder, a limit that cannot be kept here, a function that
    cannot cross) is a `SetupError` from `submit`. One whose jobs share nothing with this process has `remote = True`.
    """

    workers: int

    def submit(self, job: Job) -> Future[Any]: ...

    def cancel(self, future: Future[Any]) -> bool:
        """Stop it, also when it runs, where that can be done; False when it is done already.

        `future.cancel()`, also of an `asyncio.wrap_future`, does the same.
        """
        ...

    def shutdown(self, *, wait: bool = True) -> None:
        """Leave no process and no folder behind. `wait`: not before all that was submitted is done."""
        ...
