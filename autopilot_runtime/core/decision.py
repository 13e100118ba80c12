"""What a person, or a rule in their place, decides about one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer to a permission request. A handler may return one, or `True`; anything else is a no.

    `always` is remembered for the session; `edited` replaces arguments of the call (the command, say).
    """

    allowed: bool
    reason: str = ""
    always: bool = False
    edited: Mapping[str, Any] | None = None
    source: str = "person"
