"""Runs in a process of its own: takes orders, has each done in a fresh fork, and lets nothing of it survive.

A job is a fork of this process, which has loaded what the job's function needs: no job sees what another one changed,
and none pays for the imports. This process runs none of the user's code itself but imports, so that it can always
stop a job, and end it together with all it has started when the one who ordered is gone.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import select
import signal
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from autopilot_runtime.confine.kernel import prctl
from autopilot_runtime.core.process import started
from autopilot_runtime.training import jobfolder, jobrun
from autopilot_runtime.training.joborder import Order, Outcome
from autopilot_runtime.training.jobscript import load_main

BEGUN, STOP, END = b"begun", b"stop", b"end"
_BESIDES = 1 << 20  # bytes that all the rest of an outcome may have
_TICK = 1.0  # how often it is looked for whether the one who orders still runs
_POLL = 0.02  # where a process cannot be waited for together with a pipe
_LOADING = 60  # seconds that imports between two jobs may take
_SUBREAPER = 36


class Gone(Exception):
    """Nobody is there any more to take an outcome."""


class Fork:
    """A process that waits for a job: its only one, unless jobs may share it."""

    def __init__(self, scratch: str, not_its: list[Connection]) -> None:
        orders, self._to = os.pipe()
        self._from, results = os.pipe()
        us = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._to)
            os.close(self._from)
            for connection in not_its:
                connection.close()
            jobrun.run(orders, results, us, scratch)  # does not return
        os.close(orders)
        os.close(results)
        self.orders, self.results = Connection(self._to, readable=False), Connection(self._from, writable=False)
        self.status: int | None = None
        self.seconds = 0.0  # that it computed
        # An end that a pipe would not tell: something the job forked may hold the other end of it.
        self.ending: int | None = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else None
        with contextlib.suppress(OSError):  # both sides do it: neither can know which comes first
            os.setpgid(self.pid, self.pid)

    def is_over(self) -> bool:
        """Whether it has ended, where that must be asked."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self) -> None:
        """Kill it with all of its group."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            _kill(self.pid)
            _, self.status, used = os.wait4(self.pid, 0)
            self.seconds = used.ru_utime + used.ru_stime
            self.orders.close()
            self.results.close()
            if self.ending is not None:
                os.close(self.ending)


class JobHost:
    """Takes orders from one line until there is nobody to give any."""

    def __init__(self, line: Connection, parent: int, *, preload: bool, fresh: bool) -> None:
        self._line = line
        self._parent, self._parent_began = parent, started(parent)
        self._preload = preload
        self._fresh = fresh
        self._scratch = jobfolder.new_scratch()
        self._spare: Fork | None = None  # made while a job runs, so that the next one need not wait for it

    def serve(self) -> None:
        """Until the end."""
        os.environ["TMPDIR"] = tempfile.tempdir = self._scratch  # for what jobs start, and for themselves
        if sys.platform == "linux":
            # What a job leaves running becomes a child of ours, wherever it hides, and is found and killed.
            prctl(_SUBREAPER, 1)
        try:
            while (given := self.receive()) != END:
                if given != STOP:  # a word for a job that had ended already
                    self._run(pickle.loads(given), given)
        except Gone:
            pass
        finally:
            self._drop_spare()
            self._kill_children()
            jobfolder.remove(self._scratch)

    def receive(self) -> bytes:
        """What is said next; raises `Gone`."""
        while not self._line.poll(_TICK):
            self.look()
        try:
            return self._line.recv_bytes()
        except (EOFError, OSError) as error:
            raise Gone from error

    def look(self) -> None:
        """Raises `Gone` when the one who orders was killed; a fork of it may hold the line open."""
        if started(self._parent) != self._parent_began:
            raise Gone

    def _run(self, order: Order, packed: bytes) -> None:
        fork = self._give(packed)
        watch = _Watch(order, fork, self)
        try:
            self._line.send_bytes(BEGUN)
            self._line.send_bytes(watch.outcome(self._line))
        finally:
            if self._fresh or not watch.unharmed:
                fork.end()
            else:
                self._spare = fork
            self._kill_children()
            jobfolder.empty(self._scratch)
        if self._preload and watch.needed:
            self._drop_spare()
            _load(order, watch.needed)

    def prepare(self, busy: Fork) -> None:
        """Make the process of the next job while that one works."""
        if self._spare is None and self._fresh:
            self._spare = Fork(self._scratch, [self._line, busy.orders, busy.results])

    def _give(self, packed: bytes) -> Fork:
        fork, self._spare = self._spare, None
        if fork is not None:
            try:
                fork.orders.send_bytes(packed)
                return fork
            except OSError:  # somebody killed it while it waited
                fork.end()
        fork = Fork(self._scratch, [self._line])
        with contextlib.suppress(OSError):  # its end will be noticed
            fork.orders.send_bytes(packed)
        return fork

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._spare.end()
            self._spare = None

    def _kill_children(self) -> None:
        """Kill and forget whatever is still below this process, until nothing is but the spare one."""
        spare = 0 if self._spare is None else self._spare.pid
        _kill_ours(spare)
        if spare and not self._fresh:
            # Theirs are for it to take note of, which it may never do: it is enough that they run no more. What those
            # had started is ours by then.
            while theirs := [child for child in _children(spare) if started(child) is not None]:
                for child in theirs:
                    _kill(child)
                _kill_ours(spare)


class _Watch:
    """One job while it runs."""

    def __init__(self, order: Order, fork: Fork, host: JobHost) -> None:
        self.order, self.fork, self.host = order, fork, host
        self.needed: list[str] = []
        self.until: float | None = None
        self.begun = False
        self.unharmed = False  # it may do another job

    def outcome(self, line: Connection) -> bytes:
        """Wait for what the job sends, its end, its time-out, a word to stop it, or nobody being there any more."""
        results, said = self.fork.results.fileno(), line.fileno()
        poll = select.poll()
        for fd in (results, said, self.fork.ending):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        told = None
        while told is None:
            ready = {fd for fd, _ in poll.poll(self._nap() * 1000)}
            told = self._told() if results in ready else self._seen(said in ready, bool(ready))
        return told

    def _seen(self, is_spoken_to: bool, is_over: bool) -> bytes | None:
        """The outcome where the job has not told one; None: it goes on."""
        if is_spoken_to:
            if self.host.receive() != STOP:
                raise Gone
            return _packed(Outcome("died", text=f"{self.order.label}() was stopped"))
        if is_over or (self.fork.ending is None and self.fork.is_over()):
            return self._died()
        if self.until is not None and time.monotonic() >= self.until:
            text = f"{self.order.label}() took longer than {self.order.timeout_s:g} s and was stopped"
            return _packed(Outcome("timeout", text=text))
        self.host.look()
        return None

    def _nap(self) -> float:
        longest = _TICK if self.fork.ending is not None else _POLL
        return longest if self.until is None else min(longest, max(0.0, self.until - time.monotonic()))

    def _told(self) -> bytes | None:
        """The outcome, or None when it was the word that comes before it: what is loaded, and that it begins."""
        try:
            data = self.fork.results.recv_bytes(self.order.most + _BESIDES)
        except EOFError:
            return self._died()
        except OSError:
            return _packed(Outcome("result", text=f"{self.order.label}() sent more than it may give"))
        if self.begun or not data.startswith(jobrun.READY):
            self.unharmed = self.begun and self.order.memory_mb is None and self.order.cpu_s is None
            return data
        self.begun = True
        self.needed = data[len(jobrun.READY) :].decode().split()
        if self.order.timeout_s is not None:
            self.until = time.monotonic() + self.order.timeout_s
        if not self.needed:
            self.host.prepare(self.fork)
        return None

    def _died(self) -> bytes:
        self.fork.end()
        code = os.waitstatus_to_exitcode(self.fork.status or 0)
        limit = self.order.cpu_s
        if limit is not None and -code in (signal.SIGXCPU, signal.SIGKILL) and self.fork.seconds > limit / 2:
            text = f"{self.order.label}() computed for more than {limit:g} s and was stopped"
            return _packed(Outcome("cpu", text=text))
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        memory = self.order.memory_mb
        hint = "" if memory is None else f"; it may use {memory} MB of memory"
        return _packed(Outcome("died", text=f"{self.order.label}() gave no result: its process {how}{hint}"))


def serve(fd: int, parent: int, detached: bool) -> None:
    """The whole life of the process. `detached`: not as a child of the one who orders."""
    if detached and os.fork():
        os._exit(0)
    line = Connection(fd)
    with contextlib.suppress(EOFError, OSError):
        path, arguments, preload, fresh = pickle.loads(line.recv_bytes())
        sys.path[:], sys.argv[:] = path, arguments
        gc.freeze()  # what is here stays, and need not be copied because a job's collector looks at it
        JobHost(line, parent, preload=preload, fresh=fresh).serve()


def _kill_ours(spare: int) -> None:
    while ours := _children(os.getpid(), but=spare):
        for child in ours:
            _kill(child)
            os.waitpid(child, 0)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _children(pid: int, *, but: int = 0) -> list[int]:
    """The processes of a process, where the system tells."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for listing in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in listing.read_text().split()]
    return [child for child in found if child != but]


def _packed(outcome: Outcome) -> bytes:
    return pickle.dumps(outcome)


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
    gc.freeze()
    if threading.active_count() > 1:
        raise Gone
