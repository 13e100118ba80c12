"""`autopilot sessions list|fork|delete|undo`: what is kept, branched, and thrown away."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autopilot_runtime.cli import figures
from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.cli.origin import origin_of
from autopilot_runtime.cli.overview import SHOWN, lines, rows
from autopilot_runtime.cli.place import Place, fresh_id
from autopilot_runtime.cli.tty import Paint, look
from autopilot_runtime.core.errors import SessionError, SetupError


def list_command(place: Place, *, as_json: bool, every: bool, agent: str | None, here: bool) -> ExitCode:
    """Print the sessions, newest first."""
    found, more = rows(place, limit=None if every else SHOWN, agent=agent, here=here)
    if as_json:
        shown = [{**asdict(row), "updated": _iso(row.updated), "cost_usd": row.cost} for row in found]
        for one in shown:
            one.pop("cost")
        sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
        return ExitCode.DONE
    paint, width = Paint(look().out_colour), shutil.get_terminal_size().columns
    for row in found:
        print("\n".join(lines(row, paint, width=width)))
    if not found:
        print("No sessions fit." if agent or here else "No sessions yet: `autopilot run` keeps every conversation.")
    elif more:
        print(paint(f"… and {more} more (--all)", "dim"))
    return ExitCode.DONE


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")


def fork_command(place: Place, typed: str, *, at: int | None, new: str | None) -> ExitCode:
    """Copy a session under a new id, whole or up to a place."""
    head = _good(place, typed)
    source = place.read(head["session_id"])
    try:
        source.load()
        made = source.fork(at=at, session_id=new or fresh_id(_base(head)))
        name = str(made.session_id)
        made.close()
    finally:
        source.close()
    print(name)
    print(f"Go on: autopilot run --resume {name}{place.flags} TASK", file=sys.stderr)
    return ExitCode.DONE


def _base(head: dict[str, Any]) -> str:
    return str(head.get("agent_name") or "agent")


def _good(place: Place, typed: str) -> dict[str, Any]:
    head = place.find(typed)
    if head.get("error"):
        raise SessionError(str(head["error"]))
    return head


def delete_command(place: Place, typed: Sequence[str], *, yes: bool) -> ExitCode:
    """Delete sessions; a person is asked, and a program has to say --yes."""
    heads = {str(head["session_id"]): head for head in (_good(place, one) for one in typed)}
    if not yes:
        _agree(list(heads.values()))
    for name in heads:
        store = place.open(name)
        try:
            # Refused while somebody is at work on it.
            store.acquire()
            store.reset()
        finally:
            store.close()
        print(f"Deleted {name}.")
    return ExitCode.DONE


def _agree(heads: list[dict[str, Any]]) -> None:
    if not look().person:
        raise SetupError("Nobody is there to ask: deleting needs --yes. Nothing was deleted.")
    for head in heads:
        print(f"{head['session_id']}  {figures.count(int(head.get('messages') or 0), 'message')}")
    try:
        answer = input(f"Delete {'it' if len(heads) == 1 else f'these {len(heads)}'} for good? [y/N]: ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise SetupError("Nothing was deleted.")


def undo_command(place: Place, typed: str, *, run: str | None, force: bool, as_json: bool) -> ExitCode:
    """Take back what a run of the session changed in files: the last one, or the one that is named."""
    head = _good(place, typed)
    store = place.read(str(head["session_id"]))
    try:
        store.load()
        extra = store.extra()
    finally:
        store.close()
    origin, state = origin_of(extra), extra.get("run")
    wanted = run or (str(state.get("id") or "") if isinstance(state, dict) else "") or _last_run(head["session_id"])
    if not wanted:
        raise SetupError(f"Nothing says which run of session {head['session_id']} was the last: name it.")
    if origin is None:
        raise SetupError(
            f"Session {head['session_id']} does not say in which folder it worked: autopilot undo {wanted}"
        )
    # Late: the store of file states is only needed here.
    from autopilot_runtime.cli.undo import undo_command as undo  # type: ignore[import-not-found, unused-ignore]

    done: ExitCode = undo(wanted, work_dir=Path(origin.work_dir), force=force, as_json=as_json)
    return done


def _last_run(session_id: str) -> str:
    from autopilot_runtime.cli.logquery import Wish, reading, runs  # SQLite

    try:
        with reading() as db:
            found = runs(db, Wish(session=session_id, limit=1))
    except SetupError:
        return ""
    return str(found[0]["run_id"]) if found else ""
