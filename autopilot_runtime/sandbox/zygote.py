"""The host's hold on its zygote: one confined process per host process, from which workers are forked."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import SandboxUnavailable

_WORKER = Path(__file__).with_name("worker.py")
_START_SECONDS = 60.0
_REQUEST_SECONDS = 5.0
_STOP_SECONDS = 2.0


class Zygote:
    """A running zygote. `fork` is safe from any thread; it only sends a message."""

    def __init__(self) -> None:
        if not sys.executable:
            raise SandboxUnavailable("control: python needs a Python program to run workers with; here is none.")
        self.host = os.getpid()
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        folder = tempfile.mkdtemp(prefix="autopilot-worker-")
        try:
            with theirs:
                self._process = _spawn(theirs.fileno(), folder)
            self.size = self._greeting()
        except OSError as error:
            self._control.close()
            raise SandboxUnavailable(f"The control-block worker cannot be started: {error}.") from error
        except BaseException:
            self._control.close()
            raise
        finally:
            # The process keeps standing in it; nothing can be left behind.
            with contextlib.suppress(OSError):
                Path(folder).rmdir()

    def _greeting(self) -> int:
        self._control.settimeout(_START_SECONDS)
        try:
            data = self._control.recv(65_536)
            hello: dict[str, Any] = json.loads(data) if data else {"ok": False, "why": "it ended at once"}
        except (OSError, ValueError) as error:
            hello = {"ok": False, "why": f"{type(error).__name__}: {error}"}
        if not hello.get("ok"):
            self._end()
            raise SandboxUnavailable(f"The control-block worker could not confine itself: {hello.get('why')}.")
        self._control.settimeout(_REQUEST_SECONDS)
        self._eager = self._control.dup()  # the same socket, for who cannot wait
        self._eager.setblocking(False)
        return int(hello["size"])

    def fork(self, channel: socket.socket, status: socket.socket, *, wait: bool = True) -> bool:
        """Ask for a worker that talks over `channel` and is reported on `status`. Raises OSError when it is dead.

        Without `wait`: whether it could be asked at once.
        """
        if not self._lock.acquire(blocking=wait):
            return False
        try:
            asked = self._control if wait else self._eager
            socket.send_fds(asked, [b"fork"], [channel.fileno(), status.fileno()])
        except BlockingIOError:
            return False
        finally:
            self._lock.release()
        return True

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it is this process's own and still runs."""
        return self.host == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        """End it, and with it every worker. In a forked child: only let go of the copies."""
        self._eager.close()
        self._control.close()
        if self.host == os.getpid():
            self._end()
        else:
            # Not our child: nothing to wait for, and nothing to warn about either.
            self._process.returncode = 0

    def _end(self) -> None:
        try:
            self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_SECONDS)


def _spawn(control: int, folder: str) -> subprocess.Popen[bytes]:
    # As -I, but for -E: no environment is inherited, the one name given here is cleared before a block runs. By it,
    # sets of text have the same order in every worker, so that a block can be replayed. Somebody may think up texts
    # of equal hash: that costs the block that reads them its own seconds, within its limits; workers are not shared.
    command = [sys.executable, "-P", "-s", "-S", "-B", str(_WORKER), str(control), str(os.getpid())]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={"PYTHONHASHSEED": "0"},
        pass_fds=(control,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Ctrl+C in the host's terminal is the host's to handle.
        start_new_session=True,
    )


_lock = threading.Lock()
_current: Zygote | None = None


def zygote() -> Zygote:
    """This process's zygote, started now if there is none. Blocks while it starts: call it off the loop."""
    global _current
    with _lock:
        if _current is None or not _current.alive():
            if _current is not None:
                _current.close()
                _current = None
            _current = Zygote()
        return _current


def _stop() -> None:
    global _current
    with _lock:
        if _current is not None:
            _current.close()
            _current = None


def _fresh_lock() -> None:
    global _lock
    _lock = threading.Lock()


atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)
