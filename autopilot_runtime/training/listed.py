"""What a user may give alone, as several, or not at all."""

from __future__ import annotations

from typing import Any


def listed(value: Any) -> list[Any]:
    """It as a list: empty for None, of one for anything that is no list, tuple or set."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple, set)) else [value]
