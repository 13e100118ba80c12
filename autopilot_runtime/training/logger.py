"""Where the numbers of a run go besides its record: the `Logger` seam, and the default, lines of JSON in a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Collection, Hashable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from autopilot_runtime.core.event import Event

if TYPE_CHECKING:
    from autopilot_runtime.training.contextlog import ContextEntry
    from autopilot_runtime.training.record import Record

# What is in a place already: ("val", epoch), ("event", what `event_key` gives), ("context", what `entry_key` gives).
Key = tuple[str, Hashable]


class Logger:
    """A place that is told how a run goes. Override what it wants to know; what is not overridden costs nothing.

    `start` comes from the thread that trains and must not wait: there is looked for a run that the user has open.
    Everything else comes from one other thread, in order, and may take its time. What raises is reported once.
    """

    name: str = ""

    def start(self, run: Mapping[str, Any]) -> None:
        """A run begins, or goes on: `experiment`, `run`, `max_epochs`, and what else is known of it."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Settings of the run."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int, phase: str = "") -> None:
        """Numbers of an epoch (`step`), measured in a phase: train, val or test."""

    def log_event(self, event: Event) -> None:
        """Something happened."""

    def log_context(self, entry: ContextEntry) -> None:
        """Something was decided, and why."""

    def finish(self, status: str) -> None:
        """The run ended as completed, failed, cancelled or stopped."""

    def have(self) -> Collection[Key]:
        """What is already there, so that `export` leaves it out."""
        return ()

    def export(self, record: Record, experiment: str) -> int:
        """Give it all that the record holds of an experiment and that it does not have; says how much that was."""
        row = record.experiment(experiment)
        self.start({"experiment": row.slug, "config": row.config})
        have = self.have()
        if row.config:
            self.log_params(row.config)
        given = 0
        for epoch in record.epochs(experiment):
            for phase, metrics in (("train", epoch.train), ("val", epoch.metrics)):
                if metrics and (phase, epoch.epoch) not in have:
                    self.log_metrics(metrics, step=epoch.epoch, phase=phase)
                    given += 1
        for event in record.events(experiment):
            if ("event", event_key(event.seq, event.ts)) not in have:
                self.log_event(event)
                given += 1
        for entry in record.context(experiment):
            if ("context", entry_key(entry_fields(entry))) not in have:
                self.log_context(entry)
                given += 1
        self.finish(str(row.status))
        return given


class JSONLLogger(Logger):
    """One JSON object a line, appended to a file. A last line that was cut off by a kill spoils no other."""

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self.name = f"JSONLLogger({self.path.name})"
        self._clock = clock
        self._file: IO[str] | None = None
        self._experiment = ""

    def start(self, run: Mapping[str, Any]) -> None:
        self._experiment = str(run.get("experiment", ""))
        self._write("start", flush=True, **{"run": dict(run)})

    def log_params(self, params: Mapping[str, Any]) -> None:
        self._write("params", params=dict(params))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int, phase: str = "") -> None:
        self._write("metrics", flush=True, phase=phase, step=step, metrics=dict(metrics))

    def log_event(self, event: Event) -> None:
        self._write("event", event=event.to_dict())

    def log_context(self, entry: ContextEntry) -> None:
        self._write("context", flush=True, entry=entry_fields(entry))

    def finish(self, status: str) -> None:
        self._write("finish", status=status)
        if self._file is not None:
            self._file.close()
            self._file = None

    def have(self) -> Collection[Key]:
        if self._file is not None:
            self._file.flush()
        found: dict[str, set[Key]] = {}
        current = ""
        for line in read_lines(self.path):  # a file may tell of several experiments, one after another
            if line.get("kind") == "start":
                current = str((line.get("run") or {}).get("experiment", ""))
            found.setdefault(current, set()).update(_keys(line))
        return found.get(self._experiment, set())

    def _write(self, kind: str, *, flush: bool = False, **fields: Any) -> None:
        if self._file is None:
            self._file = _appending(self.path)
        self._file.write(as_json({"kind": kind, "at": self._clock(), **fields}) + "\n")
        if flush:
            self._file.flush()


def read_lines(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """What a `JSONLLogger` wrote; a line that is not whole is left out."""
    found: list[dict[str, Any]] = []
    if not Path(path).exists():
        return found
    for line in Path(path).read_bytes().split(b"\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def fitting(name: str, refused: re.Pattern[str], longest: int) -> str:
    """The name with what a tracker refuses replaced. Two that differ stay two."""
    plain = refused.sub("_", name).strip()
    if plain == name and len(name) <= longest:
        return name
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: longest - len(mark) - 1]}_{mark}"


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as one level of names: `data.batch_size`."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found += flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def entry_fields(entry: ContextEntry) -> dict[str, Any]:
    """An entry of the journal as plain values."""
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in _pairs(entry)}


def _pairs(entry: ContextEntry) -> list[tuple[str, Any]]:
    return [(one.name, getattr(entry, one.name)) for one in dataclasses.fields(entry)]


def event_key(seq: Any, at: Any) -> str:
    """Tells events apart: a run that is resumed counts anew."""
    return f"{seq} {at}"


def entry_key(fields: Mapping[str, Any]) -> str:
    """Tells entries of the journal apart."""
    return as_json({key: fields[key] for key in sorted(fields) if key != "data"})


def as_json(value: Any) -> str:
    """One line of JSON that every reader takes: NaN and infinity become texts, what is unknown its description."""
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=True, default=str)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, ensure_ascii=True, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value


def _appending(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+b")
    try:
        cut_off = file.seek(0, os.SEEK_END) > 0
        if cut_off:
            file.seek(-1, os.SEEK_END)
            cut_off = file.read(1) != b"\n"
    finally:
        file.close()
    text = path.open("a", encoding="ascii", newline="\n")
    if cut_off:
        text.write("\n")
    return text


def _keys(line: Mapping[str, Any]) -> list[Key]:
    kind = line.get("kind")
    if kind == "metrics":
        return [(str(line.get("phase")), line.get("step"))]
    if kind == "event":
        event = line.get("event")
        return [("event", event_key(event.get("seq"), event.get("ts")))] if isinstance(event, dict) else []
    if kind == "context":
        return [("context", entry_key(line["entry"]))] if isinstance(line.get("entry"), dict) else []
    return []
