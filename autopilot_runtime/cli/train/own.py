"""What a project's own command has wired; the commands of its project use that instead of its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_wired: list[Any] = []


@contextmanager
def wired(command: Any) -> Iterator[None]:
    """Let the commands that run inside use what this one has wired."""
    _wired.append(command)
    try:
        yield
    finally:
        _wired.pop()


def own(project: str, what: str) -> Any:
    """The `module`, `judge` or `generator` that was wired for a project; None when there is none."""
    return next((getattr(one, what, None) for one in reversed(_wired) if one.project == project), None)


def active_project() -> str | None:
    """The project whose command runs."""
    return _wired[-1].project if _wired else None
