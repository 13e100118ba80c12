"""The faces of a run: a terminal with a person, plain text for a log, JSON for a program."""

from __future__ import annotations

import sys
from typing import IO, Any

from autopilot_runtime.cli import wire
from autopilot_runtime.cli.approve import Approver
from autopilot_runtime.cli.keys import Keys
from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.tally import Tally
from autopilot_runtime.cli.view import View
from autopilot_runtime.core.event import Event, EventType


class TextFront:
    """Text on stdout, the rest on stderr; a live line and prompts when a person is there."""

    def __init__(self, screen: Screen, *, flow: bool) -> None:
        self.person = screen.facts.person
        self.tally = Tally()
        self.keys: Keys | None = None
        self._screen = screen
        self.view = View(screen, flow=flow)
        self._approver = Approver(screen, self.view)

    def show(self, event: Event) -> None:
        """Show one event."""
        self.tally.note(event, person=self.person)
        self.view.show(event)

    def tick(self) -> None:
        """Take keys, and draw the live line anew."""
        if self.keys is not None:
            self.keys.poll()
        # What is being typed comes first: the end of a live line may not fit.
        typed = f"› {self.keys.typed[-40:]}▏ " if self.keys is not None and self.keys.typed else ""
        self._screen.status(typed + self.tally.line())

    def answer(self, event: Event) -> Any:
        """Ask the person."""
        self._screen.end_text()
        if self.keys is None:
            return self._ask(event)
        with self.keys.resting():
            return self._ask(event)

    def _ask(self, event: Event) -> Any:
        if event.type is EventType.PERMISSION_REQUEST:
            return self._approver.permission(dict(event.data))
        return self._approver.question(dict(event.data))

    def clear(self) -> None:
        """Take the live line away and give the keyboard back."""
        if self.keys is not None:
            self.keys.release()
        self._screen.wipe()


class JsonFront:
    """Nothing (`json`) or one line per event (`jsonl`) on stdout. A program is asked nothing."""

    person = False

    def __init__(self, screen: Screen, *, lines: bool, out: IO[str] | None = None) -> None:
        self.tally = Tally()
        self._screen = screen
        self._lines = lines
        self._out = out or sys.stdout

    def show(self, event: Event) -> None:
        """Write the event at once, so that a reader sees it when it happens."""
        self.tally.note(event, person=False)
        if self._lines:
            self.write(wire.to_line(event))

    def write(self, line: str) -> None:
        """One line of output."""
        self._out.write(line + "\n")
        self._out.flush()

    def tick(self) -> None:
        """Show on a terminal's stderr that something moves, when stdout goes elsewhere."""
        if not self._screen.facts.out_tty:
            self._screen.status(self.tally.line())

    def answer(self, event: Event) -> Any:
        """Never asked."""

    def clear(self) -> None:
        """Take the live line away."""
        self._screen.wipe()
