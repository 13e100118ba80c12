"""Runs in a process of its own: takes orders, forks one process for each, and lets nothing of it survive.

A job is a fork of this process, which has loaded what the job's function needs: no job sees what another one changed,
and none pays for the imports. This process runs none of the user's code itself but imports, so that it can always
stop a job, and end it together with all it has started when the one who ordered is gone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path

from autopilot_runtime.confine.kernel import prctl
from autopilot_runtime.training import jobfolder, jobrun
from autopilot_runtime.training.joborder import Order, Outcome
from autopilot_runtime.training.jobscript import load_main

BEGUN, STOP, END = b"begun", b"stop", b"end"
_BESIDES = 1 << 20  # bytes that all the rest of an outcome may have
_TICK = 1.0  # how often it is looked for whether the one who orders still runs
_POLL = 0.02  # where a process cannot be waited for together with a pipe
_LOADING = 60  # seconds that imports between two jobs may take
_ROUGHLY = 0.1  # seconds by which two clocks of the system may differ
_SUBREAPER = 36


class Gone(Exception):
    """Nobody is there any more to take an outcome."""


def serve(fd: int, parent: int) -> None:
    """Take orders until there is nobody to give any."""
    host = Connection(fd)
    with contextlib.suppress(EOFError, OSError):
        path, arguments, preload = pickle.loads(host.recv_bytes())
        sys.path[:], sys.argv[:] = path, arguments
        _serve(host, parent, preload)


def _serve(host: Connection, parent: int, preload: bool) -> None:
    scratch = jobfolder.new_scratch()
    os.environ["TMPDIR"] = scratch
    if sys.platform == "linux":
        # What a job leaves running becomes a child of ours, wherever it hides, and is found and killed.
        prctl(_SUBREAPER, 1)
    try:
        while True:
            given = _receive(host, parent)
            if given == END:
                return
            if given == STOP:  # of a job that ended in the meantime
                continue
            order: Order = pickle.loads(given)
            outcome, needed = _run(order, host, parent, scratch)
            host.send_bytes(outcome)
            if preload and needed:
                _load(order, needed)
    except Gone:
        return
    finally:
        _kill_children()
        jobfolder.remove(scratch)


def _receive(host: Connection, parent: int) -> bytes:
    while not host.poll(_TICK):
        if os.getppid() != parent:
            raise Gone
    try:
        return host.recv_bytes()
    except (EOFError, OSError) as error:
        raise Gone from error


def _run(order: Order, host: Connection, parent: int, scratch: str) -> tuple[bytes, list[str]]:
    """The packed outcome of a job, and the modules its function needed that are not loaded here yet."""
    host.send_bytes(BEGUN)
    reading, writing = os.pipe()
    us = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        host.close()
        jobrun.run(order, writing, us, scratch)  # does not return
    os.close(writing)
    with contextlib.suppress(OSError):  # both sides do it: neither can know which comes first
        os.setpgid(pid, pid)
    with Connection(reading, writable=False) as job:
        watch = _Watch(order, host, parent, pid)
        try:
            return watch.outcome(job), watch.needed
        finally:
            watch.end()
            _kill_children()
            jobfolder.empty(scratch)


class _Watch:
    """One job while it runs."""

    def __init__(self, order: Order, host: Connection, parent: int, pid: int) -> None:
        self.order, self.host, self.parent, self.pid = order, host, parent, pid
        self.needed: list[str] = []
        self.until: float | None = None
        self.begun = self.reaped = False
        # An end that a pipe would not tell: something the job forked may hold the other end of it.
        self.ending: int | None = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None

    def outcome(self, job: Connection) -> bytes:
        """Wait for what the job sends, its end, its time-out, a word to stop it, or nobody being there any more."""
        watched: list[Connection | int] = [self.host, job]
        watched += [] if self.ending is None else [self.ending]
        while True:
            ready = wait(watched, self._nap())
            if job in ready:
                told = self._told(job)
                if told is not None:
                    return told
            elif self.host in ready:
                if _receive(self.host, self.parent) == STOP:
                    return _packed(Outcome("died", text=f"{self.order.label}() was stopped"))
                raise Gone
            elif ready or (self.ending is None and self._is_over()):
                return self._died()
            elif self.until is not None and time.monotonic() >= self.until:
                text = f"{self.order.label}() took longer than {self.order.timeout_s:g} s and was stopped"
                return _packed(Outcome("timeout", text=text))
            elif os.getppid() != self.parent:
                raise Gone

    def end(self) -> None:
        """Kill it with all of its group."""
        if not self.reaped:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.ending is not None:
            os.close(self.ending)

    def _nap(self) -> float:
        longest = _TICK if self.ending is not None else _POLL
        return longest if self.until is None else min(longest, max(0.0, self.until - time.monotonic()))

    def _told(self, job: Connection) -> bytes | None:
        """The outcome, or None when it was the word that comes before it: what is loaded, and that it begins."""
        try:
            data = job.recv_bytes(self.order.most + _BESIDES)
        except EOFError:
            return self._died()
        except OSError:
            return _packed(Outcome("result", text=f"{self.order.label}() sent more than it may give"))
        if self.begun or not data.startswith(jobrun.READY):
            return data
        self.begun = True
        self.needed = data[len(jobrun.READY) :].decode().split()
        if self.order.timeout_s is not None:
            self.until = time.monotonic() + self.order.timeout_s
        return None

    def _is_over(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _died(self) -> bytes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        _, status, used = os.wait4(self.pid, 0)
        self.reaped = True
        code = os.waitstatus_to_exitcode(status)
        spent = used.ru_utime + used.ru_stime
        limit = self.order.cpu_s
        if limit is not None and -code in (signal.SIGXCPU, signal.SIGKILL) and spent > limit - _ROUGHLY:
            text = f"{self.order.label}() computed for more than {limit:g} s and was stopped"
            return _packed(Outcome("cpu", text=text))
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        memory = self.order.memory_mb
        hint = "" if memory is None else f"; it may use {memory} MB of memory"
        return _packed(Outcome("died", text=f"{self.order.label}() gave no result: its process {how}{hint}"))


def _packed(outcome: Outcome) -> bytes:
    return pickle.dumps(outcome)


def _kill_children() -> None:
    """Kill and forget whatever is still below this process, until nothing is."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        except (ChildProcessError, OSError):  # nothing is left, or it cannot be asked here
            return
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(child), signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _load(order: Order, needed: list[str]) -> None:
    """Import what the next jobs will need; a job has shown that it can be.

    Should it hang all the same, this process ends. So it does when the imports began threads, which a fork would
    lose in the middle of whatever they do. Both times the next order finds nobody, and a new process without this.
    """
    signal.alarm(_LOADING)
    with contextlib.suppress(Exception):
        if order.main is not None:
            load_main(order.main)
        for name in needed:
            importlib.import_module(name)
    signal.alarm(0)
    if threading.active_count() > 1:
        raise Gone
