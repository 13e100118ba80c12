"""A tiny process that outlives a killed host just long enough to end its shells and remove their folders."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence

from autopilot_runtime.shell.tree import MARKER

# Reads `+ pid` and `- pid` (sessions that begin and end) until the host's end of the pipe closes, however the host
# ended; then kills those sessions, and whatever carries the marker or is in a control group of the pool, and removes
# the folders. $1: marker, then folders and control groups.
_SCRIPT = """
trap '' HUP INT TERM QUIT
sessions=' '
while read -r sign pid; do
  case $sign in
    +) sessions="$sessions$pid " ;;
    -) sessions="${sessions%% $pid *} ${sessions#* $pid }" ;;
  esac
done
marker=$1; shift
session_of() {
  read -r line <"$1" || return
  set -- ${line##*) }
  [ "$1" = Z ] || session=$4
}
for round in 1 2 3 4 5; do
  found=
  for file in /proc/[0-9]*/stat; do
    pid=${file#/proc/}; pid=${pid%/stat}
    session=none; session_of "$file"
    case $sessions in *" $session "*) kill -9 "$pid" && found=1 ;; esac
  done
  for folder; do
    case $folder in /sys/*) ;; *) continue ;; esac
    [ -r "$folder/cgroup.procs" ] || continue
    while read -r pid; do kill -9 "$pid" && found=1; done <"$folder/cgroup.procs"
  done
  for file in $(grep -lzs "^$marker" /proc/[0-9]*/environ); do
    pid=${file#/proc/}; pid=${pid%/environ}
    kill -9 "$pid" && found=1
  done
  [ "$found" ] || break
done
for folder; do
  case $folder in /sys/*) rmdir -- "$folder" ;; *) rm -rf -- "$folder" ;; esac
done
"""
_REAP_SECONDS = 3.0
_SYSTEM = "/bin:/usr/bin:/run/current-system/sw/bin"


class Guard:
    """Watches this process. `close` (or our death) makes it sweep what still carries the pool's marker."""

    def __init__(self, pool_id: str, folders: Sequence[str]) -> None:
        self.pid: int | None = None
        self._pipe: int | None = None
        shell = shutil.which("sh", path=_SYSTEM)  # never one that an agent has put on PATH
        if shell is None or not sys.platform.startswith("linux"):
            return  # elsewhere closing the terminals hangs them up; there is no /proc to sweep
        reader, writer = os.pipe()
        try:
            self.pid = os.posix_spawn(
                shell,
                ["sh", "-c", _SCRIPT, "autopilot-guard", f"{MARKER}={pool_id}/", *folders],
                {"PATH": "/usr/local/bin:/usr/bin:/bin"},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, reader, 0),
                ],
                setsid=True,
            )
            self._pipe = writer
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)

    def watch(self, session: int) -> None:
        """A session that is to end with this process."""
        self._tell(f"+ {session}\n")

    def forget(self, session: int) -> None:
        """That session has ended; its number may come to mean another."""
        self._tell(f"- {session}\n")

    def _tell(self, line: str) -> None:
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # somebody ended the guard; the shells work without it
                os.write(self._pipe, line.encode())

    def release(self) -> None:
        """Let it sweep, without waiting. Safe to call twice."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            os.close(pipe)

    def abandon(self, afterwards: Callable[[], None]) -> None:
        """What is left to do when nobody closed the pool: let it sweep, and tidy up where that holds up nobody."""
        self.release()

        def tidy() -> None:
            self.close()
            afterwards()

        with contextlib.suppress(RuntimeError):  # no new threads: the interpreter ends, and the kernel reaps
            threading.Thread(target=tidy, name="autopilot-reaper", daemon=True).start()

    def close(self) -> None:
        """Let it sweep, and reap it. Blocks for some milliseconds: call it on a thread."""
        self.release()
        pid, self.pid = self.pid, None
        if pid is None:
            return
        deadline = time.monotonic() + _REAP_SECONDS
        with contextlib.suppress(ChildProcessError):  # the host ignores SIGCHLD: the kernel reaped it
            while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
                time.sleep(0.005)
