"""What lists say of sessions: when, how much, how the last run ended, what it was about."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autopilot_runtime.cli import figures, safe
from autopilot_runtime.cli.origin import Origin, origin_of
from autopilot_runtime.cli.place import Place
from autopilot_runtime.cli.said import task_text
from autopilot_runtime.cli.screen import clip
from autopilot_runtime.cli.tty import Paint
from autopilot_runtime.core.errors import AutopilotError, SessionConflict
from autopilot_runtime.core.older import adopted

SHOWN = 20
_GOOD, _OPEN = ("completed", "answered"), ("suspended", "interrupted", "at work")


@dataclass(frozen=True, slots=True)
class Row:
    """One session. `status` is that of its last run, "" when nobody knows; `cost` is None when nobody knows."""

    session_id: str
    agent: str
    updated: float
    messages: int
    status: str = ""
    cost: float | None = None
    task: str = ""
    origin: Origin | None = None
    error: str = ""


def rows(
    place: Place, *, limit: int | None = SHOWN, agent: str | None = None, here: bool = False
) -> tuple[list[Row], int]:
    """The newest sessions, and how many more there are."""
    heads = [one for one in place.sessions() if agent is None or agent.lower() in (_name(one), _stem(one))]
    logged = _from_log([str(one["session_id"]) for one in heads])
    found: list[Row] = []
    for index, head in enumerate(heads):
        if limit is not None and len(found) >= limit:
            return found, 0 if here else len(heads) - index
        row = _row(place, head, logged.get(str(head["session_id"]), {}))
        if not here or (row.origin is not None and row.origin.here):
            found.append(row)
    return found, 0


def _name(head: Mapping[str, Any]) -> str:
    return str(head.get("agent_name", "")).lower()


def _stem(head: Mapping[str, Any]) -> str:
    """`coder` of `coder-20261128-141500-a1b2`."""
    return str(head["session_id"]).rsplit("-", 3)[0].lower()


def _row(place: Place, head: Mapping[str, Any], logged: Mapping[str, Any]) -> Row:
    row = Row(
        str(head["session_id"]),
        str(head.get("agent_name") or ""),
        float(head.get("updated_at") or 0),
        int(head.get("messages") or 0),
        error=str(head.get("error") or ""),
    )
    if row.error:
        return row
    store = place.read(row.session_id)
    try:
        messages, extra = store.load(), store.extra()
    except AutopilotError as error:  # deleted or damaged since the list was made
        return Row(row.session_id, row.agent, row.updated, row.messages, error=str(error))
    finally:
        store.close()
    first = next((m for m in adopted(messages) if m["kind"] == "task"), messages[0] if messages else {})
    return Row(
        row.session_id,
        row.agent,
        row.updated,
        row.messages,
        status=_status(place, row.session_id, extra) or str(logged.get("status") or ""),
        cost=logged.get("cost"),
        task=task_text(first, str(extra.get("tag") or "")).strip().partition("\n")[0],
        origin=origin_of(extra),
    )


def _status(place: Place, session_id: str, extra: Mapping[str, Any]) -> str:
    run = extra.get("run")
    status = str(run.get("status") or "") if isinstance(run, Mapping) else ""
    if status == "running":
        return "at work" if at_work(place, session_id) else "interrupted"
    return status


def at_work(place: Place, session_id: str) -> bool:
    """Whether somebody is writing to the session now."""
    store = place.read(session_id)
    try:
        store.acquire()
    except SessionConflict:
        return True
    finally:
        store.close()
    return False


def _from_log(ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Cost and last status by session, as far as the run log has them."""
    from autopilot_runtime.cli.logquery import reading  # SQLite

    known: dict[str, dict[str, Any]] = {}
    # Without a log, or with a damaged one, a list of sessions is still a list of sessions.
    with contextlib.suppress(AutopilotError, sqlite3.Error), reading() as db:
        asked = (
            "SELECT session_id, CASE WHEN count(*) = count(cost_usd) THEN sum(cost_usd) END, "
            "(SELECT status FROM runs AS last WHERE last.session_id = runs.session_id ORDER BY started DESC LIMIT 1) "
            "FROM runs GROUP BY session_id"
        )
        wanted = set(ids)
        for session_id, cost, status in db.execute(asked):
            if session_id in wanted:
                known[session_id] = {"cost": cost, "status": status}
    return known


def lines(row: Row, paint: Paint, *, width: int, now: float | None = None) -> list[str]:
    """The two lines of a list: the facts, and the task or the fault."""
    if row.error:
        first = clip(safe.one_line(row.session_id, 200), width)
        return [
            paint(first, "red"),
            *(paint(f"  {part}", "red") for part in _folded(safe.one_line(row.error), width)),
        ]
    name = safe.one_line(row.session_id, 200)
    rest = _facts(row, now=now)
    if len(name) + 2 + len(rest) <= width:
        head = f"{paint(name, 'bold')}  {_coloured(row, rest, paint)}"
        return [head, *_task(row, paint, width=width)]
    below = _coloured(row, f"  {clip(rest, width - 2)}", paint)
    return [paint(clip(name, width), "bold"), below, *_task(row, paint, width=width)]


def _facts(row: Row, *, now: float | None) -> str:
    age = figures.ago((time.time() if now is None else now) - row.updated) if row.updated else ""
    parts = [age, figures.count(row.messages, "message"), row.status]
    if row.cost is not None:
        parts.append(figures.dollars(row.cost))
    return " · ".join(part for part in parts if part)


def _coloured(row: Row, text: str, paint: Paint) -> str:
    if not row.status:
        return paint(text, "dim")
    colour = "green" if row.status in _GOOD else "yellow" if row.status in _OPEN else "red"
    before, mid, after = text.partition(row.status)
    return f"{paint(before, 'dim')}{paint(mid, colour)}{paint(after, 'dim')}"


def _task(row: Row, paint: Paint, *, width: int) -> list[str]:
    text = safe.one_line(row.task, 400) or "(no task yet)"
    return [f"  {clip(text, width - 2)}"] if row.task else [f"  {paint(text, 'dim')}"]


def _folded(text: str, width: int) -> list[str]:
    import textwrap  # only a damaged session needs it

    return textwrap.wrap(text, max(width - 2, 20), break_on_hyphens=False)
