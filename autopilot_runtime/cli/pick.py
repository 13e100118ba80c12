"""The picker of `--resume`: a list to move in and to filter; where that cannot be drawn, numbers and a line."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence

from autopilot_runtime.cli import safe
from autopilot_runtime.cli.overview import Row, lines
from autopilot_runtime.cli.screen import cells, clip
from autopilot_runtime.cli.tty import Facts, Paint

_NAMES = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down", b"\x1b[5~": "page up",
    b"\x1b[6~": "page down", b"\x1b[H": "home", b"\x1b[F": "end", b"\x1b": "escape", b"\r": "enter",
    b"\n": "enter", b"\x7f": "back", b"\b": "back", b"\x15": "clear", b"\x10": "up", b"\x0e": "down",
}  # fmt: skip
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.|[^\[O\x1b])")
_HELP = "↑ ↓ or j k move · type to filter · Enter picks · Esc leaves"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ESC_PATIENCE = 0.05
_LOOK = 0.25  # seconds between looks at the size of the terminal


class Picker:
    """What is shown and chosen, apart from any terminal. Letters j and k move until a filter is begun (also by /)."""

    def __init__(self, found: Sequence[Row], *, height: int = 8, older: int = 0) -> None:
        self._all = list(found)
        self._older = older  # not shown, and not searched
        self._height = 1
        self.fit(height)
        self.filter = ""
        self._filtering = False
        self.at = 0

    def fit(self, height: int) -> None:
        """Show at most so many rows."""
        self._height = max(height, 1)

    @property
    def left(self) -> list[Row]:
        """The rows that have every word of the filter."""
        words = self.filter.lower().split()
        return [
            one
            for one in self._all
            if all(word in f"{one.session_id} {one.agent} {one.task}".lower() for word in words)
        ]

    @property
    def chosen(self) -> Row | None:
        """The row the mark is on."""
        left = self.left
        return left[self.at] if left else None

    def press(self, key: str) -> bool | None:
        """Take a key. True: picked, False: left without, None: still choosing."""
        if key in self._moves():
            self.at = min(max(self.at + self._moves()[key], 0), max(len(self.left) - 1, 0))
            return None
        if key == "enter":
            return True if self.left else None
        if key == "escape" and not self._filtering:
            return False
        if not self._filtering and key.isdecimal() and 1 <= int(key) <= len(self._shown()):
            self.at = self._first() + int(key) - 1
            return True
        self._filter(key)
        return None

    def _moves(self) -> dict[str, int]:
        page, all_ = self._height, 10**6
        moves = {"up": -1, "down": 1, "page up": -page, "page down": page, "home": -all_, "end": all_}
        return moves if self._filtering else moves | {"k": -1, "j": 1}

    def _filter(self, key: str) -> None:
        if key in ("escape", "clear"):
            self._search("", on=False)
        elif key == "back":
            self._search(self.filter[:-1], on=len(self.filter) > 1)
        elif len(key) == 1 and key.isprintable():
            self._search(self.filter + ("" if key == "/" and not self._filtering else key), on=True)

    def _search(self, text: str, *, on: bool) -> None:
        self.filter, self._filtering, self.at = text, on, 0

    def _first(self) -> int:
        """The first row in the window: the mark stays inside."""
        return max(0, min(self.at - self._height // 2, len(self.left) - self._height))

    def _shown(self) -> list[Row]:
        return self.left[self._first() : self._first() + self._height]

    def drawn(self, paint: Paint, width: int) -> list[str]:
        """The lines to show."""
        out = [
            clip(
                f"Go on with which session?  {self.filter}▏" if self._filtering else "Go on with which session?",
                width,
            )
        ]
        for number, row in enumerate(self._shown(), 1):
            here = self._first() + number - 1 == self.at
            digit = str(number) if number < 10 and not self._filtering else " "
            head, *rest = lines(row, paint, width=width - 4)
            mark = paint("❯", "cyan", "bold") if here else " "
            out += [f"{mark} {digit} {head}", *(f"    {one}" for one in rest)]
        count = len(self.left)
        if not count:
            out.append("    nothing has all of these words")
        more = f"{count} of {len(self._all)} · " if count != len(self._all) or count > self._height else ""
        more += f"{self._older} older: --resume ID · " if self._older else ""
        return [*out, paint(clip(more + _HELP, width), "dim")]


def pick(found: Sequence[Row], facts: Facts, *, older: int = 0) -> Row | None:
    """The row a person chooses; None when they leave without. `older` are there, but not among these."""
    size = shutil.get_terminal_size()
    with _keyboard(facts) as read:
        if read is None or size.columns < 40 or size.lines < 8:
            return _by_number(found)
        return _live(Picker(found, older=older), Paint(facts.err_colour), read)


def _live(picker: Picker, paint: Paint, read: Callable[[], list[str]]) -> Row | None:
    text: list[str] = []
    try:
        while True:
            size = shutil.get_terminal_size()
            _erase(text)
            # Up to three lines a row where it is narrow, and a line above and below.
            picker.fit(min((size.lines - 3) // (2 if size.columns >= 80 else 3), 9))
            text = picker.drawn(paint, size.columns - 1)
            sys.stderr.write("\n".join(text) + "\n")
            sys.stderr.flush()
            while not (keys := read()) and shutil.get_terminal_size() == size:
                pass  # each read waits for a while
            for key in keys:
                done = picker.press(key)
                if done is not None:
                    return picker.chosen if done else None
    finally:
        _erase(text)
        sys.stderr.flush()


def _erase(text: Sequence[str]) -> None:
    """Take away what was drawn, also when the terminal has become narrower since, and has folded its lines."""
    if text:
        size = shutil.get_terminal_size()
        rows = sum(max(-(-cells(_COLOUR.sub("", line)) // size.columns), 1) for line in text)
        sys.stderr.write(f"\x1b[{min(rows, size.lines)}A\r\x1b[J")


@contextlib.contextmanager
def _keyboard(facts: Facts) -> Iterator[Callable[[], list[str]] | None]:
    """Keys one by one and unseen; None where that cannot be had. Ctrl+C still makes a signal."""
    try:
        import termios  # POSIX only
        import tty
    except ImportError:
        yield None
        return
    saved, fd = None, sys.stdin.fileno()
    if facts.live:
        with contextlib.suppress(termios.error, OSError):  # the terminal went away
            saved = termios.tcgetattr(fd)
    if saved is None:
        yield None
        return
    try:
        tty.setcbreak(fd, termios.TCSADRAIN)
        yield lambda: _keys(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSAFLUSH, saved)


def _keys(fd: int) -> list[str]:
    """The next keys, none when there are none for a while; the end of input leaves, like Esc."""
    if not select.select([fd], [], [], _LOOK)[0]:
        return []
    data = os.read(fd, 1024)
    if not data:
        return ["escape", "escape"]
    # A sequence may come in pieces; a letter in UTF-8, too.
    while data.endswith((b"\x1b", b"\x1b[", b"\x1bO")) and select.select([fd], [], [], _ESC_PATIENCE)[0]:
        data += os.read(fd, 1024)
    found = []
    while data:
        sequence = _SEQUENCE.match(data)
        size = sequence.end() if sequence else next((n for n in range(1, 5) if _is_letter(data[:n])), 1)
        key, data = data[:size], data[size:]
        # A key nobody asked for (an arrow to the side) does nothing: its Esc must not leave.
        found += [_NAMES[key]] if key in _NAMES else [] if sequence else [key.decode("utf-8", "replace")]
    return found


def _is_letter(data: bytes) -> bool:
    try:
        return len(data.decode("utf-8")) == 1
    except UnicodeDecodeError:
        return False


def _by_number(found: Sequence[Row]) -> Row | None:
    """A plain list and a line to type in, for terminals that cannot redraw."""
    plain, width = Paint(False), 79
    for number, row in enumerate(found[:20], 1):
        head, *rest = lines(row, plain, width=width - 4)
        sys.stderr.write("\n".join([f"{number:>2}  {head}", *(f"    {one}" for one in rest)]) + "\n")
    sys.stderr.flush()
    while True:
        try:
            typed = input("Number, or the beginning of an id (empty leaves): ").strip()
        except EOFError:
            return None
        if not typed:
            return None
        if typed.isdecimal() and 1 <= int(typed) <= min(len(found), 20):
            return found[int(typed) - 1]
        fit = [row for row in found if row.session_id.startswith(typed)]
        if len(fit) == 1:
            return fit[0]
        sys.stderr.write(f"{safe.one_line(typed, 80)} is not one of them.\n")
