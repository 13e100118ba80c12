"""Reads the list of what was executed: one line of JSON for each call that changed something."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Execution:
    """One call, by its number in the list."""

    number: int
    noted: dict[str, Any]

    def text(self, name: str) -> str:
        """One thing that was noted; "" where it was not."""
        return str(self.noted.get(name, "") or "")

    @property
    def command(self) -> str:
        """What was typed, without the reason."""
        words = [str(one) for one in self.noted.get("argv") or ()]
        if "--context" in words:
            at = words.index("--context")
            del words[at : at + 2]
        return " ".join(one for one in words if not one.startswith("--context="))

    @property
    def failed(self) -> bool:
        """Whether it ended with another exit code than 0."""
        return bool(self.noted.get("exit_code"))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"number": self.number, **self.noted}


def executions(path: Path) -> list[Execution]:
    """All of them, the oldest first. A line that is torn or damaged is passed over, and that is said on stderr."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    found: list[Execution] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        noted = _read(line)
        if noted is None:
            what = "ends in the middle of its last line" if number == len(lines) else f"is damaged in line {number}"
            print(f"note: {path} {what}; the line is left out", file=sys.stderr)
        else:
            found.append(Execution(number, noted))
    return found


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        noted = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return noted if isinstance(noted, dict) else None
