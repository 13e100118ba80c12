"""How many arguments a user's function takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def takes(function: Callable[..., Any]) -> int:
    """How many arguments it can be given by position."""
    try:
        kinds = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 99
    if any(one.kind is one.VAR_POSITIONAL for one in kinds):
        return 99
    return sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in kinds)
