"""Tells MLflow how a run goes: in the run that the user has open, else in one of its own."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from autopilot_runtime.core.errors import MissingExtra
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.training.logger import Key, Logger, as_json, entry_fields, fitting, flat

if TYPE_CHECKING:
    from autopilot_runtime.training.contextlog import ContextEntry

_REFUSED = re.compile(r"[^\w\-. :/]", re.ASCII)
_LONGEST_NAME, _LONGEST_VALUE, _AT_ONCE = 250, 500, 100
_JOURNAL, _PARAMS = "autopilot/journal.jsonl", "autopilot/params.json"
_STATUS = {"completed": "FINISHED", "cancelled": "KILLED"}
_VERDICTS = {EventType.ACCEPTED: 1.0, EventType.DISCARDED: 0.0, EventType.ROLLBACK: 0.0}


class MLflowLogger(Logger):
    """Metrics as `val/accuracy` by epoch, settings as params, the journal as an artifact.

    The run is `run_id`, else the active one of the thread that trains, else a new one, which alone is ended.
    """

    name = "MLflow"

    def __init__(
        self,
        *,
        run_id: str | None = None,
        experiment_name: str | None = None,
        tracking_uri: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._mlflow = _library()
        self.run_id = run_id
        self.experiment_name, self.tracking_uri = experiment_name, tracking_uri
        self._given, self._clock = run_id, clock
        self._owned = False
        self._ended = False
        self._about: Mapping[str, Any] = {}
        self._journal: list[str] = []
        self._connected: Any = None

    def start(self, run: Mapping[str, Any]) -> None:
        self._about = dict(run)
        self._journal = []
        if self._given is None and not self._owned:
            active = self._mlflow.active_run()  # of this thread: the others have none
            self.run_id = active.info.run_id if active is not None else None

    def log_params(self, params: Mapping[str, Any]) -> None:
        client, run_id = self._run()
        named = {_named(key): value if isinstance(value, str) else as_json(value) for key, value in flat(params)}
        there = client.get_run(run_id).data.params
        short = {key: _cut(value) for key, value in named.items()}
        new = [key for key in short if key not in there]
        for at in range(0, len(new), _AT_ONCE):
            some = [self._entities().Param(key, short[key]) for key in new[at : at + _AT_ONCE]]
            client.log_batch(run_id, params=some)
        # A param can never be changed, and the one that is there may be the user's own.
        for key in short.keys() & there.keys():
            if there[key] != short[key]:
                client.set_tag(run_id, f"autopilot.param.{key}", short[key])
        if any(len(value) > _LONGEST_VALUE for value in named.values()):
            client.log_text(run_id, as_json(dict(params)), _PARAMS)

    def log_metrics(self, metrics: Mapping[str, float], *, step: int, phase: str = "") -> None:
        client, run_id = self._run()
        prefix = f"{phase}/" if phase else ""
        at = round(self._clock() * 1000)
        found = [
            self._entities().Metric(_named(prefix + key), float(value), at, step) for key, value in metrics.items()
        ]
        client.log_batch(run_id, metrics=found)

    def log_event(self, event: Event) -> None:
        verdict = _VERDICTS.get(event.type)
        if verdict is not None:
            self.log_metrics({"accepted": verdict}, step=int(event.data.get("epoch") or 0), phase="autopilot")

    def log_context(self, entry: ContextEntry) -> None:
        self._journal.append(as_json(entry_fields(entry)))

    def finish(self, status: str) -> None:
        client, run_id = self._run()
        client.set_tag(run_id, "autopilot.status", status)
        if self._journal:
            client.log_text(run_id, "".join(f"{line}\n" for line in self._journal), _JOURNAL)
        if self._owned and not self._ended:
            self._ended = True
            client.set_terminated(run_id, _STATUS.get(status, "FAILED"))

    def have(self) -> Collection[Key]:
        client, run_id = self._run()
        found: set[Key] = set()
        for name in client.get_run(run_id).data.metrics:
            phase = name.partition("/")[0]
            if phase in ("train", "val", "test", "autopilot") and "/" in name:
                found.update((phase, one.step) for one in client.get_metric_history(run_id, name))
        return found

    def _run(self) -> tuple[Any, str]:
        """The client and the run; made when first needed, by the thread that may wait."""
        client = self._client()
        if self.run_id is None:
            created = client.create_run(self._experiment(client), run_name=str(self._about.get("experiment", "")))
            self.run_id, self._owned = str(created.info.run_id), True
        elif self._owned and self._ended:
            self._ended = False
            client.update_run(self.run_id, status="RUNNING")
        return client, self.run_id

    def _client(self) -> Any:
        if self._connected is None:
            self._connected = self._mlflow.MlflowClient(tracking_uri=self.tracking_uri)
        return self._connected

    def _experiment(self, client: Any) -> str:
        if self.experiment_name is None:
            return "0"
        found = client.get_experiment_by_name(self.experiment_name)
        return str(found.experiment_id if found is not None else client.create_experiment(self.experiment_name))

    @staticmethod
    def _entities() -> Any:
        return import_module("mlflow.entities")


def _library() -> Any:
    try:
        return import_module("mlflow")  # optional, and slow to load
    except ImportError as error:
        raise MissingExtra("MLflowLogger", "MLflow", "mlflow") from error


def _named(name: str) -> str:
    return fitting(name, _REFUSED, _LONGEST_NAME)


def _cut(value: str) -> str:
    """The value, if it is short; of a long one the beginning. The whole of it is in an artifact."""
    text = json.dumps(value)[1:-1] if "\0" in value else value
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
