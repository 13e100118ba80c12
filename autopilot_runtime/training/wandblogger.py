"""Tells Weights & Biases how a run goes: in the run that the user has open, else in one of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from autopilot_runtime.core.errors import MissingExtra
from autopilot_runtime.training.logger import Key, Logger, as_json, entry_fields, flat

if TYPE_CHECKING:
    from autopilot_runtime.training.contextlog import ContextEntry

_COLUMNS = ["epoch", "source", "decision", "entry"]


class WandbLogger(Logger):
    """Metrics as `val/accuracy` over `epoch`, settings in the run's config, the journal as a table.

    The run is the one that is passed, else `wandb.run`, else a new one, which alone is finished. `options` go to
    `wandb.init`: project, name, mode="offline", ...
    """

    name = "W&B"

    def __init__(self, run: Any = None, **options: Any) -> None:
        self._wandb = _library()
        self._given, self.options = run, options
        self.run: Any = run
        self._owned = False
        self._id = ""
        self._about: Mapping[str, Any] = {}
        self._journal: list[list[Any]] = []
        self._logged: set[Key] = set()

    def start(self, run: Mapping[str, Any]) -> None:
        self._about = dict(run)
        self._journal = []
        if self._given is None and not self._owned:
            self.run = self._wandb.run

    def log_params(self, params: Mapping[str, Any]) -> None:
        self._open().config.update(dict(flat(params)), allow_val_change=True)

    def log_metrics(self, metrics: Mapping[str, float], *, step: int, phase: str = "") -> None:
        prefix = f"{phase}/" if phase else ""
        values = {prefix + key: float(value) for key, value in metrics.items()}
        # Steps of the run are the user's own to count: the epoch is a value beside the others.
        self._open().log({**values, "epoch": step})
        self._logged.add((phase, step))

    def log_context(self, entry: ContextEntry) -> None:
        fields = entry_fields(entry)
        self._journal.append([*(str(fields.get(key, "")) for key in _COLUMNS[:-1]), as_json(fields)])

    def finish(self, status: str) -> None:
        run = self._open()
        if self._journal:
            run.log({"journal": self._wandb.Table(columns=_COLUMNS, data=self._journal)})
        run.summary["autopilot_status"] = status
        run.summary["autopilot_epochs"] = max((key[1] for key in self._logged if isinstance(key[1], int)), default=0)
        if self._owned:
            run.finish(exit_code=0 if status in ("completed", "stopped") else 1)
            self.run, self._owned = None, False

    def have(self) -> Collection[Key]:
        return self._logged

    def _open(self) -> Any:
        """The run; begun when first needed, by the thread that may wait."""
        if self.run is None:
            chosen = {"name": str(self._about.get("experiment", "")) or None, **self.options}
            # Ours must not put itself between the program and its stdout.
            chosen.setdefault("settings", self._wandb.Settings(console="off"))
            if self._id:  # what was ended goes on
                chosen.update(id=self._id, resume="allow")
            self.run, self._owned = self._wandb.init(**chosen), True
            self._id = str(self.run.id)
        if not self._logged:
            for pattern in ("train/*", "val/*", "test/*"):
                self.run.define_metric(pattern, step_metric="epoch")
        return self.run


def _library() -> Any:
    try:
        return import_module("wandb")  # optional, and slow to load
    except ImportError as error:
        raise MissingExtra("WandbLogger", "wandb", "wandb") from error
