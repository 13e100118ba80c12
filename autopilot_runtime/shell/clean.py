"""Terminal bytes to text a model can read: no escape sequence survives, progress bars collapse, screens are drawn."""

from __future__ import annotations

import re

from autopilot_runtime.shell.screen import Screen
from autopilot_runtime.shell.transcript import View

# OSC, DCS, SOS, PM, APC: strings for the terminal itself (titles, clipboard, links). An open one ends with its line.
_STRINGS = re.compile(r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x9c|\x1b\\)?")
_SEQUENCES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[ -/]*[0-~]?")
# Sequences that move the cursor or erase: the text can only be known by acting on them.
_MOVING = re.compile(r"(?:\x1b\[|\x9b)[0-9;]*[A-HJ-MPSTXdfr@`]|\x1b[78M]")
_CONTROLS = re.compile(r"[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ALT_ON = re.compile(rb"\x1b\[\?(?:1049|1047|47)h")
_ALT_OFF = re.compile(rb"\x1b\[\?(?:1049|1047|47)l")
_HOME = re.compile(rb"\x1b\[(?:[01]?(?:;[01]?)?)[Hf]")
_CLEAR = re.compile(rb"\x1b\[2J|\x1b\[H\x1b\[J")
SCREEN_BYTES = 65_536


def readable(view: View, *, screen: bytes, rows: int, columns: int, newline_returns: bool = True) -> str:
    """The text of a view; a gap between its head and its tail is told in a line of its own.

    `screen` is the newest output, older than the view if need be: a full-screen program draws only what changed.
    """
    pieces, in_screen = _outside_screens(view)
    # Some (`top`) draw over the ordinary screen: without what was there before, the newest part means nothing.
    draws_over = not in_screen and bool(screen) and _draws_over(b"".join(pieces))
    parts = [] if draws_over else [plain(piece, rows=rows) for piece in pieces]
    if view.dropped and parts:
        parts.insert(1, f"[... {view.dropped:,} bytes left out ...]")
    if in_screen or draws_over:
        since = _since_clear(screen) if draws_over else _since_screen(screen)
        shown = draw(since, rows=rows, columns=columns, newline_returns=newline_returns)
        parts.append(f"[screen of a full-screen program, {rows} rows]\n{shown}")
    return "\n".join(part for part in parts if part)


def _outside_screens(view: View) -> tuple[list[bytes], bool]:
    """What was written outside the alternate screen (two pieces around a gap), and whether the end is inside it."""
    if not view.dropped:
        raw, in_screen = _without_screens(view.head + view.tail, view.in_screen)
        return [raw], in_screen
    head, _ = _without_screens(view.head, view.in_screen)
    # Whether the tail begins inside a screen was decided in the gap; its first switch tells.
    on, off = _ALT_ON.search(view.tail), _ALT_OFF.search(view.tail)
    began = view.ends_in_screen if not (on or off) else on is None or (off is not None and off.start() < on.start())
    tail, in_screen = _without_screens(view.tail if began else _from_line(view.tail), began)
    return [head, tail], in_screen


def plain(raw: bytes, *, rows: int) -> str:
    """Output of an ordinary program as text. Lines are never wrapped."""
    text = raw.decode("utf-8", "replace")
    if "\x1b" in text or "\x9b" in text or "\x9d" in text:
        text = _STRINGS.sub("", text)
        if _MOVING.search(text):
            return _moved(text, rows)
        text = _SEQUENCES.sub("", text)
    text = _CONTROLS.sub("", text.replace("\r\n", "\n"))
    if "\r" in text or "\b" in text:
        text = "\n".join(map(_settled, text.split("\n")))
    return text


def _moved(text: str, rows: int) -> str:
    """Draw only the part from just before the first moving sequence: the lines above it cannot change."""
    first = _MOVING.search(text)
    start = first.start() if first else 0
    for _ in range(rows):
        start = text.rfind("\n", 0, start)
        if start < 0:
            break
    before, rest = text[: start + 1], text[start + 1 :]
    screen = Screen(rows, 0, wrap=False)
    screen.feed(rest[-SCREEN_BYTES * 4 :])
    head = plain(_SEQUENCES.sub("", before).encode(), rows=rows)
    return head + _CONTROLS.sub("", screen.text()) + ("\n" if text.endswith("\n") else "")


def draw(raw: bytes, *, rows: int, columns: int, newline_returns: bool = True) -> str:
    """The screen as a full-screen program left it."""
    screen = Screen(rows, columns, newline_returns=newline_returns)
    screen.feed(_STRINGS.sub("", raw[-SCREEN_BYTES:].decode("utf-8", "replace")))
    return _CONTROLS.sub("", screen.shown())


def cap(text: str, limit: int) -> tuple[str, int]:
    """At most about `limit` characters: the beginning and the end, and how many are missing between them."""
    if len(text) <= limit:
        return text, 0
    head, tail = text[: limit // 3], text[len(text) - (limit - limit // 3) :]
    head = head[: head.rfind("\n") + 1] or head
    newline = tail.find("\n")
    tail = tail[newline + 1 :] if 0 <= newline < len(tail) // 2 else tail
    missing = len(text) - len(head) - len(tail)
    note = f"[... {missing:,} characters left out; write to a file and read parts of it to see all ...]"
    return f"{head}{'' if head.endswith(chr(10)) else chr(10)}{note}\n{tail}", missing


def _settled(line: str) -> str:
    """A line after its carriage returns and backspaces have done their work."""
    if "\b" in line:
        screen = Screen(1, 0, wrap=False)
        screen.feed(line)
        return screen.text()
    if "\r" not in line:
        return line
    result = ""
    for piece in reversed(line.split("\r")):  # the last one wins; of an older one remains what sticks out
        result += piece[len(result) :]
    return result


def _without_screens(raw: bytes, in_screen: bool) -> tuple[bytes, bool]:
    """What was written outside the alternate screen, and whether the end is inside it."""
    parts, at = [], 0
    while True:
        switch = (_ALT_OFF if in_screen else _ALT_ON).search(raw, at)
        if not in_screen:
            parts.append(raw[at : switch.start() if switch else len(raw)])
        if switch is None:
            return b"".join(parts), in_screen
        at, in_screen = switch.end(), not in_screen


def _since_screen(raw: bytes) -> bytes:
    at = raw.rfind(b"\x1b[?1049h")
    return raw[at:] if at >= 0 else raw


def _draws_over(raw: bytes) -> bool:
    return _HOME.search(raw) is not None and _CLEAR.search(raw) is None


def _since_clear(raw: bytes) -> bytes:
    clears = [match.start() for match in _CLEAR.finditer(raw)]
    return raw[clears[-1] :] if clears else raw


def _from_line(raw: bytes) -> bytes:
    """From the first line break on: what is before it may begin inside a sequence or a character."""
    newline = raw.find(b"\n", 0, 4_096)
    return raw[newline + 1 :] if newline >= 0 else raw
