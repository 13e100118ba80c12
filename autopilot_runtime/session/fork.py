"""What a fork and a nested session are called, and what of the extra state a fork takes along. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autopilot_runtime.core.errors import SessionError
from autopilot_runtime.core.ids import new_id

# The tag is in the messages, and what was archived belongs to them; all else is of runs the fork did not make.
KEPT = ("tag", "memory_state")


def fork_id(session_id: str, wanted: str | None) -> str:
    """The id of a fork: what was asked for, or the session's with a short id of its own."""
    if wanted == session_id:
        raise already(wanted)
    return f"{session_id}-fork-{new_id()[-8:]}" if wanted is None else wanted


def nested_id(session_id: str, name: str) -> str:
    """The id of a session that belongs to this one."""
    if not name:
        raise SessionError(f"A session nested in {session_id[:80]!r} needs a name.")
    return f"{session_id}/{name}"


def already(session_id: str) -> SessionError:
    """The refusal to fork into a session that exists."""
    return SessionError(f"There is a session {session_id[:80]!r} already; fork into another session_id.")


def foreign(session_id: str, parent: str) -> SessionError:
    """The refusal to nest a session that is somebody else's."""
    return SessionError(
        f"Session {session_id[:80]!r} exists and does not belong to {parent[:80]!r}. "
        "Nothing was changed; nest under another name."
    )


def cut(held: int, at: int | None) -> int:
    """How many of the messages a fork takes."""
    if at is None:
        return held
    if not 0 <= at <= held:
        raise SessionError(f"The session has {held} messages, so it cannot be forked at {at}; give 0 to {held}.")
    return at


def kept(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the extra state that goes along."""
    return {key: extra[key] for key in KEPT if key in extra}
