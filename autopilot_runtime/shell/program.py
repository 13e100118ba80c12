"""Run one short program to its end: no terminal, no shell, bounded output, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autopilot_runtime.confine.wall import Launch, Wall
from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.shell import tree
from autopilot_runtime.shell.child import settle
from autopilot_runtime.shell.transcript import Transcript, View

MAX_BYTES = 1_000_000
_HELD_SECONDS = 0.5  # how long something the program started may hold its output open after its end
_REAP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """How a program ended (below zero: the signal that did it), and what it wrote.

    A longer output is cut in the middle: `truncated` says so, and the text says how much is missing. `raw` are the
    bytes of the output, for what is not text.
    """

    code: int
    out: str
    err: str
    raw: bytes = field(default=b"", repr=False)
    truncated: bool = False
    timed_out: bool = False


async def run_program(
    argv: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    marker: str,
    timeout: float = 60,
    stdin: str | bytes | None = None,
    max_bytes: int = MAX_BYTES,
    wall: Wall | None = None,
) -> ProgramResult:
    """Run it and wait. When time is over, or the wait is cancelled, it is killed with all it started."""
    heard = _Hearing(max_bytes)
    with (wall or Wall()).launch(_checked(argv, env), cwd=cwd) as launch:
        transport = await _start(heard, launch, env={**env, tree.MARKER: marker}, stdin=stdin)
    pid = transport.get_pid()
    since = tree.started(pid)
    timed_out = False
    try:
        _feed(transport, stdin)
        timed_out = not await _came(heard.ended, timeout)
        if not timed_out:
            await _came(heard.closed, _HELD_SECONDS)
    finally:
        if not heard.closed.is_set():
            _kill(pid, marker, since=since, living=not heard.ended.is_set())
            await _came(heard.closed, _REAP_SECONDS)
        transport.close()
    return _result(heard, _code(transport.get_returncode(), launch), timed_out=timed_out)


def _checked(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """The words of the command, the first one as a path. A name never means a file in the current folder."""
    if isinstance(argv, str) or not argv or not all(isinstance(word, str) and "\0" not in word for word in argv):
        raise ToolError(f"A program is given as a list of words, such as ['git', 'status'], not {str(argv)[:80]!r}.")
    name, *words = argv
    if Path(name).name != name:
        return [name, *words]
    folders = [folder for folder in env.get("PATH", "").split(os.pathsep) if Path(folder).is_absolute()]
    found = shutil.which(name, path=os.pathsep.join(folders)) if folders else None
    if found is None or not Path(found).is_absolute():
        raise ToolError(f"There is no program {name!r} on this machine (looked for in PATH).")
    return [found, *words]


class _Hearing(asyncio.SubprocessProtocol):
    """Keeps what a program writes, and knows when it has ended and when its output is closed."""

    def __init__(self, max_bytes: int) -> None:
        # Of the tail, up to twice as much is kept as is asked for.
        head, tail = max(max_bytes // 2, 1), max(max_bytes // 4, 1)
        self.outputs = {fd: Transcript(head=head, tail=tail) for fd in (1, 2)}
        self.ended = asyncio.Event()
        self.closed = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.outputs[fd].add(data)

    def process_exited(self) -> None:
        self.ended.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.closed.set()


async def _start(
    heard: _Hearing,
    launch: Launch,
    *,
    env: Mapping[str, str],
    stdin: str | bytes | None,
) -> Any:
    how: dict[str, Any] = {
        "start_new_session": True, "preexec_fn": _prepare(launch.in_child), "pass_fds": launch.pass_fds,
    }  # fmt: skip
    if sys.platform == "win32":
        how = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    channel = subprocess.DEVNULL if stdin is None else subprocess.PIPE
    try:
        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: heard, *launch.argv, stdin=channel, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=launch.cwd, env=dict(env), **how,
        )  # fmt: skip
    except NotImplementedError as error:
        raise ToolError("This event loop cannot start programs; on Windows, use the proactor loop.") from error
    except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
        raise ToolError(f"{launch.argv[0]} could not be started in {launch.cwd}: {error}") from error
    return transport


def _prepare(in_child: Callable[[], None] | None) -> Callable[[], None]:
    parent = os.getpid()
    return lambda: settle(parent, in_child)


def _feed(transport: Any, stdin: str | bytes | None) -> None:
    """Write the whole input and end it; a program that does not read it just leaves it."""
    if stdin is None:
        return
    pipe = transport.get_pipe_transport(0)
    pipe.write(stdin.encode("utf-8", "surrogateescape") if isinstance(stdin, str) else stdin)
    pipe.close()


async def _came(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


def _kill(pid: int, marker: str, *, since: int, living: bool) -> None:
    # A program that has ended was reaped: its number may come to mean a stranger. Its children carry the marker.
    if sys.platform != "win32":
        tree.kill_tree(marker, [pid] if living else [], since=since)
    elif living:
        subprocess.run(["taskkill", "/PID", str(pid), "/T", "/F"], capture_output=True, check=False)


def _code(code: int | None, launch: Launch) -> int:
    """The exit code; below zero the signal, also where another program has passed it on."""
    if code is None:
        return -9
    return 128 - code if launch.relayed and code > 128 else code


def _result(heard: _Hearing, code: int, *, timed_out: bool) -> ProgramResult:
    out, err = heard.outputs[1].full(), heard.outputs[2].full()
    return ProgramResult(
        code=code,
        out=_text(out),
        err=_text(err),
        raw=out.head + out.tail,
        truncated=out.dropped > 0 or err.dropped > 0,
        timed_out=timed_out,
    )


def _text(view: View) -> str:
    if not view.dropped:
        return (view.head + view.tail).decode("utf-8", "replace")
    gap = f"\n[... {view.dropped:,} bytes left out ...]\n"
    return view.head.decode("utf-8", "replace") + gap + view.tail.decode("utf-8", "replace")
