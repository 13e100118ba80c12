"""Ids that sort by the time they were made and never collide."""

from __future__ import annotations

import os
import time


def new_id(prefix: str = "") -> str:
    """`prefix_` + 10 digits of milliseconds + 10 random ones, all base 16: sorts by creation time."""
    stamp = f"{time.time_ns() // 1_000_000:011x}"
    body = stamp + os.urandom(6).hex()
    return f"{prefix}_{body}" if prefix else body


def slug(text: str, limit: int = 60) -> str:
    """A readable name out of any text: lower case, digits and dashes, never empty."""
    words = "".join(c.lower() if c.isascii() and c.isalnum() else "-" for c in text)
    return "-".join(part for part in words.split("-") if part)[:limit].strip("-") or "agent"
