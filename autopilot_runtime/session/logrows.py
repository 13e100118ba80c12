"""What each event of a run becomes in the run log."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.session.logschema import this_process

# The words of the model, piece by piece: the session holds them whole.
_LEFT_OUT = frozenset({EventType.STREAM, EventType.THOUGHT})
_TEXT = (
    "task",
    "message",
    "summary",
    "error",
    "question",
    "description",
    "reason",
    "note",
    "path",
    "result",
    "report",
)
LONGEST = 20_000  # characters of one text; the session is where all of it is


@dataclass(frozen=True, slots=True)
class About:
    """Whose events they are."""

    agent: str
    agent_file: str
    work_dir: str
    model: str


def wanted(event: Event) -> bool:
    """Whether the log keeps it."""
    kind = event.data.get("event") if event.type is EventType.DELEGATED else event.type
    return bool(event.run_id) and kind not in _LEFT_OUT


def stamp(ts: float) -> str:
    """A time as the log writes it: readable, sorts as text, understood by SQLite."""
    return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class Book:
    """Writes events into an open log, inside whatever transaction the caller began."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._process = this_process()
        self._files: dict[str, list[str]] = {}
        self._base: dict[str, int] = {}  # events an earlier process has written of a run

    def write(self, event: Event, about: About) -> None:
        """One event."""
        if event.type in (EventType.START, EventType.RESUMED):
            self._open(event, about)
        if event.run_id not in self._base:
            return  # its beginning was before the log
        self._event(event)
        handler = _HANDLERS.get(event.type)
        if handler is not None:
            handler(self, event)

    def _open(self, event: Event, about: About) -> None:
        run = event.run_id
        task = str(event.data.get("task") or self._task_before(event))
        self._db.execute(
            "INSERT INTO runs "
            "(run_id, session_id, agent, agent_file, work_dir, model, task, status, started, process)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'running', ?, ?) ON CONFLICT (run_id) DO UPDATE SET status = 'running',"
            " process = excluded.process, model = excluded.model, ended = NULL, error = NULL",
            (
                *(run, event.session_id, about.agent, about.agent_file, about.work_dir, about.model),
                *(_short(task), stamp(event.ts), self._process),
            ),
        )
        if run not in self._base:
            found = self._db.execute("SELECT max(seq) FROM events WHERE run_id = ?", (run,)).fetchone()[0]
            self._base[run] = 0 if found is None else max(0, int(found) + 1 - event.seq)
            files = self._db.execute("SELECT files_changed FROM runs WHERE run_id = ?", (run,)).fetchone()[0]
            self._files[run] = list(json.loads(files))
            if found is None:
                self._word(run, "task", task)

    def _task_before(self, event: Event) -> str:
        found = self._db.execute(
            "SELECT task FROM runs WHERE session_id = ? ORDER BY started DESC LIMIT 1", (event.session_id,)
        ).fetchone()
        return str(found[0]) if found else "(resumed)"

    def _event(self, event: Event) -> None:
        data = event.data
        text = next((str(data[key]) for key in _TEXT if isinstance(data.get(key), str) and data[key]), None)
        tool, label = data.get("tool"), data.get("label")
        self._db.execute(
            "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(event.run_id, self._base[event.run_id] + event.seq, stamp(event.ts), event.type.value),
                *(None if tool is None else str(tool), None if label is None else _short(str(label))),
                *(None if text is None else _short(text), json.dumps(_shortened(data), ensure_ascii=False)),
            ),
        )

    def _used(self, event: Event) -> None:
        data = event.data
        # An unknown price makes the sum unknown: in SQL, too, anything plus NULL is NULL.
        self._db.execute(
            "UPDATE runs SET tokens_in = tokens_in + ?, tokens_out = tokens_out + ?, cost_usd = cost_usd + ? "
            "WHERE run_id = ?",
            (data.get("input_total") or 0, data.get("output") or 0, data.get("cost_usd"), event.run_id),
        )

    def _stepped(self, event: Event) -> None:
        step = int(event.data.get("step") or 0)
        self._db.execute("UPDATE runs SET steps = max(steps, ?) WHERE run_id = ?", (step, event.run_id))

    def _called(self, event: Event) -> None:
        self._word(event.run_id, "label", str(event.data.get("label") or event.data.get("tool") or ""))

    def _changed(self, event: Event) -> None:
        self._keep_files(event.run_id, [str(event.data.get("path"))])

    def _keep_files(self, run: str, paths: Iterable[str]) -> None:
        known = self._files[run]
        known += [path for path in paths if path not in known]
        self._db.execute(
            "UPDATE runs SET files_changed = ? WHERE run_id = ?", (json.dumps(known, ensure_ascii=False), run)
        )

    def _ended(self, event: Event) -> None:
        data, run = event.data, event.run_id
        self._db.execute(
            "UPDATE runs SET status = ?, summary = ?, error = ?, steps = max(steps, ?), ended = ?, "
            "seconds = round((julianday(?) - julianday(started)) * 86400, 3) WHERE run_id = ?",
            (
                *(str(data.get("status")), _maybe(data.get("summary")), _maybe(data.get("error"))),
                *(int(data.get("steps") or 0), stamp(event.ts), stamp(event.ts), run),
            ),
        )
        self._keep_files(run, [str(path) for path in data.get("files_changed") or ()])
        self._word(run, "summary", str(data.get("summary") or ""))
        self._files.pop(run)
        self._base.pop(run)

    def _word(self, run: str, kind: str, text: str) -> None:
        if text.strip():
            self._db.execute("INSERT INTO words VALUES (?, ?, ?)", (run, kind, _short(text)))


_HANDLERS = {
    EventType.USAGE: Book._used,
    EventType.STEP: Book._stepped,
    EventType.TOOL_CALL: Book._called,
    EventType.FILE_CHANGED: Book._changed,
    EventType.RUN_ENDED: Book._ended,
}


def _maybe(value: Any) -> str | None:
    return None if value is None else _short(str(value))


def _short(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")  # SQLite takes no lone surrogates
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… (+{len(text) - LONGEST} characters)"


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return _short(value)
    if isinstance(value, Mapping):
        return {str(key): _shortened(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_shortened(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else _short(str(value))
