"""Reads a small file that somebody hostile may have put there: no pipe, no device, no more than a little."""

from __future__ import annotations

import os
import stat

_MOST = 65_536


def read_small(path: str) -> str:
    """The text of an ordinary file; "" for anything else, and for what is longer than any settings are."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError):
        return ""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        data = os.read(fd, _MOST + 1)
        text = data.decode("utf-8", "surrogateescape") if len(data) <= _MOST else ""
        return "" if "\0" in text else text
    except OSError:
        return ""
    finally:
        os.close(fd)
