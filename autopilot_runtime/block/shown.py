"""What of a reply may be seen while it arrives: prose, completion, and that the control block opened or closed."""

from __future__ import annotations

from typing import Literal

from autopilot_runtime.block.reply import Piece, Window

CompletionState = Literal["none", "open", "closed"]


class Shown:
    """Collects shown text; `pieces` hands over what is new."""

    def __init__(self) -> None:
        self.completion_state: CompletionState = "none"
        self._new: list[tuple[Window, str]] = []
        self._prose: list[str] = []
        self._said: list[str] = []
        self._newline = ""  # a line end of the completion; dropped when nothing follows it

    @property
    def prose(self) -> str:
        """All prose so far."""
        return "".join(self._prose)

    @property
    def completion(self) -> str:
        """The completion so far."""
        return "".join(self._said)

    def tell(self, text: str) -> None:
        """Show prose."""
        self._prose.append(text)
        self._new.append(("prose", text))

    def mark(self, what: Literal["opened", "closed"]) -> None:
        """Show that the control block opened or closed."""
        self._new.append(("control", what))

    def open_completion(self) -> None:
        """Begin a completion; a further one becomes a paragraph of the first."""
        if self._said:
            self._add("\n\n")
        self.completion_state = "open"

    def say(self, text: str) -> None:
        """Show text of the completion, but hold back its last line end."""
        text = self._newline + text
        keep = len(text)
        if text.endswith("\n"):
            keep -= 2 if text.endswith("\r\n") else 1
        elif text.endswith("\r"):
            keep -= 1
        self._newline = text[keep:]
        if keep:
            self._add(text[:keep])

    def close_completion(self, *, ended: bool = True) -> None:
        """The completion is over: its last line end is not part of it."""
        if self._newline == "\r":
            self._add("\r")
        self._newline = ""
        self.completion_state = "closed" if ended else "open"

    def pieces(self) -> list[Piece]:
        """What is new since the last time, neighbours of one window joined."""
        pieces: list[Piece] = []
        run: list[str] = []
        new, self._new = self._new, []
        for at, (window, text) in enumerate(new):
            if window == "control":
                pieces.append(Piece(window, mark="opened" if text == "opened" else "closed"))
                continue
            run.append(text)
            if at + 1 == len(new) or new[at + 1][0] != window:
                pieces.append(Piece(window, "".join(run)))
                run = []
        return pieces

    def _add(self, text: str) -> None:
        self._said.append(text)
        self._new.append(("completion", text))
