"""`autopilot replay`: a recorded run as it happened. Nothing is called, nothing is changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autopilot_runtime.block.parser import ReplyParser
from autopilot_runtime.block.reply import Piece
from autopilot_runtime.cli import figures, safe, wire
from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.tally import Tally
from autopilot_runtime.cli.tty import look
from autopilot_runtime.cli.view import View
from autopilot_runtime.core.errors import ReplayError, SetupError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.shelf import shelf
from autopilot_runtime.model.cassette import Cassette, Record

_LONGEST_PAUSE = 2.0
_PROMPT_LINES = 20
Sleep = Callable[[float], None]


def replay_command(recording: Path, *, speed: float, sleep: Sleep = time.sleep) -> ExitCode:
    """Show every recording of a file or folder."""
    screen = Screen(look())
    pause = _pauser(speed, sleep)
    for file in _files(recording):
        try:
            first = _first_line(file)
            if "chunks" in first:
                Tape(screen, pause).play(Cassette(file))
            elif "seq" in first and "type" in first:
                _play_events(file, screen, pause)
            else:
                raise SetupError(f"{file} is neither a cassette nor the output of `autopilot run --output jsonl`.")
        finally:
            screen.end_text()
    return ExitCode.DONE


def _files(recording: Path) -> list[Path]:
    if not recording.exists() and len(recording.parts) == 1:
        # A bare name that is no file here: a recording we ship.
        shipped = shelf("sessions")
        recording = next((p for p in (shipped / recording, shipped / f"{recording}.jsonl") if p.exists()), recording)
    if recording.is_dir():
        found = sorted(recording.rglob("*.jsonl"))
        if not found:
            raise SetupError(f"There is no recording (*.jsonl) in {recording}.")
        return found
    if not recording.is_file():
        raise SetupError(f"There is no recording {recording}.")
    return [recording]


def _first_line(file: Path) -> dict[str, Any]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip():
                return _object(line, file, 1)
    raise ReplayError(f"{file} is empty.")


def _object(line: str, file: Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ReplayError(f"{file}:{number}: not a line of JSON ({error}).") from error
    if not isinstance(value, dict):
        raise ReplayError(f"{file}:{number}: not a JSON object.")
    return value


def _pauser(speed: float, sleep: Sleep) -> Callable[[float], None]:
    def pause(seconds: float) -> None:
        if speed > 0 and seconds > 0:
            sleep(min(seconds, _LONGEST_PAUSE) / speed)

    return pause


def _play_events(file: Path, screen: Screen, pause: Callable[[float], None]) -> None:
    view, tally, before = View(screen, flow=True), Tally(), None
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            value = _object(line, file, number) if line.strip() else {}
            if "seq" not in value:
                continue
            try:
                event = wire.from_dict(value)
            except (KeyError, TypeError, ValueError) as error:
                raise ReplayError(f"{file}:{number}: not an event ({error}).") from error
            if event is None:
                continue
            pause(event.ts - before if before is not None else 0.0)
            before = event.ts
            if event.type is EventType.START:
                screen.line(f"{screen.paint('task:', 'bold')} {safe.prose(str(event.data.get('task')))}")
            tally.note(event, person=True)
            view.show(event)
            screen.status(tally.line())
    screen.end_text()
    cost = figures.dollars(tally.cost)
    what = f"{figures.count(tally.step, 'step')} · {figures.tokens(tally.tokens)} · recorded {cost}, spent $0.00"
    screen.line(screen.paint(what, "dim"))


class Tape:
    """Plays the model calls of a cassette: what was asked in short, and the reply token by token."""

    def __init__(self, screen: Screen, pause: Callable[[float], None]) -> None:
        self._screen = screen
        self._pause = pause

    def play(self, cassette: Cassette) -> None:
        """All records, in order."""
        cost: float | None = 0.0
        for record in cassette.records:
            self._asked(record)
            self._reply(record)
            known = cost is not None and record.usage.cost_usd is not None
            cost = (cost or 0.0) + (record.usage.cost_usd or 0.0) if known else None
        calls = figures.count(len(cassette.records), "model call")
        self._screen.line(self._screen.paint(f"{calls} · recorded {figures.dollars(cost)}, spent $0.00", "dim"))

    def _asked(self, record: Record) -> None:
        lines = [line for line in record.prompt.splitlines() if line.strip() and line.strip() != "<status>"]
        for line in lines[:_PROMPT_LINES]:
            self._screen.line(self._screen.paint(f"  {safe.one_line(line, 200)}", "dim"))
        if len(lines) > _PROMPT_LINES:
            self._screen.line(self._screen.paint(f"  … {len(lines) - _PROMPT_LINES} more lines", "dim"))
        self._screen.line()

    def _reply(self, record: Record) -> None:
        parser = ReplyParser()
        for chunk in record.chunks:
            self._pause(chunk.after_ms / 1000)
            if not chunk.thought:
                self._show(parser.feed(chunk.text))
        reply = parser.finish(cut=record.stop in ("length", "context"))
        self._show(reply.tail)
        self._screen.end_text()
        if reply.control is not None:
            for line in reply.control.code.rstrip().splitlines():
                self._screen.line(self._screen.paint(f"  │ {safe.one_line(line)}", "cyan"))
        self._screen.line()

    def _show(self, pieces: Iterator[Piece] | list[Piece] | tuple[Piece, ...]) -> None:
        for piece in pieces:
            self._screen.text(piece.text)
