"""A terminal on Windows: PowerShell or cmd behind a ConPTY, read by a thread of its own.

Not yet run on Windows by its authors: it is written against the type stubs of pywinpty 3. What differs from POSIX:
the report of a command's end is a file in the private folder (a mark in the output only says when to look), commands
are typed (so their echo is cut away at a mark), and what a terminal started is killed by `taskkill /T`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autopilot_runtime.core.errors import MissingExtra, ToolError
from autopilot_runtime.shell.ledger import Ledger
from autopilot_runtime.shell.terminal import COLUMNS, MAX_CHARS, ROWS, CommandResult, Mode, TerminalState

_START_SECONDS = 30.0
_QUIET_AFTER_INPUT = 0.4
_QUIET_WHILE_READING = 2.0


@dataclass(frozen=True, slots=True)
class WindowsDialect:
    """How one shell of Windows is started and told to run a file. `{mark}`, `{end}`: files of the private folder."""

    name: str
    programs: tuple[str, ...]
    arguments: str
    suffix: str
    prologue: str
    line: str
    setup: str = ""


_POWERSHELL = WindowsDialect(
    "powershell",
    ("pwsh.exe", "powershell.exe"),
    "-NoLogo -NoProfile -NoExit",
    ".ps1",
    prologue="",
    setup="Remove-Module PSReadLine -ErrorAction Ignore; function prompt {{ '' }}; "
    "[Console]::OutputEncoding = [Text.UTF8Encoding]::new()\r",
    line="[Console]::Write([IO.File]::ReadAllText('{begin}')); $global:LASTEXITCODE = 0; . '{path}'; "
    "$__ok = $?; [IO.File]::WriteAllText('{end}', "
    '"$(if ($LASTEXITCODE) {{ $LASTEXITCODE }} elseif ($__ok) {{ 0 }} else {{ 1 }});$($PWD.Path)"); '
    "[Console]::Write([IO.File]::ReadAllText('{mark}'))\r",
)
_CMD = WindowsDialect(
    "cmd",
    ("cmd.exe",),
    "/D /Q /K prompt $S",
    ".cmd",
    prologue="@echo off\r\n",
    line='type "{begin}" & call "{path}" & call "{report}" "{end}" & type "{mark}"\r',
)
_REPORT_CMD = '@set "__autopilot_code=%errorlevel%"\r\n@>"%~1" echo %__autopilot_code%;%cd%\r\n'
WINDOWS_DIALECTS = {"powershell": _POWERSHELL, "cmd": _CMD}


class WindowsTerminal:
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
    ) -> None:
        if shell is not None and shell not in WINDOWS_DIALECTS:
            raise ToolError(f"There is no shell {shell!r} on this system. Use one of: {', '.join(WINDOWS_DIALECTS)}.")
        self.name = name
        self.dialect = WINDOWS_DIALECTS[shell or "powershell"]
        self.shell = self.dialect.name
        self.pid: int | None = None
        self.max_chars = max_chars
        self.ledger = Ledger(name, cwd, time.monotonic, rows=size[0], columns=size[1])
        self._env = dict(env)
        self._files = run_dir / marker.rpartition("/")[2]
        self._pty: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._killed = False

    @property
    def cwd(self) -> str:
        return self.ledger.cwd

    @property
    def alive(self) -> bool:
        return self._pty is not None and not self.ledger.gone and not self._killed

    @property
    def running(self) -> bool:
        return self.alive and self.ledger.running

    def state(self) -> TerminalState:
        """One line of the status block."""
        status: Literal["idle", "running", "exited"] = "exited" if not self.alive else "idle"
        if self.running:
            return TerminalState(
                self.name, self.pid, "running", self.cwd, self.shell, self.ledger.command.text, self.ledger.elapsed()
            )
        return TerminalState(self.name, self.pid, status, self.cwd, self.shell)

    # ---------------------------------------------------------------- what can be asked of it

    async def start(self) -> None:
        """Bring the shell up."""
        program = next(filter(None, map(shutil.which, self.dialect.programs)), None)
        if program is None:
            raise ToolError(f"The shell {self.shell} is not installed.")
        self._files.mkdir(mode=0o700)
        (self._files / "report.cmd").write_text(_REPORT_CMD, encoding="ascii", newline="")
        self._pty = _pseudo_console(self.ledger.columns, self.ledger.rows)
        block = "\0".join(f"{key}={value}" for key, value in self._env.items()) + "\0"
        if not self._pty.spawn(program, cmdline=" " + self.dialect.arguments, cwd=self.cwd, env=block):
            raise ToolError(f"The shell {program} could not be started.")
        self.pid = int(self._pty.pid)
        self._attach()
        threading.Thread(target=self._serve, name=f"autopilot-terminal-{self.name}", daemon=True).start()
        self._pty.write(self.dialect.setup.format())
        self._type_command("", 0)
        await self._wait(_START_SECONDS)
        if self.ledger.running or self.ledger.gone:
            await self.close()
            raise ToolError(f"The shell {program} did not start.")

    async def run(self, command: str, *, timeout: float) -> CommandResult:
        """Run a command and wait for its end, at most `timeout` seconds. Cancelling kills all it started."""
        if self.running:
            raise ToolError(
                f"Terminal {self.name!r} is still running: {self.ledger.command.text[:80]}. Use read_output to wait, "
                'send_input to answer it ("\\x03" interrupts), or execute in another terminal (new_terminal=True).'
            )
        if "\0" in command:
            raise ToolError("A command cannot contain a NUL character; nothing was run.")
        self._attach()
        self._ended.clear()
        self._type_command(command, self.ledger.begin(command))
        with self._killing_when_cancelled():
            await self._wait(timeout)
        return await self._look("new")

    async def read(self, *, timeout: float) -> CommandResult:
        """New output of the newest command; all of it when there is nothing new and it has ended."""
        self._attach()
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
        self._pty.write(text.replace("\n", "\r"))
        with self._killing_when_cancelled():
            await self._wait(timeout, quiet=_QUIET_AFTER_INPUT)
        return await self._look("delta")

    def resize(self, rows: int, columns: int) -> None:
        """Tell the programs in it about a new size."""
        self.ledger.rows, self.ledger.columns = rows, columns
        if self.alive:
            self._pty.set_size(columns, rows)

    def kill(self) -> None:
        """End the shell and everything it started, now."""
        living = self.pid is not None and not self.ledger.gone
        self._killed = True
        if living:
            subprocess.run(["taskkill", "/PID", str(self.pid), "/T", "/F"], capture_output=True, check=False)

    async def close(self) -> None:
        """Kill, and give everything back."""
        await asyncio.to_thread(self.kill)
        if self._pty is None:
            return
        self._pty.cancel_io()
        deadline = time.monotonic() + _START_SECONDS
        while not self.ledger.gone and time.monotonic() < deadline:
            self._ended.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), 0.05)
        self._pty = None
        shutil.rmtree(self._files, ignore_errors=True)

    # ---------------------------------------------------------------- telling the shell

    def _type_command(self, command: str, number: int) -> None:
        path = self._files / f"{number}{self.dialect.suffix}"
        begin, mark, end = (self._files / f"{number}.{kind}" for kind in ("begin", "mark", "end"))
        # PowerShell 5 takes a file without this signature for the old code page.
        text = "\ufeff" + command if self.dialect is _POWERSHELL else self.dialect.prologue + command
        path.write_text(text.replace("\r\n", "\n").replace("\n", "\r\n"), encoding="utf-8", newline="")
        begin.write_bytes(f"\x1b]633;C;{self.ledger.nonce};{number}\x07".encode())
        mark.write_bytes(f"\x1b]633;D;{self.ledger.nonce};{number}\x07".encode())
        names = {"path": path, "begin": begin, "mark": mark, "end": end, "report": self._files / "report.cmd"}
        quoted = {key: str(value).replace("'", "''") for key, value in names.items()}
        self._pty.write(self.dialect.line.format(**quoted))

    # ---------------------------------------------------------------- hearing it

    def _attach(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._ended = loop, asyncio.Event()

    def _serve(self) -> None:
        """The reading thread: everything it hears is told to the loop."""
        pty = self._pty
        with contextlib.suppress(Exception):  # pywinpty raises its own plain errors at the end of the pipe
            while text := pty.read(blocking=True):
                self._on_loop(text)
        code = pty.get_exitstatus()
        self._on_loop(None if code is None else int(code))

    def _on_loop(self, what: str | int | None) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed; the next one to use the terminal goes on
                loop.call_soon_threadsafe(self._heard, what)

    def _heard(self, what: str | int | None) -> None:
        ledger = self.ledger
        if isinstance(what, str):
            ledger.heard(what.encode("utf-8", "replace"))
            if ledger.command.marked and ledger.command.report is None:
                self._read_report(ledger.command.number)
        else:
            ledger.exited(1 if what is None else what)
        if not ledger.running:
            self._ended.set()

    def _read_report(self, number: int) -> None:
        with contextlib.suppress(FileNotFoundError):  # a mark nobody of ours wrote
            code, _, cwd = (self._files / f"{number}.end").read_text("utf-8", "replace").strip().partition(";")
            exit_code = int(code) & 0xFFFFFFFF if code.lstrip("-").isdigit() else 1
            self.ledger.told(f"{self.ledger.nonce};{number};{exit_code};{cwd}\n\0".encode())
            for file in self._files.glob(f"{number}.*"):
                file.unlink(missing_ok=True)

    async def _wait(self, timeout: float, *, quiet: float | None = None) -> None:
        deadline = began = time.monotonic()
        deadline += max(timeout, 0.0)
        while self.ledger.running and (now := time.monotonic()) < deadline:
            step = deadline - now
            if quiet is not None:
                left = max(self.ledger.last_output, began) + quiet - now
                if self.ledger.command.output.unread and left <= 0:
                    return
                step = min(step, left if left > 0 else quiet)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), max(step, 0.001))

    @contextlib.contextmanager
    def _killing_when_cancelled(self) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            self.kill()
            raise

    async def _look(self, mode: Mode) -> CommandResult:
        look = self.ledger.look(mode, max_chars=self.max_chars)
        return await asyncio.to_thread(look.result) if look.takes_time else look.result()


def _pseudo_console(columns: int, rows: int) -> Any:
    # Imported here: the package exists on Windows only.
    try:
        from winpty import PTY
    except ImportError as error:
        raise MissingExtra("A terminal", "pywinpty") from error
    return PTY(columns, rows)
