"""The host's end of one worker: frames in and out, its death certificate, and the means to kill it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import weakref
from typing import Any

from autopilot_runtime.confine.limits import set_memory
from autopilot_runtime.core.bridge import in_thread
from autopilot_runtime.core.errors import SandboxUnavailable
from autopilot_runtime.sandbox import wire
from autopilot_runtime.sandbox.zygote import zygote

_BIG_FRAME = 256 * 1024
_REPORT_SECONDS = 5.0
_FORK_SECONDS = 20.0  # for the first report; a zygote that died is noticed at once, so this is for a busy machine
_AT_ONCE = 8  # workers that one loop waits for: of hundreds asked for in one instant, the last would seem dead
# What is on its way at most; a large value then takes few turns between the two processes.
_CHUNK = 256 * 1024


class WorkerGone(Exception):
    """The worker ended; `code` is its exit code, negative for a signal, None when nobody knows."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Worker:
    """A forked worker. Belongs to no loop: each wait uses the loop it is awaited on."""

    def __init__(self, sock: socket.socket, status: socket.socket, *, pid: int, pidfd: int, size: int) -> None:
        self.pid = pid
        self.host = os.getpid()
        self._sock, self._status, self._pidfd, self._size = sock, status, pidfd, size
        self._buffer = bytearray()
        self._memory = 0
        self._letting_go = weakref.finalize(self, _let_go, sock, status, pidfd)

    def limit_memory(self, megabytes: int) -> None:
        """How much more than the bare worker it may map."""
        if megabytes != self._memory:
            with contextlib.suppress(ProcessLookupError):  # it has just died: the next read will tell
                set_memory(self.pid, self._size + megabytes * 1024 * 1024)
            self._memory = megabytes

    async def send(self, message: dict[str, Any]) -> None:
        """Send one frame. Raises WorkerGone, or WireError when it is too large."""
        frame = wire.to_frame(message)
        try:
            await asyncio.get_running_loop().sock_sendall(self._sock, frame)
        except OSError:
            raise WorkerGone(await self.certificate()) from None

    async def receive(self) -> dict[str, Any]:
        """The next frame. Raises WorkerGone at its end, WireError when what comes is not a frame."""
        await self._fill(wire.HEAD)
        size = int.from_bytes(self._buffer[: wire.HEAD], "big")
        if size > wire.MAX_FRAME:
            raise wire.WireError(f"a frame of {size} bytes")
        await self._fill(wire.HEAD + size)
        body = bytes(memoryview(self._buffer)[wire.HEAD : wire.HEAD + size])
        del self._buffer[: wire.HEAD + size]
        # A large frame takes long enough to read that the loop would be felt to stop.
        return wire.from_body(body) if size < _BIG_FRAME else await in_thread(wire.from_body, body)

    async def _fill(self, size: int) -> None:
        loop = asyncio.get_running_loop()
        while len(self._buffer) < size:
            try:
                data = await loop.sock_recv(self._sock, _CHUNK)
            except OSError:
                data = b""
            if not data:
                raise WorkerGone(await self.certificate())
            self._buffer += data

    def stale(self) -> bool:
        """Whether it is dead, or says something though nothing was asked."""
        if self._buffer or self.host != os.getpid():
            return True
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def signal(self, number: int) -> None:
        """Send it a signal, by a descriptor that can mean no other process."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    async def certificate(self) -> int | None:
        """How it ended, from its zygote; waits for the end."""
        try:
            async with asyncio.timeout(_REPORT_SECONDS):
                data = await asyncio.get_running_loop().sock_recv(self._status, 256)
            code = json.loads(data)["exit"] if data else None
        except (TimeoutError, OSError, ValueError):
            return None
        return int(code) if code is not None else None

    def kill(self) -> None:
        """End it now, whatever it does, and let go of it."""
        if self.host == os.getpid() and self._letting_go.alive:
            self.signal(signal.SIGKILL)
        self._letting_go()


def _let_go(sock: socket.socket, status: socket.socket, pidfd: int) -> None:
    sock.close()
    status.close()
    os.close(pidfd)


class _Door(asyncio.Semaphore):
    """Where those of one loop wait who want a worker."""

    visitors = 0


_doors: dict[asyncio.AbstractEventLoop, _Door] = {}


async def hire() -> Worker:
    """A fresh worker from this process's zygote. Raises SandboxUnavailable."""
    loop = asyncio.get_running_loop()
    door = _doors.setdefault(loop, _Door(_AT_ONCE))
    door.visitors += 1
    try:
        async with door:
            return await _forked()
    finally:
        door.visitors -= 1
        if not door.visitors:  # a door that somebody has waited at holds its loop
            del _doors[loop]


async def _forked() -> Worker:
    for _ in range(2):
        source = await in_thread(zygote)
        mine, theirs = socket.socketpair()
        status, report = socket.socketpair()
        for end in (mine, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK)
        mine.setblocking(False)
        status.setblocking(False)
        try:
            with theirs, report:
                if not source.fork(theirs, report, wait=False):  # it has its hands full: wait, but not on the loop
                    await in_thread(source.fork, theirs, report)
            pid, pidfd = await _introduction(status)
        except BaseException as error:
            mine.close()
            status.close()
            # A zygote that died since it was last looked at: the next round starts a new one.
            if isinstance(error, (OSError, EOFError)):
                continue
            raise
        return Worker(mine, status, pid=pid, pidfd=pidfd, size=source.size)
    raise SandboxUnavailable("The process that starts control-block workers keeps dying; is memory short?")


async def _introduction(status: socket.socket) -> tuple[int, int]:
    """The first report: the worker's number, and the descriptor that stands for it."""
    async with asyncio.timeout(_FORK_SECONDS):
        await _readable(status)
    data, fds, _, _ = socket.recv_fds(status, 256, 1)
    if not data or not fds:
        raise EOFError("no worker")
    return int(json.loads(data)["pid"]), fds[0]


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sock.fileno(), lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())
