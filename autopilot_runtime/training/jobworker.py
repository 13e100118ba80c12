"""The near end of a process that runs jobs: starts it, hands it one order at a time, starts it anew when it died."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from autopilot_runtime.training.joborder import Order, Outcome

_CODE = """\
import sys
sys.path.insert(0, sys.argv[1])
from autopilot_runtime.training.jobhost import serve
serve(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "detached")
"""
_HOME = str(Path(__file__).resolve().parents[2])
_BEGUN, _STOP, _END = b"begun", b"stop", b"end"
_STARTS = 3  # that a process may fail to begin with a job before it is said that there is none to be had
_PATIENCE = 10.0  # seconds to clean up in


class JobWorker:
    """Runs one job at a time in a process of its own. Only `stop` may be called from other threads.

    `detached`: for a host that kills its children when it ends, and so would not let ours clean up.
    """

    def __init__(self, *, preload: bool = True, fresh: bool = True, detached: bool = False) -> None:
        self._preload = preload
        self._fresh = fresh
        self._detached = detached
        self._lock = threading.Lock()  # two threads may want to say something
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None

    def run(self, order: Order, unwanted: Callable[[], bool] = bool) -> Outcome:
        """Wait until it is done, failed, or stopped. `unwanted`: whether it was to be stopped before it was sent."""
        packed = pickle.dumps(order)
        code: int | None = None
        for _ in range(_STARTS):
            line = self._ready()
            begun = False
            try:
                self._send(packed)
                if unwanted():
                    self.stop()
                begun = line.recv_bytes() == _BEGUN
                return _outcome(line.recv_bytes(), order)
            except (EOFError, OSError):
                code = self.close()
                if begun:
                    return Outcome("died", text=f"{order.label}() gave no result: the process that watched it ended")
                # It ended between two jobs: what it loaded for this one may have been the reason.
                self._preload = False
        text = f"{order.label}() was not begun: {sys.executable} cannot run jobs here (it ended with code {code})"
        return Outcome("died", text=text)

    def stop(self) -> None:
        """End the job that runs; one that has ended already is none the worse."""
        with contextlib.suppress(OSError):
            self._send(_STOP)

    def close(self) -> int | None:
        """End the process and all it has started; it cleans up after itself."""
        with self._lock:
            line, process = self._line, self._process
            self._line = self._process = None
        if line is not None:
            with contextlib.suppress(OSError):
                line.send_bytes(_END)
                line.poll(_PATIENCE)  # it lets go of its end when all is clean
            line.close()
        if process is None:
            return None
        try:
            return process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _send(self, data: bytes) -> None:
        with self._lock:
            if self._line is not None:
                self._line.send_bytes(data)

    def _ready(self) -> Connection:
        if self._line is not None:
            return self._line
        near, far = socket.socketpair()
        kind = "detached" if self._detached else "child"
        with far:
            # A session of its own: a Ctrl+C at the keyboard is for us, and we decide what becomes of the jobs.
            process = subprocess.Popen(
                [sys.executable, "-c", _CODE, _HOME, str(far.fileno()), str(os.getpid()), kind],
                stdin=subprocess.DEVNULL,
                pass_fds=[far.fileno()],
                start_new_session=True,
            )
        line = Connection(near.detach())
        with contextlib.suppress(OSError):  # it has ended at once: found out by whoever sends the order
            line.send_bytes(pickle.dumps((sys.path, sys.argv, self._preload, self._fresh)))
        with self._lock:
            self._line, self._process = line, process
        return line


def _outcome(data: bytes, order: Order) -> Outcome:
    """A job that writes where it should not must not look like one that has ended well."""
    try:
        outcome = pickle.loads(data)
    except Exception as error:
        return Outcome("result", text=f"{order.label}() sent what is no outcome: {error}")
    if not isinstance(outcome, Outcome):
        return Outcome("result", text=f"{order.label}() sent what is no outcome")
    return outcome
