"""Runs jobs in this process: coroutine functions on a loop of its own, all others on threads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import tempfile
import traceback
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from types import TracebackType
from typing import Any

from autopilot_runtime.core.bridge import Bridge, Contained, contained, in_thread
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training import jobfolder
from autopilot_runtime.training.claim import Claims, settle
from autopilot_runtime.training.executor import Job
from autopilot_runtime.training.fault import EvaluationFailed, Failure
from autopilot_runtime.training.joborder import label, raised


class LocalExecutor:
    """`workers` jobs at a time, for work that mostly waits: models, servers, other programs.

    Nothing has to be pickled, and everything is shared. A coroutine that is too slow is cancelled; a thread cannot be
    stopped: it is left behind, its result is ignored, and its place is free for the next job. There are no limits on
    memory and processor time here.
    """

    def __init__(self, workers: int = 8) -> None:
        if workers < 1:
            raise SetupError(f"LocalExecutor(workers={workers}): at least one worker has to do the work.")
        self.workers = workers
        self._claims = Claims("LocalExecutor")
        self._free = asyncio.Semaphore(workers)
        self._bridge: Bridge | None = None
        self._scratch: str | None = None
        self._tasks: dict[Future[Any], asyncio.Task[None]] = {}

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.shutdown(wait=kind is None)

    def submit(self, job: Job) -> Future[Any]:
        """Begin it as soon as one of `workers` is free."""
        if job.memory_mb is not None or job.cpu_s is not None:
            raise SetupError(
                f"Job({label(job.work)}): memory_mb and cpu_s cannot be kept by a LocalExecutor, whose jobs share a "
                "process. Use ProcessExecutor."
            )
        jobfolder.check_folder(job.files)
        future, new = self._claims.claim(job.key)
        if new:
            if self._bridge is None:
                self._bridge = Bridge()
            future.add_done_callback(self._stop)
            # The work sees the context variables of whoever submits it.
            context = contextvars.copy_context()
            self._bridge.loop.call_soon_threadsafe(self._start, job, future, context)
        return future

    def cancel(self, future: Future[Any]) -> bool:
        """Stop it: a coroutine is cancelled, a thread left behind."""
        return future.cancel()

    def shutdown(self, *, wait: bool = True) -> None:
        """End the loop and remove all copies. `wait=False` cancels what is not done."""
        undone = self._claims.close()
        if wait:
            wait_for(undone)
        for future in undone:
            future.cancel()
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            bridge.close()
        if self._scratch is not None:
            jobfolder.remove(self._scratch)

    def _stop(self, future: Future[Any]) -> None:
        bridge = self._bridge
        if future.cancelled() and bridge is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: there is nothing left to stop
                bridge.loop.call_soon_threadsafe(self._drop, future)

    # All below runs on the loop.

    def _drop(self, future: Future[Any]) -> None:
        if future in self._tasks:
            self._tasks[future].cancel()

    def _start(self, job: Job, future: Future[Any], context: contextvars.Context) -> None:
        if not future.done():
            self._tasks[future] = asyncio.get_running_loop().create_task(self._run(job, future), context=context)

    async def _run(self, job: Job, future: Future[Any]) -> None:
        try:
            async with self._free:
                for left in range(job.retries, -1, -1):
                    try:
                        value = await self._attempt(job)
                    except EvaluationFailed as error:
                        if left == 0:
                            settle(future, error=error)
                    else:
                        settle(future, value)
                        return
        finally:
            del self._tasks[future]
            future.cancel()  # only where nothing was put: the loop is being closed

    async def _attempt(self, job: Job) -> Any:
        kwargs, folder = dict(job.kwargs), None
        if job.files is not None:
            folder = await in_thread(self._folder)
            kwargs["worktree"] = f"{folder}/worktree"
            await in_thread(jobfolder.copy_folder, job.files, kwargs["worktree"])
        try:
            async with asyncio.timeout(job.timeout_s) as limit:
                return await _work(job, kwargs)
        except Exception as error:
            if limit.expired():
                text = f"{label(job.work)}() took longer than {job.timeout_s:g} s and was left behind"
                raise EvaluationFailed(text, kind="timeout") from error
            cause = error.inner if isinstance(error, Contained) else error
            raise _failed(job, cause) from cause
        finally:
            if folder is not None:
                await in_thread(jobfolder.remove, folder)

    def _folder(self) -> str:
        if self._scratch is None:
            jobfolder.sweep()
            self._scratch = jobfolder.new_scratch()
        return tempfile.mkdtemp(dir=self._scratch)


async def _work(job: Job, kwargs: dict[str, Any]) -> Any:
    if inspect.iscoroutinefunction(job.work):
        return await contained(job.work(*job.args, **kwargs))
    value = await in_thread(job.work, *job.args, **kwargs)
    return await contained(value) if inspect.isawaitable(value) else value


def _failed(job: Job, error: BaseException) -> EvaluationFailed:
    trace = "".join(traceback.format_exception(error))
    kind: Failure = "memory" if isinstance(error, MemoryError) else "raised"
    return EvaluationFailed(raised(label(job.work), error), kind=kind, trace=trace)
