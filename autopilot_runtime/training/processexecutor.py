"""Runs jobs in processes of this machine: each with its own copy of the files, its own limits, and an end."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training import jobfolder, joborder
from autopilot_runtime.training.claim import Claims, settle
from autopilot_runtime.training.executor import Job
from autopilot_runtime.training.fault import EvaluationFailed
from autopilot_runtime.training.jobscript import refuse_while_loading
from autopilot_runtime.training.jobworker import JobWorker

_PATIENCE = 30.0  # seconds in which stopped jobs are cleaned up


@dataclass(frozen=True, slots=True)
class _Task:
    order: joborder.Order
    retries: int
    future: Future[Any]


class ProcessExecutor:
    """`workers` jobs at a time, each in a process that is forked from one that has loaded what its function needs.

    A job's temporary folder is its own and is gone when the job is, as are all processes it has started, also when
    this process is killed. Memory (on Linux) and processor time (whole seconds, rounded up) are limited for each
    process of a job. A result has at most `result_mb` megabytes. What a job prints goes where this program prints.

    `fresh=False`: a worker's jobs share a process until one of them is bounded, is stopped or dies; that saves some
    milliseconds a job, but each sees what those before it changed. `preload=False`: no job shares imports.
    """

    remote = True  # jobs share nothing with this process

    def __init__(
        self, workers: int | None = None, *, result_mb: int = 64, fresh: bool = True, preload: bool = True
    ) -> None:
        refuse_while_loading("ProcessExecutor")
        if sys.platform == "win32":
            raise SetupError("ProcessExecutor needs fork, which Windows has not: use LocalExecutor or RayExecutor.")
        self.workers = workers if workers is not None else usable_cores()
        if self.workers < 1:
            raise SetupError(f"ProcessExecutor(workers={workers}): at least one worker has to do the work.")
        self._most = result_mb << 20
        self._preload = preload
        self._fresh = fresh
        self._pid = os.getpid()
        self._claims = Claims("ProcessExecutor")
        self._change = threading.Condition()
        self._waiting: deque[_Task] = deque()
        self._closed = False
        self._lanes: list[threading.Thread] = []
        self._idle = 0
        self._running: dict[Future[Any], JobWorker] = {}
        jobfolder.sweep()

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.shutdown(wait=kind is None)

    def submit(self, job: Job) -> Future[Any]:
        """Begin it as soon as a worker is free."""
        if os.getpid() != self._pid:
            raise SetupError("This ProcessExecutor belongs to the process this one was forked from: make a new one.")
        jobfolder.check_folder(job.files)
        order = joborder.order(job, most=self._most)
        future, new = self._claims.claim(job.key)
        if new:
            future.add_done_callback(self._stop)
            with self._change:
                self._waiting.append(_Task(order, job.retries, future))
                if self._idle < len(self._waiting) and len(self._lanes) < self.workers:
                    lane = threading.Thread(target=self._serve, name="autopilot-job", daemon=True)
                    self._lanes.append(lane)
                    lane.start()
                self._change.notify()
        return future

    def cancel(self, future: Future[Any]) -> bool:
        """Stop it: a job that runs is killed with all it has started."""
        return future.cancel()

    def shutdown(self, *, wait: bool = True) -> None:
        """End all workers. `wait=False` cancels what is not done."""
        undone = self._claims.close()
        if not wait:
            for future in undone:
                future.cancel()
        with self._change:
            self._closed = True
            self._change.notify_all()
        for lane in self._lanes:
            lane.join(None if wait else _PATIENCE)

    def _stop(self, future: Future[Any]) -> None:
        if future.cancelled():
            with self._change:
                worker = self._running.get(future)
                if worker is not None:
                    worker.stop()

    def _serve(self) -> None:
        worker = JobWorker(preload=self._preload, fresh=self._fresh)
        try:
            while (task := self._next()) is not None:
                self._run(task, worker)
                del task  # what it holds may be large
        finally:
            worker.close()

    def _next(self) -> _Task | None:
        with self._change:
            self._idle += 1
            while not self._waiting and not self._closed:
                self._change.wait()
            self._idle -= 1
            return self._waiting.popleft() if self._waiting else None

    def _run(self, task: _Task, worker: JobWorker) -> None:
        for left in range(task.retries, -1, -1):
            with self._change:
                if task.future.done():
                    break
                self._running[task.future] = worker
            try:
                outcome = worker.run(task.order, task.future.cancelled)
            finally:
                with self._change:
                    del self._running[task.future]
            if outcome.failure is None or left == 0:
                _hand_over(outcome, task.future)
                break


def _hand_over(outcome: joborder.Outcome, future: Future[Any]) -> None:
    try:
        value = outcome.give()
    except EvaluationFailed as error:
        settle(future, error=error)
    else:
        settle(future, value)


def usable_cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
