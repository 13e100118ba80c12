"""Writes checkpoints while a fit runs: the newest, and the best by a metric."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from autopilot_runtime.training.callback import Callback
from autopilot_runtime.training.checkpoint import CheckpointIO, JSONCheckpointIO
from autopilot_runtime.training.fault import MetricMissing, TrainingError, meant
from autopilot_runtime.training.gate import direction_of, number_in


class CheckpointCallback(Callback):
    """Writes a checkpoint after each epoch and keeps the `save_top_k` best by `monitor` (-1: all; without a metric
    to go by: the newest). `last.json` is always the newest. `filename` takes the epoch, the step and metrics."""

    def __init__(
        self,
        dirpath: str | os.PathLike[str],
        monitor: str | None = None,
        save_top_k: int = 1,
        save_last: bool = True,
        filename: str = "epoch-{epoch}",
        *,
        higher_is_better: bool | None = None,
        every_n_epochs: int = 1,
        io: CheckpointIO | None = None,
    ) -> None:
        if save_top_k < -1 or every_n_epochs < 1:
            raise TrainingError(
                f"save_top_k={save_top_k} must be -1 (all) or more, every_n_epochs={every_n_epochs} 1 or more."
            )
        self.dirpath = Path(dirpath)
        self.monitor, self.save_top_k, self.save_last, self.filename = monitor, save_top_k, save_last, filename
        self.higher_is_better, self.every_n_epochs = higher_is_better, every_n_epochs
        self.io: CheckpointIO = io or JSONCheckpointIO()
        self.kept: list[tuple[float, str]] = []  # value, path; in the order they were written

    @property
    def last_path(self) -> str:
        """Where the newest is."""
        return str(self.dirpath / "last.json") if self.save_last else (self.kept[-1][1] if self.kept else "")

    @property
    def best_path(self) -> str:
        """Where the best is; the later of equals."""
        return max(reversed(self.kept), default=(0.0, ""), key=lambda one: one[0])[1]

    def on_epoch_end(self, trainer: Any, module: Any) -> None:
        """Write, then remove what is one too many: there is never less than what should be kept."""
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        value = self._value(trainer)
        if self.save_last:
            trainer.save_checkpoint(self.dirpath / "last.json", io=self.io)
        if value is None or self.save_top_k == 0 or not self._is_wanted(value):
            return
        path = str(self.dirpath / f"{self._name(trainer)}.json")
        trainer.save_checkpoint(path, io=self.io)
        self.kept = [one for one in self.kept if one[1] != path] + [(value, path)]
        while 0 < self.save_top_k < len(self.kept):
            worst = min(self.kept, key=lambda one: one[0])
            self.kept.remove(worst)
            self.io.remove(worst[1])

    def _value(self, trainer: Any) -> float | None:
        """What is gone by, so that more is better; None for an epoch that measured nothing."""
        if self.monitor is None:
            return float(trainer.current_epoch)
        metrics = trainer.callback_metrics
        number = number_in(metrics, self.monitor)
        if isinstance(number, float):
            rises = self.higher_is_better
            return number if (direction_of(self.monitor, {}) if rises is None else rises) else -number
        if metrics and self.monitor not in metrics:
            raise MetricMissing(f"CheckpointCallback(monitor={self.monitor!r}): {number}")
        return None  # NaN is never among the best

    def _is_wanted(self, value: float) -> bool:
        return self.save_top_k == -1 or len(self.kept) < self.save_top_k or value >= min(self.kept)[0]

    def _name(self, trainer: Any) -> str:
        fields = {**trainer.callback_metrics, "epoch": trainer.current_epoch, "step": trainer.global_step}
        try:
            name = self.filename.format(**fields)
        except (KeyError, ValueError, IndexError) as error:
            missing = str(error.args[0]) if isinstance(error, KeyError) else ""
            hint = meant(missing, fields) if missing else ""
            raise TrainingError(f"CheckpointCallback(filename={self.filename!r}): {error}.{hint}") from error
        return name.replace("/", "-").replace("\0", "-")

    def state_dict(self) -> dict[str, Any]:
        """What it keeps, for a resume."""
        return {"kept": [list(one) for one in self.kept]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what is still there."""
        self.kept = [(float(value), path) for value, path in state.get("kept", []) if Path(path).exists()]
