"""`autopilot log`: what ran, when, how it ended, what it cost; and everything that happened in one run."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from autopilot_runtime.cli import figures, safe
from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.cli.logquery import Wish, events_of, reading, run_of, runs, select, totals
from autopilot_runtime.cli.screen import cells, clip
from autopilot_runtime.cli.tty import Paint, look
from autopilot_runtime.session.logschema import default_path

_GOOD, _OPEN = ("completed", "answered"), ("running", "suspended", "interrupted")
_ALL = 1_000_000


def log_command(wish: Wish, *, as_json: bool, sql: str | None, path_only: bool) -> ExitCode:
    """Print what was asked for."""
    if path_only:
        print(default_path())
        return ExitCode.DONE
    with reading() as db:
        if sql is not None:
            _table(*select(db, sql), as_json=as_json)
            return ExitCode.DONE
        run = run_of(db, wish.query)
        if run is not None:
            _one(db, run, as_json=as_json)
        elif as_json:
            found = runs(db, replace(wish, limit=wish.limit or _ALL))
            _json({"runs": [_plain(one) for one in found], "totals": totals(db, wish)})
        else:
            _list(db, wish)
    return ExitCode.DONE


def _list(db: sqlite3.Connection, wish: Wish) -> None:
    paint, width, now = Paint(look().out_colour), shutil.get_terminal_size().columns, time.time()
    found = runs(db, replace(wish, limit=wish.limit or _ALL))
    for one in found:
        print("\n".join(_lines(one, paint, width=width, now=now)))
    whole = totals(db, wish)
    if not found:
        print("No runs fit." if wish != Wish(limit=wish.limit) else "No runs yet.")
        return
    unknown = f" + {whole['cost_unknown']} of unknown price" if whole["cost_unknown"] else ""
    parts = [
        figures.count(whole["runs"], "run"),
        f"{figures.dollars(whole['cost_usd'])}{unknown}",
        figures.tokens(whole["tokens_in"] + whole["tokens_out"]),
    ]
    more = f" (the newest {len(found)} are shown; -n 0 shows all)" if len(found) < whole["runs"] else ""
    print(paint(clip(" · ".join(parts) + more, width), "dim"))


def _lines(run: dict[str, Any], paint: Paint, *, width: int, now: float) -> list[str]:
    status = str(run["status"])
    colour = "green" if status in _GOOD else "yellow" if status in _OPEN else "red"
    age = figures.ago(now - datetime.fromisoformat(run["started"]).timestamp())
    rest = [
        age,
        safe.one_line(run["agent"], 40),
        figures.count(run["steps"], "step"),
        figures.dollars(run["cost_usd"]),
    ]
    room = width - cells(run["run_id"]) - cells(status) - 4
    first = f"{run['run_id']}  {paint(status, colour)}  {paint(clip(' · '.join(rest), max(room, 1)), 'dim')}"
    told = run["summary"] if status in _GOOD else run["error"]
    lines = [first, f"  {clip(safe.one_line(_first(run['task']), 400), width - 2)}"]
    if told:
        lines.append(paint(f"  → {clip(safe.one_line(_first(told), 400), width - 4)}", "dim"))
    return lines


def _one(db: sqlite3.Connection, run: dict[str, Any], *, as_json: bool) -> None:
    events = events_of(db, run["run_id"])
    if as_json:
        _json({**_plain(run), "events": [{**one, "data": json.loads(one["data"])} for one in events]})
        return
    paint, width = Paint(look().out_colour), shutil.get_terminal_size().columns
    for line in _facts(run):
        print(line)
    print()
    for one in events:
        # An event without words (a step, what a model call used) shows its fields.
        what = one["label"] or one["text"] or ", ".join(f"{k} {v}" for k, v in json.loads(one["data"]).items())
        tool = f"{one['tool']}: " if one["tool"] else ""
        head = f"{one['ts'][11:19]} {one['type']:<19} "
        print(paint(head, "dim") + clip(safe.one_line(tool + _first(what), 400), max(width - len(head), 20)))


def _facts(run: dict[str, Any]) -> Iterable[str]:
    files = json.loads(run["files_changed"])
    for name, value in (
        ("run", f"{run['run_id']} ({run['status']})"),
        ("session", run["session_id"]),
        ("agent", f"{run['agent']} ({run['agent_file']})"),
        ("model", run["model"]),
        ("folder", run["work_dir"]),
        ("started", f"{run['started']}" + ("" if run["seconds"] is None else f", {figures.seconds(run['seconds'])}")),
        ("used", f"{figures.tokens(run['tokens_in'] + run['tokens_out'])} · {figures.dollars(run['cost_usd'])}"),
        ("files", ", ".join(files)),
        ("task", run["task"]),
        ("summary", run["summary"]),
        ("error", run["error"]),
    ):
        if value:
            text = safe.prose(str(value)).strip().replace("\n", "\n          ")
            yield f"{name:<8}  {text}"


def _table(names: list[str], rows: Sequence[tuple[Any, ...]], *, as_json: bool) -> None:
    if as_json:
        _json([dict(zip(names, row, strict=True)) for row in rows])
        return
    # Tabs, for `cut` and `column -t -s$'\t'`; a value never breaks a line.
    for row in [tuple(names), *rows]:
        print("\t".join("" if one is None else safe.one_line(str(one), 100_000) for one in row))


def _plain(run: dict[str, Any]) -> dict[str, Any]:
    return {**run, "files_changed": json.loads(run["files_changed"])}


def _first(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return f"{line} …" if "\n" in text.strip() else line


def _json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
