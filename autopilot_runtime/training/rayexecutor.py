"""Runs jobs on the machines of a Ray cluster: there each one is done as `ProcessExecutor` does it here."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import queue
import signal
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from autopilot_runtime.core.errors import MissingExtra, SetupError
from autopilot_runtime.training import jobfolder, joborder
from autopilot_runtime.training.claim import Claims, settle
from autopilot_runtime.training.executor import Job
from autopilot_runtime.training.fault import EvaluationFailed
from autopilot_runtime.training.joborder import Order, Outcome
from autopilot_runtime.training.jobscript import refuse_while_loading
from autopilot_runtime.training.jobworker import JobWorker

_FOLDERS = 8  # that are kept in the cluster for the next jobs
_KNOCKING = 5.0  # seconds in which a cluster has to answer
_PATIENCE = 30.0  # seconds in which stopped jobs are cleaned up


@dataclass(slots=True)
class _Task:
    order: Order
    folder: Any  # a packed folder in the cluster, or None
    left: int  # tries after this one
    future: Future[Any]
    ref: Any = None


class RayExecutor:
    """`workers` jobs at a time (as many as the cluster has processors for), each with `cpus` of them, on any node.

    `address`: of a running cluster. Without one it is the cluster this program is connected to already, or that of
    `RAY_ADDRESS`, or a new one on this machine, which ends with this executor. Every node needs this package and what
    the jobs import; functions of a script, lambdas, closures and folders are sent along. A job whose node is lost is
    begun anew on another, up to `lost` times: its function may thus run twice, but it has one result. Limits, copies
    and cleaning up are those of `ProcessExecutor`. What a job prints is in the logs of its node. `init` is for
    `ray.init`.
    """

    remote = True  # jobs share nothing with this process

    def __init__(
        self,
        address: str | None = None,
        *,
        workers: int | None = None,
        cpus: float = 1.0,
        lost: int = 3,
        result_mb: int = 64,
        **init: Any,
    ) -> None:
        refuse_while_loading("RayExecutor")
        if workers is not None and workers < 1:
            raise SetupError(f"RayExecutor(workers={workers}): at least one worker has to do the work.")
        self._ray, self._ours = _connect(address, None if workers is None else math.ceil(workers * cpus), init)
        self.workers = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1) / cpus))
        self._most = result_mb << 20
        self._remote = self._ray.remote(run_order).options(
            num_cpus=cpus, max_retries=lost, retry_exceptions=False, scheduling_strategy="SPREAD"
        )
        self._claims = Claims("RayExecutor")
        self._folders: OrderedDict[bytes, Any] = OrderedDict()
        self._folding = threading.Lock()
        self._waiting: deque[_Task] = deque()
        self._running: dict[Future[Any], _Task] = {}
        # One thread does all that changes the two above: what it is to do comes here.
        self._todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="autopilot-ray", daemon=True)
        self._thread.start()

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.shutdown(wait=kind is None)

    def submit(self, job: Job) -> Future[Any]:
        """Begin it as soon as one of `workers` is free."""
        jobfolder.check_folder(job.files)
        order = joborder.order(job, most=self._most, work=self._pack(job))
        folder = None if job.files is None else self._folder(job.files)
        future, new = self._claims.claim(job.key)
        if new:
            task = _Task(replace(order, files=None), folder, job.retries, future)
            future.add_done_callback(self._stop)
            self._todo.put(functools.partial(self._waiting.append, task))
        return future

    def cancel(self, future: Future[Any]) -> bool:
        """Stop it: a job that runs is killed with all it has started, on whatever node."""
        return future.cancel()

    def shutdown(self, *, wait: bool = True) -> None:
        """Stop what was begun here, and leave the cluster. `wait=False` cancels what is not done."""
        undone = self._claims.close()
        if wait:
            wait_for(undone)
        for future in undone:
            future.cancel()
        if self._thread.is_alive():
            self._todo.put(None)
            self._thread.join(_PATIENCE)
            self._folders.clear()
            if self._ours:
                self._ray.shutdown()

    def _pack(self, job: Job) -> bytes:
        with contextlib.suppress(SetupError):
            packed = joborder.pack(job)
            if not joborder.needs_script(packed):
                return packed
        return joborder.pack(job, dumps=self._ray.cloudpickle.dumps)

    def _folder(self, files: str) -> Any:
        """The folder in the cluster; what has not changed is sent once."""
        with self._folding:
            known = hashlib.sha256(repr(jobfolder.fingerprint(files)).encode("utf-8", "surrogateescape")).digest()
            if known not in self._folders:
                self._folders[known] = self._ray.put(jobfolder.pack_folder(files))
                if len(self._folders) > _FOLDERS:
                    self._folders.popitem(last=False)
            self._folders.move_to_end(known)
            return self._folders[known]

    def _stop(self, future: Future[Any]) -> None:
        if future.cancelled():
            self._todo.put(functools.partial(self._kill, future))

    # All below runs on the one thread.

    def _serve(self) -> None:
        ending = False
        while not ending or self._running:
            do = self._todo.get()
            if do is None:
                ending = True
            else:
                do()
            while self._waiting and len(self._running) < self.workers:
                self._begin(self._waiting.popleft())

    def _begin(self, task: _Task) -> None:
        if task.future.done():
            return
        self._running[task.future] = task
        task.ref = self._remote.remote(task.order, task.folder)
        task.ref.future().add_done_callback(lambda found: self._todo.put(lambda: self._arrived(task, found)))

    def _kill(self, future: Future[Any]) -> None:
        task = self._running.get(future)
        if task is not None:
            self._ray.cancel(task.ref, force=True)

    def _arrived(self, task: _Task, found: Future[Outcome]) -> None:
        del self._running[task.future]
        try:
            value = _outcome(task, found).give()
        except EvaluationFailed as error:
            if task.left > 0 and not task.future.done():
                task.left -= 1
                self._waiting.appendleft(task)
            else:
                settle(task.future, error=error)
        else:
            settle(task.future, value)


def run_order(order: Order, folder: bytes | None) -> Outcome:
    """Runs on a node, in a process of Ray, which lends itself to one job after the other."""
    worker = _worker()
    try:
        return worker.run(order if folder is None else replace(order, files=folder))
    except BaseException:  # it is being stopped
        worker.close()
        raise


@functools.cache
def _worker() -> JobWorker:
    return JobWorker(detached=True)


def _outcome(task: _Task, found: Future[Outcome]) -> Outcome:
    error = found.exception()
    if error is None:
        return found.result()
    first = str(error).strip().partition("\n")[0]
    why = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return Outcome("died", text=f"{task.order.label}() gave no result: its node or worker was lost ({why})")


def _connect(address: str | None, processors: int | None, init: dict[str, Any]) -> tuple[Any, bool]:
    """Ray, and whether it was us who connected this program to a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is loaded: nothing is told to anybody
    try:
        import ray  # an extra, and a large one
    except ImportError:
        raise MissingExtra("RayExecutor", "Ray", "ray") from None
    if ray.is_initialized():
        if address is not None:
            raise SetupError(
                f"RayExecutor(address={address!r}): this program is connected to a Ray cluster already. Leave "
                "`address` out to use that one, or call ray.shutdown() first."
            )
        return ray, False
    where = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if where == "local":
        options |= {"include_dashboard": False, "num_cpus": processors, "_node_ip_address": "127.0.0.1"}
    _knock(where)
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=where, **(options | init))
    except Exception as error:
        raise SetupError(f"RayExecutor cannot use the Ray cluster {where!r}: {error}") from error
    finally:
        # Ray puts its own there, which ends the program at once.
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)
    return ray, True


def _knock(where: str) -> None:
    """Refuse an address where nobody listens: Ray would go on trying for minutes, and then end the program."""
    host, _, port = where.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCKING).close()
    except OSError as error:
        raise SetupError(
            f"RayExecutor(address={where!r}): there is no Ray cluster ({error}). `ray start --head` begins one and "
            "says its address."
        ) from error
