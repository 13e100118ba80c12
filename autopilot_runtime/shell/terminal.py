"""What a terminal is to the rest of the house: a `Terminal` seam and the `CommandResult` it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

Status = Literal["completed", "running", "exited"]
# `new`: the first look at a command. `delta`: what came since the last look. `full`: everything, once more.
Mode = Literal["new", "delta", "full"]
# Wide enough for most output; wider only makes test runners draw longer rules for the model to read.
ROWS, COLUMNS = 50, 120
MAX_CHARS = 20_000  # of one look; the model pays for every one


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What one look at a command saw. `number` counts the commands of a terminal, so looks can be matched."""

    session_id: str
    status: Status
    return_code: int | None
    cwd: str
    elapsed: float
    output: str
    mode: Mode = "new"
    number: int = 0
    total_bytes: int = 0
    dropped_bytes: int = 0
    notes: tuple[str, ...] = ()
    id: str = ""  # of the command, different from that of every other command of any terminal
    whole: bool = False  # nothing of what it looked at was left out

    def value(self) -> dict[str, Any]:
        """What a control block gets: plain data to test and print."""
        return {
            "status": self.status,
            "return_code": self.return_code,
            "output": self.output,
            "cwd": self.cwd,
            "elapsed": round(self.elapsed, 3),
            "mode": self.mode,
            "command_number": self.number,
        }

    def shown(self) -> str:
        """What the model reads: one status line, notes, output."""
        head = [f"[{self.session_id}] {self.status}"]
        if self.return_code is not None:
            head.append(f"return_code {self.return_code}")
        head += [f"{self.elapsed:.1f} s", f"cwd {self.cwd}"]
        if self.mode != "new":
            head.append({"delta": "new output since the last look", "full": "complete output"}[self.mode])
        lines = [", ".join(head), *(f"({note})" for note in self.notes)]
        return "\n".join([*lines, self.output or "(no output)"])


@dataclass(frozen=True, slots=True)
class TerminalState:
    """One line of the status block: what a terminal is doing now."""

    session_id: str
    pid: int | None
    status: Literal["not started", "idle", "running", "exited"]
    cwd: str
    shell: str
    command: str = ""
    elapsed: float = 0.0
    background: tuple[str, ...] = ()


@runtime_checkable
class Terminal(Protocol):
    """A shell that keeps its state between commands. One command runs at a time."""

    name: str
    shell: str
    pid: int | None
    max_chars: int

    @property
    def cwd(self) -> str:
        """The shell's folder, as it last told."""
        ...

    @property
    def alive(self) -> bool: ...

    @property
    def running(self) -> bool:
        """Whether a command has not ended yet."""
        ...

    def state(self) -> TerminalState: ...

    async def start(self) -> None:
        """Bring the shell up; returns when it is ready for its first command."""

    async def run(self, command: str, *, timeout: float) -> CommandResult:
        """Run a command and wait for its end, at most `timeout` seconds. Cancelling kills all it started."""
        ...

    async def read(self, *, timeout: float) -> CommandResult:
        """New output of the newest command; all of it when there is nothing new and it has ended."""
        ...

    async def send(self, text: str, *, timeout: float) -> CommandResult:
        """Type into the running command, and see what it answers."""
        ...

    def resize(self, rows: int, columns: int) -> None: ...

    def kill(self) -> None:
        """End the shell and everything it started, now."""

    async def close(self) -> None:
        """Kill, reap, and give every descriptor back."""
