"""Figures as people read them: dollars, tokens, seconds. An unknown price is never a zero."""

from __future__ import annotations


def dollars(cost: float | None) -> str:
    """`$0.0042`, `$1.20`, `price unknown`."""
    if cost is None:
        return "price unknown"
    if cost == 0 or cost >= 0.1:
        return f"${cost:.2f}"
    return f"${cost:.4f}"


def tokens(count: int) -> str:
    """`812 tokens`, `12.3k tokens`."""
    return f"{count} tokens" if count < 1_000 else f"{count / 1_000:.1f}k tokens"


def seconds(elapsed: float) -> str:
    """`0.4 s`, `48 s`, `3 min 20 s`."""
    if elapsed < 10:
        return f"{elapsed:.1f} s"
    if elapsed < 120:
        return f"{elapsed:.0f} s"
    return f"{int(elapsed) // 60} min {int(elapsed) % 60} s"


def count(number: int, word: str) -> str:
    """`1 step`, `3 steps`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def ago(elapsed: float) -> str:
    """`just now`, `3 min ago`, `2 h ago`, `5 d ago`, `8 weeks ago`."""
    for size, least, word in ((604_800, 5, "weeks"), (86_400, 2, "d"), (3_600, 1, "h"), (60, 1, "min")):
        if elapsed >= size * least:
            return f"{int(elapsed // size)} {word} ago"
    return "just now"
