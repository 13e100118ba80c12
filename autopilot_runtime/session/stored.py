"""What is on disk of a session, read without locks: document and journal joined, and the summaries for lists."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import SessionError
from autopilot_runtime.session import journal
from autopilot_runtime.session.journal import Steps
from autopilot_runtime.session.record import Record, decode, head_summary, merged, summary

# What a document on disk looks like from outside; a rename gives it another inode.
Mark = tuple[int, int, int, int] | None


def mark_of(path: Path) -> Mark:
    """What the document looks like now; None when there is none."""
    try:
        return _mark(path.stat())
    except FileNotFoundError:
        return None


def _mark(found: os.stat_result) -> Mark:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def document(path: Path) -> tuple[Record | None, Mark]:
    """The document and its mark, of the same file even when it is replaced meanwhile."""
    try:
        with path.open("rb") as file:
            return decode(file.read(), str(path)), _mark(os.fstat(file.fileno()))
    except FileNotFoundError:
        return None, None


def joined(stored: Record | None, steps: Steps | None, place: Path) -> Record | None:
    """Document and journal together. A journal that was already folded into the document counts no more."""
    if steps is None:
        return stored
    if stored is None and steps.base == "":
        return Record(
            steps.session_id,
            steps.agent_name,
            steps.started_at,
            steps.updated_at,
            steps.messages,
            merged({}, steps.extra),
            parent=steps.parent,
        )
    if stored is not None and steps.base == stored.revision:
        messages, extra = stored.messages + steps.messages, merged(stored.extra, steps.extra)
        return replace(stored, messages=messages, extra=extra, updated_at=steps.updated_at)
    if stored is not None and steps.base == stored.previous:
        return stored
    raise SessionError(
        f"{place}: holds {len(steps.messages)} messages that continue another state of the session than the "
        "document beside it (was one of them restored or deleted?). Nothing was changed; move one of them away."
    )


def metadata(path: Path, steps: Steps | None) -> dict[str, Any] | None:
    """The summary; it costs the journal and one line of the document."""
    if path.exists():
        with path.open("rb") as file:
            head = head_summary(file.readline(100_000))
        if head is not None and steps is None:
            return head[0]
        if head is not None and steps is not None and steps.base == head[1]:
            return {**head[0], "messages": head[0]["messages"] + len(steps.messages), "updated_at": steps.updated_at}
    stored, _ = document(path)
    whole = joined(stored, steps, path)
    return summary(whole) if whole is not None else None


def listed(stem: Path) -> dict[str, Any] | None:
    """The summary for a list; one that cannot be read is listed with its `error`."""
    path = stem.with_name(stem.name + ".json")
    try:
        steps = journal.read(stem.with_name(stem.name + ".journal"))
        return metadata(path, steps) if steps or path.exists() else None
    except (SessionError, OSError) as error:
        return {
            "session_id": stem.name,
            "agent_name": "",
            "created_at": 0.0,
            "updated_at": 0.0,
            "messages": 0,
            "error": str(error),
        }
