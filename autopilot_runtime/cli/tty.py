"""What this terminal can do: whether a person is there, and whether colours and a live line are welcome."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

_CODES = {"dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
_CODES |= {"red_mark": "31;7", "green_mark": "32;7"}


@dataclass(frozen=True, slots=True)
class Facts:
    """Decided once per command. `person`: prompts make sense. `live`: a line may be redrawn on stderr."""

    out_tty: bool
    err_tty: bool
    person: bool
    live: bool
    out_colour: bool
    err_colour: bool


def look(env: Mapping[str, str] = os.environ) -> Facts:
    """The facts about the three standard streams."""
    into, out, err = is_tty(sys.stdin), is_tty(sys.stdout), is_tty(sys.stderr)
    dumb = env.get("TERM", "") in ("dumb", "unknown")
    ci = env.get("CI", "").lower() not in ("", "0", "false")
    return Facts(
        out_tty=out,
        err_tty=err,
        # All three: a prompt that goes into a file, or that nobody can answer, is a hang.
        person=into and out and err and not ci and in_front(),
        live=err and not dumb and not ci,
        out_colour=colour(out, env, dumb=dumb),
        err_colour=colour(err, env, dumb=dumb),
    )


def in_front() -> bool:
    """Whether the terminal listens to us. A job in the background that touches the keyboard is stopped."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except AttributeError:  # Windows has no such jobs
        return True
    except (OSError, ValueError):  # a terminal that is not ours to control
        return False


def is_tty(stream: IO[Any] | None) -> bool:
    """Whether a stream is a terminal; a closed or missing one is not."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def colour(tty: bool, env: Mapping[str, str], *, dumb: bool) -> bool:
    """NO_COLOR wins, then FORCE_COLOR, then what the stream is."""
    if env.get("NO_COLOR"):
        return False
    if env.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return tty and not dumb


class Paint:
    """Puts colour around text, or leaves it alone."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def __call__(self, text: str, *styles: str) -> str:
        if not self.on or not text or not styles:
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"
