"""A terminal on Linux and macOS: a shell on a pseudo-terminal, read by the event loop as output comes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autopilot_runtime.confine.wall import Wall
from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.shell import spawn, tree
from autopilot_runtime.shell.dialect import choose, fits_a_line
from autopilot_runtime.shell.terminal import COLUMNS, MAX_CHARS, ROWS, CommandResult, Mode
from autopilot_runtime.shell.watch import WatchedTerminal

_START_SECONDS = 10.0
_READ = 65_536
_READS_PER_TURN = 32  # then other tasks of the loop get their turn
_READS_AFTER_END = 256  # more than any pseudo-terminal holds: the rest is of programs left behind
_ASK_AGAIN_SECONDS = 0.2
_TYPE_AGAIN_SECONDS = 0.02
_INTERRUPTS = frozenset("\x03\x1c\x1a")


class PosixTerminal(WatchedTerminal):
    """See `Terminal`."""

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
        wall: Wall | None = None,
    ) -> None:
        self.dialect, self._program = choose(shell, env.get("PATH"))
        super().__init__(name, self.dialect.name, cwd=cwd, size=size, max_chars=max_chars)
        self._env = {**env, tree.MARKER: marker}
        self._marker = marker
        self._wall = wall or Wall()
        self._spawned: spawn.Spawned | None = None
        self._mode: list[Any] = []
        self._pidfd: int | None = None
        self._typed = False
        self._since = 0
        self._relayed = False
        self._path = run_dir / marker.rpartition("/")[2]
        self._has_file = False

    @property
    def _has_shell(self) -> bool:
        return self._spawned is not None

    # ---------------------------------------------------------------- starting and ending

    async def start(self) -> None:
        """Bring the shell up."""
        size = (self.ledger.rows, self.ledger.columns)
        self._check_folder(self._wall)
        argv = [self._program, *self.dialect.arguments]
        with self._wall.launch(argv, cwd=self.cwd, waits=True, leads=self.dialect.leads) as launch:
            self._spawned = spawn.spawn(self.dialect, launch, env=self._env, size=size)
            self._relayed = launch.relayed
        self.pid = self._spawned.pid
        self._wall.expect(self.pid)
        self._since = tree.started(self.pid)
        self._mode = spawn.baseline(self._spawned.tty)
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # an old kernel, or a sandbox without it: the exit is polled then
                self._pidfd = os.pidfd_open(self.pid)
        self._attach()
        self._tell(self.dialect.setup(self.ledger.nonce))
        await self._started(self._program, _START_SECONDS)
        if self._wall.told.limits:
            await asyncio.to_thread(self._wall.admit, [self.pid, *tree.below(self.pid)])

    def _set_size(self, rows: int, columns: int) -> None:
        if self._spawned is not None:
            self._spawned.child.setwinsize(rows, columns)

    def _background(self) -> tuple[str, ...]:
        # Of a wrapped shell, the first two are what keeps its processes together, and the shell itself.
        return tuple(tree.commands_below(self.pid, skip=2 if self._relayed else 0)) if self.pid is not None else ()

    def _end_tree(self, *, living: bool) -> None:
        tree.kill_tree(self._marker, [self.pid] if self.pid is not None and living else [], since=self._since)

    # ---------------------------------------------------------------- writing

    def _give(self, command: str, number: int) -> None:
        spawned = self._shell()
        spawn.restore(spawned.tty, self._mode, flush=self._typed)
        self._typed = False
        if fits_a_line(command):
            line = self.dialect.inline(command, number)
        else:
            self._write_command(command)
            line = self.dialect.from_file(str(self._path), number)
        self._tell(line)
        if self.dialect.reads_ahead:
            self._ask_again_soon(number)

    def _write_command(self, command: str) -> None:
        """Put a command where the shell reads it. The name can be used again: the last command has ended."""
        self._remove_file()
        data = command.encode("utf-8", "surrogateescape")
        data += b"" if data.endswith(b"\n") else b"\n"
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._has_file = True
            with os.fdopen(file, "wb") as out:
                out.write(data)
        except OSError as error:
            raise ToolError(f"The command could not be handed to the shell: {error}; nothing was run.") from error

    def _remove_file(self) -> None:
        if self._has_file:
            self._has_file = False
            self._path.unlink(missing_ok=True)

    def _tell(self, line: str) -> None:
        """A line for the shell itself. A full pipe means it has enough to read."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._shell().control, line.encode("utf-8", "surrogateescape"))

    def _ask_again_soon(self, number: int) -> None:
        asyncio.get_running_loop().call_later(_ASK_AGAIN_SECONDS, self._ask_again, number)

    def _ask_again(self, number: int) -> None:
        if self.running and self.ledger.command.number == number:
            self._tell(self.dialect.report(number))

    async def _type(self, text: str, deadline: float) -> tuple[str, ...]:
        """Write to the terminal as fast as the program reads."""
        self._typed = True
        data, taken = text.encode("utf-8", "surrogateescape"), 0
        while taken < len(data) and self.running:
            try:
                taken += os.write(self._shell().tty, data[taken : taken + 4_096])
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    break
                await self._pause(_TYPE_AGAIN_SECONDS)
            except OSError:  # the shell is just going
                break
        if _INTERRUPTS & set(text):
            # An interrupt that hits the shell itself makes it forget the lines it was given, the report too.
            self._ask_again(self.ledger.command.number)
            self._ask_again_soon(self.ledger.command.number)
        if taken < len(data):
            return (f"only {taken} of {len(data)} bytes were taken; the program does not read",)
        return ()

    # ---------------------------------------------------------------- reading

    async def _look(self, mode: Mode, notes: tuple[str, ...] = ()) -> CommandResult:
        if not self.ledger.running:
            self._remove_file()
        if self.alive and (mode == "delta" or self.ledger.command.output.in_screen):
            flags: int = termios.tcgetattr(self._shell().tty)[1]
            self.ledger.newline_returns = bool(flags & termios.ONLCR)
        return await super()._look(mode, notes)

    def _shell(self) -> spawn.Spawned:
        if self._spawned is None:
            raise ToolError(f"Terminal {self.name!r} has no shell.")
        return self._spawned

    def _attach(self) -> None:
        loop, spawned = asyncio.get_running_loop(), self._shell()
        if self._loop is loop or self.ledger.gone:
            return
        self._detach()
        self._loop = loop
        loop.add_reader(spawned.tty, self._on_output)
        loop.add_reader(spawned.reports, self._on_report)
        if self._pidfd is not None:
            loop.add_reader(self._pidfd, self._check_exit)
        else:
            loop.call_later(0.1, self._poll_exit, loop)

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
        tty = self._shell().tty
        for _ in range(reads):
            try:
                data = os.read(tty, _READ)
            except BlockingIOError:
                return False
            except OSError:
                return True
            if not data:
                return True
            self.ledger.heard(data)
        return False

    def _on_report(self) -> None:
        reports = self._shell().reports
        try:
            data = os.read(reports, _READ)
        except BlockingIOError:
            return
        if not data:
            if self._loop is not None:
                self._loop.remove_reader(reports)
            return
        # The programs have ended before: what they wrote can be read by now, although nobody was told of it yet.
        self._drain(_READS_AFTER_END)
        self.ledger.told(data)
        self._wake_if_ended()

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
        if self._relayed and code is not None and code > 128:
            number = code - 128
        name = signal.Signals(number).name if number in set(signal.Signals) else ""
        self.ledger.exited(128 + number if name else code if code is not None else 1, name)
        self._wake_if_ended()
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
