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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopilot_runtime.confine.wall import Wall
from autopilot_runtime.core.errors import MissingExtra, ToolError
from autopilot_runtime.shell.terminal import COLUMNS, MAX_CHARS, ROWS
from autopilot_runtime.shell.watch import WatchedTerminal

_START_SECONDS = 30.0
_STARTING = 0


@dataclass(frozen=True, slots=True)
class WindowsDialect:
    """How one shell of Windows is started and told to run a file. In `line`: the names of files, see `tell`."""

    name: str
    programs: tuple[str, ...]
    arguments: str
    suffix: str
    prologue: str
    line: str
    setup: str = ""
    doubled: str = ""  # what a quoted name must have twice

    def tell(self, command: str, number: int, *, folder: Path, nonce: str) -> tuple[dict[Path, str], str]:
        """The files to write for a command, and the line to type then.

        The line shows `begin` (a mark), runs `path`, writes exit code and folder to `end`, and shows `mark`.
        """
        names = {kind: folder / f"{number}.{kind}" for kind in ("begin", "mark", "end")}
        names |= {"path": folder / f"{number}{self.suffix}", "report": folder / "report.cmd"}
        files = {
            names["path"]: self.prologue + command.replace("\r\n", "\n").replace("\n", "\r\n"),
            names["begin"]: f"\x1b]633;C;{nonce};{number}\x07",
            names["mark"]: f"\x1b]633;D;{nonce};{number}\x07",
        }
        quoted = {kind: str(name).replace(self.doubled or "\0", self.doubled * 2) for kind, name in names.items()}
        return files, self.line.format(**quoted)


_POWERSHELL = WindowsDialect(
    "powershell",
    ("pwsh.exe", "powershell.exe"),
    "-NoLogo -NoProfile -NoExit",
    ".ps1",
    doubled="'",
    prologue="\ufeff",  # PowerShell 5 takes a file without this signature for the old code page
    setup="Remove-Module PSReadLine -ErrorAction Ignore; function prompt { '' }; "
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


def report_of(text: str) -> tuple[int, str]:
    """Exit code and folder from what a shell wrote to its `end` file."""
    code, _, cwd = text.lstrip("\ufeff").strip().partition(";")
    return int(code) & 0xFFFFFFFF if code.lstrip("-").isdigit() else 1, cwd


class WindowsTerminal(WatchedTerminal):
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
        self.dialect = WINDOWS_DIALECTS[shell or "powershell"]
        super().__init__(name, self.dialect.name, cwd=cwd, size=size, max_chars=max_chars)
        self._env = dict(env)
        self._files = run_dir / marker.rpartition("/")[2]
        self._pty: Any = None

    @property
    def _has_shell(self) -> bool:
        return self._pty is not None

    # ---------------------------------------------------------------- starting and ending

    async def start(self) -> None:
        """Bring the shell up."""
        self._check_folder(Wall())
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
        self._pty.write(self.dialect.setup)
        self._give("", _STARTING)
        await self._started(program, _START_SECONDS)

    def _set_size(self, rows: int, columns: int) -> None:
        self._pty.set_size(columns, rows)

    def _end_tree(self, *, living: bool) -> None:
        if living:
            subprocess.run(["taskkill", "/PID", str(self.pid), "/T", "/F"], capture_output=True, check=False)
            self._pty.cancel_io()  # the reading thread has nothing to wait for

    def _check_exit(self) -> None:
        """The reading thread tells."""

    def _release(self) -> None:
        self._pty = None
        shutil.rmtree(self._files, ignore_errors=True)

    # ---------------------------------------------------------------- writing

    def _give(self, command: str, number: int) -> None:
        files, line = self.dialect.tell(command, number, folder=self._files, nonce=self.ledger.nonce)
        try:
            for path, text in files.items():
                path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as error:
            raise ToolError(f"The command could not be handed to the shell: {error}; nothing was run.") from error
        self._pty.write(line)

    async def _type(self, text: str, deadline: float) -> tuple[str, ...]:
        self._pty.write(text.replace("\n", "\r"))
        return ()

    # ---------------------------------------------------------------- reading

    def _attach(self) -> None:
        self._loop = asyncio.get_running_loop()

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
        self._wake_if_ended()

    def _read_report(self, number: int) -> None:
        with contextlib.suppress(FileNotFoundError):  # a mark nobody of ours wrote
            code, cwd = report_of((self._files / f"{number}.end").read_text("utf-8", "replace"))
            self.ledger.told(f"{self.ledger.nonce};{number};{code};{cwd}\n\0".encode())
            for file in self._files.glob(f"{number}.*"):
                file.unlink(missing_ok=True)


def _pseudo_console(columns: int, rows: int) -> Any:
    # Imported here: the package exists on Windows only.
    try:
        from winpty import PTY
    except ImportError as error:
        raise MissingExtra("A terminal", "pywinpty") from error
    return PTY(columns, rows)
