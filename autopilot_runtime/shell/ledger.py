"""The books of one terminal: which command runs, what it wrote, how it ended. Pure: no files, no clock of its own."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from autopilot_runtime.shell.clean import SCREEN_BYTES, cap, readable
from autopilot_runtime.shell.marks import MarkDecoder, Report, ReportDecoder
from autopilot_runtime.shell.terminal import COLUMNS, MAX_CHARS, ROWS, CommandResult, Mode, Status
from autopilot_runtime.shell.transcript import Transcript, View

STARTING = 0
_KEYS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")  # all but tabs and line breaks
_QUICK_BYTES = 16_384


@dataclass(slots=True)
class Command:
    """One command on its way."""

    number: int
    text: str
    began: float
    output: Transcript
    ended: float | None = None
    report: Report | None = None
    marked: bool = False


@dataclass(slots=True)
class Look:
    """What was seen, before it is made readable: that may be done on another thread."""

    seen: Callable[..., CommandResult]
    view: View
    screen: bytes
    size: tuple[int, int]
    newline_returns: bool
    max_chars: int

    @property
    def takes_time(self) -> bool:
        """Whether making it readable could hold up an event loop."""
        raw = self.view.head + self.view.tail
        return len(raw) + len(self.screen) > _QUICK_BYTES and any(mark in raw for mark in (b"\x1b", b"\b", b"\x9b"))

    def result(self) -> CommandResult:
        """The look with its output as text."""
        if not self.view.size and not self.screen:
            return self.seen(output="", whole=not self.view.dropped)
        rows, columns = self.size
        text = readable(
            self.view, screen=self.screen, rows=rows, columns=columns, newline_returns=self.newline_returns
        )
        output, missing = cap(text.strip("\n"), self.max_chars)
        return self.seen(output=output, whole=not (missing or self.screen or self.view.dropped))


@dataclass(slots=True)
class Ledger:
    """Takes bytes and reports in, in any chunks; says when a command has ended and what it showed."""

    name: str
    cwd: str
    clock: Callable[[], float]
    rows: int = ROWS
    columns: int = COLUMNS
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    exit_code: int | None = None
    exit_signal: str = ""
    last_output: float = 0.0
    newline_returns: bool = True
    command: Command = field(init=False)
    _last_words: str = ""
    _marks: MarkDecoder = field(init=False)
    _reports: ReportDecoder = field(init=False)

    def __post_init__(self) -> None:
        self._marks, self._reports = MarkDecoder(self.nonce), ReportDecoder(self.nonce)
        self.command = Command(STARTING, "", self.clock(), Transcript())

    # ---------------------------------------------------------------- what comes in

    @property
    def next_number(self) -> int:
        """What the next command will be called."""
        return self.command.number + 1

    def begin(self, text: str) -> None:
        """A command starts. What arrived unseen since the last one stays in front of its output."""
        last = self.command
        unseen = last.output.delta() if last.output.unread and last.number != STARTING else View()
        output = Transcript(unseen.head + unseen.tail)
        self.command = Command(self.next_number, text, self.clock(), output)
        self._last_words = ""

    def typed(self, text: str) -> str:
        """What to send for a text. Several lines go as one paste to a program that tells pastes from typing.

        It would indent or complete typed lines. Not inside a full-screen program: there, keys are commands.
        """
        output, body = self.command.output, text.rstrip("\n")
        if not output.takes_pastes or output.in_screen or "\n" not in body or _KEYS.search(body):
            return text
        return f"\x1b[200~{body}\x1b[201~{text[len(body) :]}"

    def heard(self, data: bytes) -> None:
        """Bytes from the terminal."""
        self.last_output = self.clock()
        for piece in self._marks.feed(data):
            if isinstance(piece, bytes):
                self.command.output.add(piece)
            elif piece.kind == "D" and piece.value == str(self.command.number):
                self.command.marked = True
            elif piece.kind == "C" and piece.value == str(self.command.number):
                self.command.output = Transcript()  # the echo of a command that had to be typed
            elif piece.kind == "X" and piece.value.startswith("/"):
                self._last_words = piece.value

    def told(self, data: bytes) -> None:
        """Bytes from the private pipe."""
        for report in self._reports.feed(data):
            if report.number == self.command.number and self.command.report is None:
                self._end(report)

    def exited(self, code: int | None, signal: str = "") -> None:
        """The shell is gone."""
        self.command.output.add(self._marks.flush())
        self.exit_code, self.exit_signal = code, signal
        if self.command.ended is None:
            self.command.ended = self.clock()
            # Believed only now: a living shell tells its folder on the private pipe.
            self.cwd = self._last_words or self.cwd

    def _end(self, report: Report) -> None:
        self.command.output.add(self._marks.flush())  # half a mark that nothing follows was somebody's output
        if report.number == STARTING:
            self.command.output = Transcript()  # greetings of the shell and the terminal
        self.command.report, self.command.ended = report, self.clock()
        self.cwd = report.cwd

    # ---------------------------------------------------------------- what can be said

    @property
    def gone(self) -> bool:
        return self.exit_code is not None or bool(self.exit_signal)

    @property
    def running(self) -> bool:
        return self.command.ended is None

    @property
    def status(self) -> Status:
        if self.running:
            return "running"
        return "completed" if self.command.report is not None else "exited"

    @property
    def return_code(self) -> int | None:
        if self.running:
            return None
        return self.command.report.return_code if self.command.report else self.exit_code

    def elapsed(self) -> float:
        """Seconds the newest command took, or has taken so far."""
        ended = self.command.ended
        return (self.clock() if ended is None else ended) - self.command.began

    def look(self, mode: Mode, notes: tuple[str, ...] = (), *, max_chars: int = MAX_CHARS) -> Look:
        """What one look sees; everything up to here counts as seen afterwards."""
        output = self.command.output
        view = output.delta() if mode == "delta" else output.full()
        output.mark_read()
        seen = partial(
            CommandResult,
            session_id=self.name,
            status=self.status,
            return_code=self.return_code,
            cwd=self.cwd,
            elapsed=self.elapsed(),
            mode=mode,
            number=self.command.number,
            total_bytes=output.total,
            dropped_bytes=view.dropped,
            notes=notes + self._end_notes(),
            id=f"{self.id}/{self.command.number}",
        )
        # A part of what a full-screen program drew can only be shown on what was there before.
        needs_screen = output.in_screen or (mode == "delta" and view.size > 0)
        screen = output.last(SCREEN_BYTES) if needs_screen else b""
        return Look(seen, view, screen, (self.rows, self.columns), self.newline_returns, max_chars)

    def _end_notes(self) -> tuple[str, ...]:
        if self.status != "exited":
            return ()
        how = f"killed by {self.exit_signal}" if self.exit_signal else f"exit code {self.exit_code}"
        return (f"the shell ended, {how}; the next execute starts a fresh one in the same folder",)
