"""What every terminal does alike: give a command, watch it, type into it, look at it. How: each system's own file."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, TypeVar

from autopilot_runtime.confine.wall import Wall
from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.shell.ledger import Ledger
from autopilot_runtime.shell.terminal import CommandResult, Mode, TerminalState

_QUIET_AFTER_INPUT = 0.4  # an answer is over when nothing more came for this long
_QUIET_WHILE_READING = 2.0
_CLOSE_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.02
_Seen = TypeVar("_Seen")


class WatchedTerminal(ABC):
    """See `Terminal`. Use it on one event loop at a time; it moves to the loop that uses it next."""

    def __init__(self, name: str, shell: str, *, cwd: str, size: tuple[int, int], max_chars: int) -> None:
        self.name = name
        self.shell = shell
        self.pid: int | None = None
        self.max_chars = max_chars
        self.ledger = Ledger(name, cwd, time.monotonic, rows=size[0], columns=size[1])
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._killed = False

    # ---------------------------------------------------------------- what each system does in its own way

    @property
    @abstractmethod
    def _has_shell(self) -> bool:
        """Whether there is something to give back, dead or alive."""

    @abstractmethod
    async def start(self) -> None:
        """Bring the shell up; ends with `_started`."""

    @abstractmethod
    def _attach(self) -> None:
        """Be read by the running loop; another loop that read before has ended, or is told to stop."""

    @abstractmethod
    def _give(self, command: str, number: int) -> None:
        """Tell the shell to run a command. What it raises, nothing was run."""

    @abstractmethod
    async def _type(self, text: str, deadline: float) -> tuple[str, ...]:
        """Type into the running program; gives notes for the result."""

    @abstractmethod
    def _set_size(self, rows: int, columns: int) -> None: ...

    @abstractmethod
    def _end_tree(self, *, living: bool) -> None:
        """Kill the shell (when it is `living`) and everything it started, on any thread."""

    def _background(self) -> tuple[str, ...]:
        """The commands that go on in an idle terminal, where that can be told."""
        return ()

    @abstractmethod
    def _check_exit(self) -> None:
        """See whether the shell has ended, where nobody tells."""

    @abstractmethod
    def _release(self) -> None:
        """Give every descriptor and file back."""

    # ---------------------------------------------------------------- what it is doing

    @property
    def cwd(self) -> str:
        """The shell's folder, as it last told."""
        return self.ledger.cwd

    @property
    def alive(self) -> bool:
        """Whether there is a shell that can be used."""
        return not self._killed and not self.ledger.gone and self._has_shell

    @property
    def running(self) -> bool:
        """Whether a command has not ended yet."""
        return self.ledger.running and self.alive

    def state(self) -> TerminalState:
        """One line of the status block."""
        if self.running:
            command, elapsed = self.ledger.command.text, self.ledger.elapsed()
            return TerminalState(self.name, self.pid, "running", self.cwd, self.shell, command, elapsed)
        if not self.alive:
            return TerminalState(self.name, self.pid, "exited", self.cwd, self.shell)
        return TerminalState(self.name, self.pid, "idle", self.cwd, self.shell, background=self._background())

    # ---------------------------------------------------------------- what can be asked of it

    async def run(self, command: str, *, timeout: float) -> CommandResult:
        """Run a command and wait for its end, at most `timeout` seconds. Cancelling kills all it started."""
        if self.running:
            raise ToolError(
                f"Terminal {self.name!r} is still running: {_short(self.ledger.command.text)}. "
                'Use read_output to wait, send_input to answer it ("\\x03" interrupts), '
                "or execute in another terminal (new_terminal=True)."
            )
        _refuse_what_is_no_text(command)
        self._attach()
        self._give(command, self.ledger.next_number)
        self.ledger.begin(command)
        await self._watched(self._wait(timeout))
        return await self._look("new")

    async def read(self, *, timeout: float) -> CommandResult:
        """New output of the newest command; all of it when there is nothing new and it has ended."""
        if self.alive:
            self._attach()
            await asyncio.sleep(0)  # output that waits to be read, of a background job say, is taken first
        if self.running:
            await self._watched(self._wait(timeout, quiet=_QUIET_WHILE_READING))
        elif not self.ledger.command.output.unread:
            return await self._look("full")
        return await self._look("delta")

    async def send(self, text: str, *, timeout: float) -> CommandResult:
        """Type into the running command, and see what it answers."""
        if not self.running:
            raise ToolError(
                f"Nothing is running in terminal {self.name!r}, so nothing would read that. Use execute for commands."
            )
        self._attach()
        typed_at = time.monotonic()
        deadline = typed_at + timeout
        notes = await self._watched(self._type(self.ledger.typed(text), deadline))
        await self._watched(self._wait(deadline - time.monotonic(), quiet=_QUIET_AFTER_INPUT, since=typed_at))
        return await self._look("delta", notes)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the programs in it about a new size."""
        self.ledger.rows, self.ledger.columns = rows, columns
        if self.alive:
            self._set_size(rows, columns)

    def kill(self) -> None:
        """End the shell and everything it started, now."""
        living = self.pid is not None and not self.ledger.gone and self._has_shell
        self._killed = True  # from now on nobody may use it, although its end is only seen later
        self._end_tree(living=living)

    async def close(self) -> None:
        """Kill, reap, and give every descriptor back."""
        await asyncio.to_thread(self.kill)
        if not self._has_shell:
            return
        self._attach()
        deadline = time.monotonic() + _CLOSE_SECONDS
        while not self.ledger.gone and time.monotonic() < deadline:
            self._check_exit()
            await self._pause(_LOOK_AGAIN_SECONDS)
        self._release()

    # ---------------------------------------------------------------- starting, waiting, looking

    def _check_folder(self, wall: Wall) -> None:
        if not wall.has_folder(self.cwd):
            raise ToolError(f"The folder {self.cwd} does not exist, so no shell was started there.")

    async def _started(self, program: str, seconds: float) -> None:
        """Wait for the first report of a new shell."""
        await self._watched(self._wait(seconds))
        if self.ledger.running or self.ledger.gone:
            await self.close()
            said = self.ledger.look("full").result().output
            raise ToolError(f"The shell {program} did not start.\n{said}".rstrip())

    async def _wait(self, timeout: float, *, quiet: float | None = None, since: float | None = None) -> None:
        """Until the command ends, time is over, or output came and then stopped for `quiet` seconds."""
        began = time.monotonic()
        deadline = began + max(timeout, 0.0)
        while self.ledger.running:
            now = time.monotonic()
            step = deadline - now
            if quiet is not None:
                fresh = self.ledger.command.output.unread > 0
                left = max(self.ledger.last_output, since or began) + quiet - now
                if fresh and left <= 0:
                    return
                step = min(step, left if fresh else quiet)
            if step <= 0 and now >= deadline:
                return
            await self._pause(max(step, 0.001))

    async def _pause(self, seconds: float) -> None:
        """Until a command or the shell ends, at most that long. Cheaper than `wait_for`, and any number may wait."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _finish, waiter)
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiting.discard(waiter)

    def _wake_if_ended(self) -> None:
        if not self.ledger.running:
            for waiter in self._waiting:
                _finish(waiter)

    async def _watched(self, waiting: Coroutine[Any, Any, _Seen]) -> _Seen:
        """Wait for something; whoever cancels that kills what runs."""
        try:
            return await waiting
        except asyncio.CancelledError:
            self.kill()
            raise

    async def _look(self, mode: Mode, notes: tuple[str, ...] = ()) -> CommandResult:
        look = self.ledger.look(mode, notes, max_chars=self.max_chars)
        return await asyncio.to_thread(look.result) if look.takes_time else look.result()


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _refuse_what_is_no_text(command: str) -> None:
    if "\0" in command:
        raise ToolError("A command cannot contain a NUL character; nothing was run.")
    try:
        command.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ToolError(
            f"The command has a character that is no text at position {error.start}; nothing was run."
        ) from error


def _short(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= 80 else line[:77] + "..."
