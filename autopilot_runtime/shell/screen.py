"""A small terminal screen: what a full-screen program shows, or a progress display leaves, as plain text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f-\x9f]+)"
    r"|(?:\x1b\[|\x9b)(?P<params>[0-?]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b(?P<esc>[ -/]*[0-Z\\^-~])"
    r"|(?P<control>[\s\S])"
)
# The line-drawing character set of VT100, as programs with `ESC ( 0` use it.
_LINES = str.maketrans("`afgjklmnopqrstuvwxyz{|}~", "◆▒°±┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")
_WIDEST = 2_000  # columns of a line that never wraps; also bounds what one hostile sequence can cost
Line = list[str]


class Screen:
    """Rows of cells, a cursor, and what scrolled off the top. `wrap=False`: lines are as long as they are."""

    def __init__(self, rows: int, columns: int, *, wrap: bool = True, newline_returns: bool = True) -> None:
        self.rows = rows
        self.columns = columns if wrap else _WIDEST
        self.wrap = wrap
        self.newline_returns = newline_returns
        self.lines: list[Line] = [[] for _ in range(rows)]
        self.scrolled: list[str] = []
        self.y = self.x = 0
        self.top, self.bottom = 0, rows - 1
        self._saved = (0, 0)
        self._drawing = False
        self._last = " "

    def feed(self, text: str) -> None:
        """Act on text in which strings like OSC have been removed."""
        for token in _TOKEN.finditer(text):
            kind = token.lastgroup
            if kind == "text":
                self._write(token["text"])
            elif kind == "final":
                self._sequence(token["params"], token["final"])
            elif kind == "esc":
                self._escape(token["esc"])
            else:
                self._control(token["control"])

    def text(self) -> str:
        """Everything that scrolled off and is on the screen, without trailing blanks."""
        return "\n".join([*self.scrolled, self.shown()]).rstrip()

    def shown(self) -> str:
        """What is on the screen."""
        return "\n".join(map(_joined, self.lines)).rstrip()

    # ---------------------------------------------------------------- writing

    def _write(self, text: str) -> None:
        self._last = text[-1]
        if self._drawing:
            text = text.translate(_LINES)
        if not text.isascii():
            for char in text:
                self._put(char)
        elif self.wrap:
            while text:
                self._wrap_if_full(1)
                piece, text = text[: self.columns - self.x], text[self.columns - self.x :]
                self._overwrite(piece)
        else:
            self._overwrite(text)

    def _overwrite(self, piece: str) -> None:
        line = self._line_to(self.x)
        line[self.x : self.x + len(piece)] = piece
        self.x += len(piece)

    def _put(self, char: str) -> None:
        if unicodedata.combining(char) or char in "\u200d\ufe0f":
            line = self.lines[self.y]
            if 0 < self.x <= len(line) and len(line[self.x - 1]) < 16:
                line[self.x - 1] += char
            return
        wide = unicodedata.east_asian_width(char) in "WF"
        self._wrap_if_full(2 if wide else 1)
        cells = [char, ""] if wide else [char]
        self._line_to(self.x)[self.x : self.x + len(cells)] = cells
        self.x += len(cells)

    def _wrap_if_full(self, needed: int) -> None:
        if self.wrap and self.x + needed > self.columns:
            self.x = 0
            self._down()

    def _line_to(self, column: int) -> Line:
        line = self.lines[self.y]
        if len(line) < column:
            line.extend(" " * (column - len(line)))
        return line

    # ---------------------------------------------------------------- moving

    def _control(self, char: str) -> None:
        if char in "\n\x0b\x0c\x85":
            if self.newline_returns or char == "\x85":
                self.x = 0
            self._down()
        elif char == "\r":
            self.x = 0
        elif char == "\b":
            self.x = max(0, min(self.x, self.columns - 1) - 1)
        elif char == "\t":
            self.x = min(self.x // 8 * 8 + 8, self.columns - 1) if self.wrap else self.x // 8 * 8 + 8

    def _down(self) -> None:
        if self.y == self.bottom:
            self._scroll_up()
        elif self.y < self.rows - 1:
            self.y += 1

    def _scroll_up(self) -> None:
        line = self.lines.pop(self.top)
        if self.top == 0:
            self.scrolled.append(_joined(line))
        self.lines.insert(self.bottom, [])

    def _scroll_down(self) -> None:
        self.lines.pop(self.bottom)
        self.lines.insert(self.top, [])

    def _move(self, y: int, x: int) -> None:
        self.y = max(0, min(y, self.rows - 1))
        self.x = max(0, min(x, self.columns - 1))

    def _escape(self, code: str) -> None:
        if code == "M":
            self._scroll_down() if self.y == self.top else self._move(self.y - 1, self.x)
        elif code in ("D", "E"):
            self.x = 0 if code == "E" else self.x
            self._down()
        elif code == "7":
            self._saved = (self.y, self.x)
        elif code == "8":
            self._move(*self._saved)
        elif code == "c":
            self.lines = [[] for _ in range(self.rows)]
            self._move(0, 0)
        elif code in ("(0", "(B"):
            self._drawing = code == "(0"

    # ---------------------------------------------------------------- sequences

    def _sequence(self, params: str, final: str) -> None:
        if params[:1] in ("?", ">", "<", "=") or final not in _ACTIONS:
            return
        numbers = [min(int(part), 9_999) if part.isdigit() else 0 for part in re.split("[;:]", params[:64])]
        _ACTIONS[final](self, numbers)

    def _home(self, numbers: list[int]) -> None:
        row, column = [*numbers, 0, 0][:2]
        self._move(max(row, 1) - 1, max(column, 1) - 1)

    def _erase_display(self, numbers: list[int]) -> None:
        if numbers[0] == 0:
            self._erase_line([0])
            self.lines[self.y + 1 :] = [[] for _ in range(self.rows - self.y - 1)]
        elif numbers[0] == 1:
            self._erase_line([1])
            self.lines[: self.y] = [[] for _ in range(self.y)]
        elif numbers[0] == 2:
            self.lines = [[] for _ in range(self.rows)]

    def _erase_line(self, numbers: list[int]) -> None:
        line = self.lines[self.y]
        if numbers[0] == 0:
            del line[self.x :]
        elif numbers[0] == 1:
            size = min(self.x + 1, len(line))
            line[:size] = " " * size
        else:
            line.clear()

    def _insert_lines(self, count: int) -> None:
        if self.top <= self.y <= self.bottom:
            for _ in range(min(count, self.bottom - self.y + 1)):
                self.lines.pop(self.bottom)
                self.lines.insert(self.y, [])

    def _delete_lines(self, count: int) -> None:
        if self.top <= self.y <= self.bottom:
            for _ in range(min(count, self.bottom - self.y + 1)):
                self.lines.pop(self.y)
                self.lines.insert(self.bottom, [])

    def _insert_blanks(self, count: int) -> None:
        line = self._line_to(self.x)
        line[self.x : self.x] = " " * min(count, self.columns)
        del line[self.columns :]

    def _delete_cells(self, count: int) -> None:
        del self.lines[self.y][self.x : self.x + count]

    def _erase_cells(self, count: int) -> None:
        line = self.lines[self.y]
        end = min(self.x + count, len(line))
        line[self.x : end] = " " * max(0, end - self.x)

    def _scroll(self, count: int) -> None:
        for _ in range(min(abs(count), self.rows)):
            self._scroll_up() if count > 0 else self._scroll_down()

    def _region(self, numbers: list[int]) -> None:
        top, bottom = [*numbers, 0, 0][:2]
        self.top, self.bottom = max(top, 1) - 1, min(bottom or self.rows, self.rows) - 1
        if self.top >= self.bottom:
            self.top, self.bottom = 0, self.rows - 1
        self._move(0, 0)

    def _repeat(self, count: int) -> None:
        self._write(self._last * min(count, self.columns))


def _count(action: Callable[[Screen, int], None]) -> Callable[[Screen, list[int]], None]:
    return lambda screen, numbers: action(screen, max(1, numbers[0]))


_ACTIONS: dict[str, Callable[[Screen, list[int]], None]] = {
    "A": _count(lambda s, n: s._move(s.y - n, s.x)),
    "B": _count(lambda s, n: s._move(s.y + n, s.x)),
    "C": _count(lambda s, n: s._move(s.y, s.x + n)),
    "D": _count(lambda s, n: s._move(s.y, min(s.x, s.columns - 1) - n)),
    "E": _count(lambda s, n: s._move(s.y + n, 0)),
    "F": _count(lambda s, n: s._move(s.y - n, 0)),
    "G": _count(lambda s, n: s._move(s.y, n - 1)),
    "`": _count(lambda s, n: s._move(s.y, n - 1)),
    "d": _count(lambda s, n: s._move(n - 1, s.x)),
    "a": _count(lambda s, n: s._move(s.y, s.x + n)),
    "e": _count(lambda s, n: s._move(s.y + n, s.x)),
    "H": Screen._home,
    "f": Screen._home,
    "J": Screen._erase_display,
    "K": Screen._erase_line,
    "L": _count(Screen._insert_lines),
    "M": _count(Screen._delete_lines),
    "@": _count(Screen._insert_blanks),
    "P": _count(Screen._delete_cells),
    "X": _count(Screen._erase_cells),
    "S": _count(Screen._scroll),
    "T": _count(lambda s, n: s._scroll(-n)),
    "r": Screen._region,
    "b": _count(Screen._repeat),
    "s": lambda s, _: setattr(s, "_saved", (s.y, s.x)),
    "u": lambda s, _: s._move(*s._saved),
}


def _joined(line: Line) -> str:
    return "".join(line).rstrip()
