"""Some lines of a file as text, with what one has to know to read on."""

from __future__ import annotations

from dataclasses import dataclass

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.tool.scan import Scan, decode, hex_summary, is_binary


@dataclass(frozen=True, slots=True)
class Window:
    """Lines `first` to `last` of `total` (None: too many to count). `binary` holds a summary instead of text."""

    path: str
    text: str
    first: int
    last: int
    total: int | None
    size: int
    note: str = ""
    binary: str = ""
    cut: bool = False  # the text ends before the last line that was asked for

    @property
    def lines(self) -> list[str]:
        """The lines without their ends."""
        lines = self.text.split("\n")
        if not lines[-1]:
            lines.pop()
        return [line.removesuffix("\r") for line in lines]

    @property
    def is_all(self) -> bool:
        """Whether this is the whole file."""
        return self.first <= 1 and not self.cut and self.total is not None and self.last >= self.total


def window(path: str, found: Scan, start: int) -> Window:
    """The window a scan took."""
    if is_binary(found.head):
        return Window(path, "", 0, 0, None, found.size, binary=hex_summary(found.head, found.size, found.digest))
    if found.lines is not None and start > max(found.lines, 1):
        raise ToolError(f"{path} has {found.lines} lines; line {start} is beyond its end.")
    data = found.window
    note = ""
    if found.cut:
        # A window that ends in the middle of a line ends before it, unless that line is all there is.
        data = data[: data.rfind(b"\n") + 1] or data
        note = "" if data.endswith(b"\n") else "the line is longer than what can be read at once"
    decoded = decode(data)
    count = data.count(b"\n") + (1 if data and not data.endswith(b"\n") else 0)
    notes = "; ".join(part for part in (decoded.note, note) if part)
    return Window(path, decoded.text, start, start + count - 1, found.lines, found.size, notes, cut=found.cut)


def check_range(start: int, end: int | None) -> None:
    """Refuse line numbers that cannot be meant."""
    if start < 1:
        raise ToolError(f"start_line={start}: lines are counted from 1.")
    if end is not None and end < start:
        raise ToolError(f"start_line={start}, end_line={end}: the end lies before the start.")
