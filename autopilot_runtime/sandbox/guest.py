"""The worker's side of a control block: runs the code, asks the host for every tool call, reports how it went.

Runs in the worker; the standard library only. Everything it needs it took before the first block, so a block that
patches `json` or `builtins` breaks its own code, not this.
"""

from __future__ import annotations

import ast
import builtins
import io
import linecache
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any, NoReturn

from autopilot_runtime.sandbox import display, leftover, mishap, wire
from autopilot_runtime.sandbox.offered import ERRORS, Server, Stopped, error_named, tool
from autopilot_runtime.sandbox.reads import Reads
from autopilot_runtime.sandbox.screen import Output, Screen
from autopilot_runtime.sandbox.value import bounded_repr

STOP = signal.SIGUSR1 if hasattr(signal, "SIGUSR1") else signal.SIGTERM
_BALLAST = 4 * 1024 * 1024
_VALUE_CHARS = 20_000


class Guest:
    """One worker's conversation with the host over `fd`, and the variables of its blocks."""

    def __init__(self, fd: int, reads: Reads) -> None:
        self._fd, self._reads = fd, reads
        reads.refuse = self._diverged
        self._read, self._write, self._exit, self._set_blocking = os.read, os.write, os._exit, os.set_blocking
        self._main_thread, self._thread = threading.get_ident(), threading.get_ident
        self._frame_at = sys._getframe
        self._sending = threading.RLock()
        self._calling = threading.Lock()
        self._output = Output(self._send, self._guarded)
        self._module = ModuleType("__main__")
        self._busy = self._late = self._running = False
        self._ended = ""
        self._name = ""
        self._count = 0
        self._tools: list[str] = []
        self._bound: list[str] = []
        self._ballast: bytes | None = None
        self._kept = leftover.Kept()

    def serve(self) -> NoReturn:
        """Run blocks until the host closes the pipe."""
        signal.signal(STOP, self._on_stop)
        while True:
            self._set_blocking(self._fd, True)  # the last block may have changed it
            message = self._receive()
            if message.get("op") == "run":
                self._block(message)
                self._kept.restore()

    # ------------------------------------------------------------ frames

    def _send(self, message: dict[str, Any]) -> None:
        frame = memoryview(wire.to_frame(message))
        with self._sending:
            while frame:
                frame = frame[self._write(self._fd, frame) :]

    def _receive(self) -> dict[str, Any]:
        size = int.from_bytes(self._exactly(wire.HEAD), "big")
        return wire.from_body(self._exactly(size))

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            data = self._read(self._fd, min(size, 1 << 20))
            if not data:
                self._exit(0)
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    # ------------------------------------------------------------ stopping

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, between two bytecodes: end the block, but never in the middle of a frame."""
        if self._busy:
            self._late = True
        elif self._running:
            self._ended = self._ended or "stopped"
            raise Stopped

    def _guarded(self, work: Callable[..., Any], *args: Any) -> Any:
        if self._thread() != self._main_thread or self._busy:
            return work(*args)
        self._busy = True
        try:
            return work(*args)
        finally:
            self._busy = False
            if self._late:
                self._late = False
                self._on_stop(STOP, None)

    def _diverged(self, text: str) -> NoReturn:
        """The block does not go the way it went: the host is told, so that catching this helps nobody."""
        if not self._ended:
            self._ended = "final"
            self._guarded(self._say, {"op": "diverged", "text": text})
        raise Stopped

    # ------------------------------------------------------------ one block

    def _block(self, message: dict[str, Any]) -> None:
        self._count += 1
        self._name = f"{mishap.MARK} {self._count}>"
        self._ended, self._late = "", False
        self._output.begin(int(message["chars"]))
        self._set_up(message["code"], list(message["tools"]))
        self._reads.begin(message["reads"])
        failure: dict[str, Any] | None = None
        try:
            self._running = True
            self._execute(message["code"])
        except BaseException as error:
            self._running = False
            failure = self._failure(error)
        self._running = False
        sys.setrecursionlimit(1000)
        left = leftover.end_threads()
        failure = self._unread(failure)
        self._output.flush_all()
        self._send({"op": "done", "failure": failure, "threads": left, "reads": self._reads.take()})

    def _unread(self, failure: dict[str, Any] | None) -> dict[str, Any] | None:
        """The failure, after what a replayed block should have read and did not."""
        unread = "" if self._ended else self._reads.unread()
        if not unread:
            return failure
        if failure is None:
            return {"kind": "replay", "text": unread, "line": None}
        return {"kind": "replay", "text": f"{unread}\n{failure['text']}", "line": failure["line"]}

    def _execute(self, code: str) -> None:
        tree = display.mark(ast.parse(code, self._name), self._tools)
        compiled = compile(tree, self._name, "exec", dont_inherit=True)
        exec(compiled, self._module.__dict__)

    def _set_up(self, code: str, tools: list[str]) -> None:
        lines = code.splitlines(keepends=True)
        linecache.cache[self._name] = (len(code), None, lines, self._name)
        sys.stdout = sys.stderr = Screen(self._output)
        sys.stdin = io.StringIO("")
        sys.modules["__main__"] = self._module
        if self._ballast is None:
            self._ballast = bytes(_BALLAST)
        self._bind(tools)

    def _bind(self, tools: list[str]) -> None:
        """Put the tools under their names, whatever the last block made of them; take back those that are gone."""
        names = self._module.__dict__
        for name in self._bound:
            names.pop(name, None)
        self._tools = tools
        bound: dict[str, Any] = {display.bare_name(name): tool(self.call, name, bare=True) for name in tools}
        for name in tools:
            server, dot, attr = name.partition(".")
            if not dot:
                bound[name] = tool(self.call, name, bare=False)
                continue
            if not isinstance(bound.get(server), Server):
                bound[server] = Server(server)
            bound[server].__dict__[attr] = tool(self.call, name, bare=False)
        self._bound = list(bound)
        names.update(ERRORS, **bound, **{"__builtins__": builtins, display.SHOW: self._show})

    def _show(self, value: Any) -> None:
        if value is not None:
            text = bounded_repr(value, chars=_VALUE_CHARS)
            self._guarded(self._say, {"op": "value", "s": text})

    def _say(self, message: dict[str, Any]) -> None:
        self._output.flush_all()
        self._send(message)

    def _failure(self, error: BaseException) -> dict[str, Any] | None:
        self._ballast = None
        if isinstance(error, SystemExit):
            self._exited(error)
            return None
        text, line = mishap.text_of(error, tools=self._tools, names=self._own_names())
        kind = "memory" if isinstance(error, MemoryError) else "error"
        if isinstance(error, Stopped):
            kind = "stopped"
        return {"kind": kind, "text": text, "line": line}

    def _exited(self, error: SystemExit) -> None:
        code = error.code
        if code is not None and code != 0:
            self._output.write(f"[the block ended itself: exit {bounded_repr(code, chars=500)}]\n")

    def _own_names(self) -> list[str]:
        return [name for name in self._module.__dict__ if isinstance(name, str) and not name.startswith("__")][:2_000]

    # ------------------------------------------------------------ tools

    def call(self, tool: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, bare: bool) -> Any:
        """Have the host make a call. One at a time: threads of a block queue here."""
        message = {
            "op": "call",
            "tool": tool,
            "args": [self._packed(tool, value) for value in args],
            "kwargs": {str(key): self._packed(tool, value) for key, value in kwargs.items()},
            "bare": bare,
            "line": self._line(),
        }
        with self._calling:
            if self._ended:
                raise Stopped
            if not self._running:
                raise RuntimeError("the block has ended: tools cannot be called any more")
            answer = self._guarded(self._ask, message)
        return self._taken(answer)

    def _packed(self, tool: str, value: Any) -> Any:
        try:
            return wire.pack(value)
        except wire.WireError as error:
            raise TypeError(f"{tool}(): {error}") from None

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self._output.flush_all()
        reads = self._reads.take()
        try:
            self._send({**message, "reads": reads})
        except wire.WireError as error:
            self._reads.untake(reads)
            raise ValueError(f"{message['tool']}(): {error}") from None
        return self._receive()

    def _taken(self, answer: dict[str, Any]) -> Any:
        if answer.get("fatal"):
            self._ended = "final"
            raise Stopped
        error = answer.get("error")
        if error is None:
            return wire.unpack(answer.get("value"))
        raise error_named(str(answer.get("type")), str(error))

    def _line(self) -> int | None:
        frame: FrameType | None = self._frame_at(2)
        while frame is not None:
            if frame.f_code.co_filename == self._name:
                return frame.f_lineno
            frame = frame.f_back
        return None
