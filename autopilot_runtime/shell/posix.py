"""A terminal on Linux and macOS: a shell on a pseudo-terminal, read by the event loop as output comes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.shell import spawn, tree
from autopilot_runtime.shell.dialect import choose, fits_a_line
from autopilot_runtime.shell.ledger import Ledger
from autopilot_runtime.shell.terminal import COLUMNS, MAX_CHARS, ROWS, CommandResult, Mode, TerminalState

_START_SECONDS = 10.0
_READ = 65_536
_READS_PER_TURN = 32  # then other tasks of the loop get their turn
_READS_AFTER_END = 256  # more than any pseudo-terminal holds: the rest is of programs left behind
_QUIET_AFTER_INPUT = 0.4  # an answer is over when nothing more came for this long
_QUIET_WHILE_READING = 2.0
_ASK_AGAIN_SECONDS = 0.2
_INTERRUPTS = frozenset("\x03\x1c\x1a")


class PosixTerminal:
    """See `Terminal`. Use it on one event loop at a time; it moves to the loop that uses it next."""

    def __init__(
        self,
        name: str,
        *,
        cwd: str,
        env: Mapping[str, str],
        run_dir: Path,
        marker: str,
        shell: str | None = None,
        size: tuple[int, int] = (ROWS, COLUMNS),
        max_chars: int = MAX_CHARS,
        prefix: Sequence[str] = (),
        in_child: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.dialect, self._program = choose(shell, env.get("PATH"))
        self.shell = self.dialect.name
        self.pid: int | None = None
        self.max_chars = max_chars
        self.ledger = Ledger(name, cwd, time.monotonic, rows=size[0], columns=size[1])
        self._env = {**env, tree.MARKER: marker}
        self._marker = marker
        self._confine = (tuple(prefix), in_child)
        self._spawned: spawn.Spawned | None = None
        self._mode: list[Any] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pidfd: int | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._typed = False
        self._since = 0
        self._killed = False
        self._path = run_dir / marker.rpartition("/")[2]
        self._has_file = False

    # ---------------------------------------------------------------- what it is doing

    @property
    def cwd(self) -> str:
        return self.ledger.cwd

    @property
    def alive(self) -> bool:
        return self._spawned is not None and not self.ledger.gone and not self._killed

    @property
    def running(self) -> bool:
        return self.alive and self.ledger.running

    def state(self) -> TerminalState:
        """One line of the status block."""
        status: Literal["idle", "exited"] = "idle" if self.alive else "exited"
        if self.running:
            command, elapsed = self.ledger.command.text, self.ledger.elapsed()
            return TerminalState(self.name, self.pid, "running", self.cwd, self.shell, command, elapsed)
        return TerminalState(self.name, self.pid, status, self.cwd, self.shell)

    # ---------------------------------------------------------------- what can be asked of it

    async def start(self) -> None:
        """Bring the shell up."""
        size = (self.ledger.rows, self.ledger.columns)
        if not Path(self.cwd).is_dir():
            raise ToolError(f"The folder {self.cwd} does not exist, so no shell was started there.")
        prefix, in_child = self._confine
        argv = [*prefix, self._program, *self.dialect.arguments]
        self._spawned = spawn.spawn(self.dialect, argv, cwd=self.cwd, env=self._env, size=size, in_child=in_child)
        self.pid = self._spawned.pid
        self._since = tree.started(self.pid)
        self._mode = spawn.baseline(self._spawned.tty)
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # an old kernel, or a sandbox without it: the exit is polled then
                self._pidfd = os.pidfd_open(self.pid)
        self._attach()
        self._tell(self.dialect.setup(self.ledger.nonce))
        try:
            await self._wait(_START_SECONDS)
        except BaseException:
            self.kill()
            raise
        if self.ledger.running or self.ledger.gone:
            await self.close()
            raise ToolError(
                f"The shell {self._program} did not start.\n{self.ledger.look('full').result().output}".rstrip()
            )

    async def run(self, command: str, *, timeout: float) -> CommandResult:
        """Run a command and wait for its end, at most `timeout` seconds. Cancelling kills all it started."""
        if self.running:
            raise ToolError(
                f"Terminal {self.name!r} is still running: {_short(self.ledger.command.text)}. "
                'Use read_output to wait, send_input to answer it ("\\x03" interrupts), '
                "or execute in another terminal (new_terminal=True)."
            )
        data = _encoded(command)
        spawned = self._attach()
        spawn.restore(spawned.tty, self._mode, flush=self._typed)
        self._typed = False
        number = self.ledger.begin(command)
        if fits_a_line(command):
            self._tell(self.dialect.inline(command, number))
        else:
            self._write_command(data)
            self._tell(self.dialect.from_file(str(self._path), number))
        if self.dialect.reads_ahead:
            self._ask_again_soon()
        with self._killing_when_cancelled():
            await self._wait(timeout)
        return await self._look("new")

    async def read(self, *, timeout: float) -> CommandResult:
        """New output of the newest command; all of it when there is nothing new and it has ended."""
        if self.alive:
            self._attach()
            await asyncio.sleep(0)  # output that waits to be read, of a background job say, is taken first
        if self.running:
            with self._killing_when_cancelled():
                await self._wait(timeout, quiet=_QUIET_WHILE_READING)
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
        data = text.encode("utf-8", "surrogateescape")
        deadline = time.monotonic() + timeout
        self._typed = True
        typed_at = time.monotonic()
        with self._killing_when_cancelled():
            taken = await self._type(data, deadline)
            if _INTERRUPTS & set(text):
                # An interrupt that hits the shell itself makes it forget the lines it was given, the report too.
                self._ask_again(self.ledger.command.number)
                self._ask_again_soon()
            await self._wait(deadline - time.monotonic(), quiet=_QUIET_AFTER_INPUT, since=typed_at)
        notes = (
            ()
            if taken == len(data)
            else (f"only {taken} of {len(data)} bytes were taken; the program does not read",)
        )
        return await self._look("delta", notes)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the programs in it about a new size."""
        self.ledger.rows, self.ledger.columns = rows, columns
        if self._spawned is not None and self.alive:
            self._spawned.child.setwinsize(rows, columns)

    def kill(self) -> None:
        """End the shell and everything it started, now."""
        living = self.pid is not None and self._spawned is not None and not self.ledger.gone
        self._killed = True  # from now on nobody may use it, although its end is only seen later
        tree.kill_tree(self._marker, [self.pid] if self.pid is not None and living else [], since=self._since)

    async def close(self) -> None:
        """Kill, reap, and give every descriptor back."""
        await asyncio.to_thread(self.kill)
        if self._spawned is None:
            return
        self._attach()
        deadline = time.monotonic() + _START_SECONDS
        while not self.ledger.gone and time.monotonic() < deadline:
            self._check_exit()
            await self._pause(0.02)
        self._release()

    # ---------------------------------------------------------------- waiting

    async def _wait(self, timeout: float, *, quiet: float | None = None, since: float | None = None) -> None:
        """Until the command ends, time is over, or output came and then stopped for `quiet` seconds."""
        deadline = time.monotonic() + max(timeout, 0.0)
        began = time.monotonic() if since is None else since
        while self.ledger.running:
            now = time.monotonic()
            step = deadline - now
            if quiet is not None:
                fresh = self.ledger.command.output.unread > 0
                left = max(self.ledger.last_output, began) + quiet - now
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

    def _wake(self) -> None:
        for waiter in self._waiting:
            _finish(waiter)

    @contextlib.contextmanager
    def _killing_when_cancelled(self) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            self.kill()
            raise

    async def _look(self, mode: Mode, notes: tuple[str, ...] = ()) -> CommandResult:
        if not self.ledger.running:
            self._remove_file()
        if self.ledger.command.output.in_screen and self.alive and self._spawned is not None:
            flags: int = termios.tcgetattr(self._spawned.tty)[1]
            self.ledger.newline_returns = bool(flags & termios.ONLCR)
        look = self.ledger.look(mode, notes, max_chars=self.max_chars)
        return await asyncio.to_thread(look.result) if look.takes_time else look.result()

    # ---------------------------------------------------------------- writing

    def _write_command(self, data: bytes) -> None:
        """Put a command where the shell reads it. The name can be used again: the last command has ended."""
        self._remove_file()
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._has_file = True
        try:
            while data:
                data = data[os.write(file, data) :]
        finally:
            os.close(file)

    def _remove_file(self) -> None:
        if self._has_file:
            self._has_file = False
            self._path.unlink(missing_ok=True)

    def _tell(self, line: str) -> None:
        """A line for the shell itself. A full pipe means it has enough to read."""
        assert self._spawned is not None
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._spawned.control, line.encode("utf-8", "surrogateescape"))

    def _ask_again_soon(self) -> None:
        asyncio.get_running_loop().call_later(_ASK_AGAIN_SECONDS, self._ask_again, self.ledger.command.number)

    def _ask_again(self, number: int) -> None:
        if self.running and self.ledger.command.number == number:
            self._tell(self.dialect.report(number))

    async def _type(self, data: bytes, deadline: float) -> int:
        """Write to the terminal as fast as the program reads; gives the number of bytes taken."""
        taken = 0
        while taken < len(data) and self.running and self._spawned is not None:
            try:
                taken += os.write(self._spawned.tty, data[taken : taken + 4_096])
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    break
                await self._pause(0.02)
            except OSError:  # the shell is just going
                break
        return taken

    # ---------------------------------------------------------------- reading

    def _attach(self) -> spawn.Spawned:
        """Be read by the running loop; another loop that read before has ended, or is told to stop."""
        loop = asyncio.get_running_loop()
        spawned = self._spawned
        if spawned is None:
            raise ToolError(f"Terminal {self.name!r} has no shell.")
        if self._loop is loop or self.ledger.gone:
            return spawned
        self._detach()
        self._loop = loop
        loop.add_reader(spawned.tty, self._on_output)
        loop.add_reader(spawned.reports, self._on_report)
        if self._pidfd is not None:
            loop.add_reader(self._pidfd, self._check_exit)
        else:
            loop.call_later(0.1, self._poll_exit, loop)
        return spawned

    def _detach(self) -> None:
        loop, self._loop = self._loop, None
        if loop is None or loop.is_closed() or self._spawned is None:
            return
        for fd in (self._spawned.tty, self._spawned.reports, self._pidfd):
            if fd is not None:
                loop.remove_reader(fd)

    def _on_output(self) -> None:
        if self._drain(_READS_PER_TURN):
            self._check_exit()
            if self._loop is not None and self._spawned is not None and self.alive:
                self._loop.remove_reader(self._spawned.tty)  # hung up: it would be readable for ever

    def _drain(self, reads: int) -> bool:
        """Read what is there; True when the terminal has been hung up."""
        assert self._spawned is not None
        for _ in range(reads):
            try:
                data = os.read(self._spawned.tty, _READ)
            except BlockingIOError:
                return False
            except OSError:
                return True
            if not data:
                return True
            self.ledger.heard(data)
            if not self.ledger.running:
                self._wake()
        return False

    def _on_report(self) -> None:
        assert self._spawned is not None
        try:
            data = os.read(self._spawned.reports, _READ)
        except BlockingIOError:
            return
        if not data:
            if self._loop is not None:
                self._loop.remove_reader(self._spawned.reports)
            return
        # The programs have ended before: what they wrote can be read by now, although nobody was told of it yet.
        self._drain(_READS_AFTER_END)
        self.ledger.told(data)
        if not self.ledger.running:
            self._wake()

    # ---------------------------------------------------------------- the end of the shell

    def _poll_exit(self, loop: asyncio.AbstractEventLoop) -> None:
        self._check_exit()
        if self.alive and self._loop is loop:
            loop.call_later(0.1, self._poll_exit, loop)

    def _check_exit(self) -> None:
        spawned = self._spawned
        if spawned is None or self.ledger.gone or not spawned.reap():
            return
        self._drain(1_000)
        code, number = spawned.child.exitstatus, spawned.child.signalstatus
        name = signal.Signals(number).name if number else ""
        self.ledger.exited(128 + number if number else code if code is not None else 1, name)
        self._wake()
        self._release()

    def _release(self) -> None:
        spawned = self._spawned
        if spawned is None:
            return
        self._detach()
        self._spawned = None
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        self._remove_file()
        spawned.close()


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _encoded(command: str) -> bytes:
    if "\0" in command:
        raise ToolError("A command cannot contain a NUL character; nothing was run.")
    try:
        data = command.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ToolError(
            f"The command has a character that is no text at position {error.start}; nothing was run."
        ) from error
    return data if data.endswith(b"\n") else data + b"\n"


def _short(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= 80 else line[:77] + "..."
