"""What the demo shows: a run as always, the tests' own output, and a person who visibly answers y."""

from __future__ import annotations

import re
from typing import Any

from autopilot_runtime.cli import safe
from autopilot_runtime.cli.approve import Approver
from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.tally import Tally
from autopilot_runtime.cli.view import View
from autopilot_runtime.core.event import Event, EventType

_OUTPUT_LINES = 30
_RED = re.compile(r"(FAIL|ERROR|AssertionError)")


class DemoFront:
    """A terminal in which nobody has to type."""

    person = True

    def __init__(self, screen: Screen) -> None:
        self.tally = Tally()
        self.view = View(screen, flow=True)
        self._screen = screen
        self._approver = Approver(screen, self.view, read=self._y)

    def show(self, event: Event) -> None:
        """Show one event; what a command printed, too."""
        self.tally.note(event, person=True)
        self.view.show(event)
        if event.type is EventType.TOOL_RESULT and event.tool == "execute":
            self._output(str(event.result))

    def tick(self) -> None:
        """Draw the live line anew."""
        self._screen.status(self.tally.line())

    def answer(self, event: Event) -> Any:
        """Yes to the edit. The demo's agent asks no questions."""
        self._screen.end_text()
        if event.type is EventType.PERMISSION_REQUEST:
            return self._approver.permission(dict(event.data))
        return None

    def clear(self) -> None:
        """Take the live line away."""
        self._screen.wipe()

    def _y(self, prompt: str, _: str) -> str:
        self._screen.line(f"{prompt}y   {self._screen.paint('← the demo answers y', 'dim')}")
        return "y"

    def _output(self, text: str) -> None:
        paint = self._screen.paint
        for line in [safe.one_line(line) for line in text.splitlines() if line.strip()][:_OUTPUT_LINES]:
            colour = "red" if _RED.match(line) else "green" if line == "OK" else "dim"
            self._screen.line(f"    {paint('│', 'dim')} {paint(line, colour)}")
