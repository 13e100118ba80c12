"""Keeps a snapshot of every epoch in a store, under the number of the epoch: `store.checkout(3)` brings it back."""

from __future__ import annotations

import inspect
from typing import Any

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.callback import Callback
from autopilot_runtime.training.fault import TrainingError


class StoreCheckpointCallback(Callback):
    """Snapshots into a `FileStore`, or into anything with `snapshot(epoch)`. `accepted_only`: only what stands."""

    def __init__(self, store: Any, *, accepted_only: bool = False) -> None:
        self.store = store
        self.accepted_only = accepted_only
        self.snapshots: dict[int, Any] = {}  # epoch -> what the store called it

    def on_epoch_end(self, trainer: Any, module: Any) -> None:
        """Keep the state that stands after the epoch."""
        history = getattr(trainer, "history", ())
        row = history[-1] if history else None
        if self.accepted_only and row is not None and row.verdict != "accept":
            return
        epoch = trainer.current_epoch
        why = f"epoch {epoch}" + (f": {row.verdict}, {row.reason}" if row is not None else "")
        self.snapshots[epoch] = self._snapshot(epoch, why, module)
        tell = getattr(trainer, "tell", None)
        if tell is not None:
            tell(EventType.SNAPSHOT, tag=f"epoch-{epoch}", why=why, source="StoreCheckpointCallback")

    def _snapshot(self, epoch: int, why: str, module: Any) -> Any:
        """Of what the store itself knows to keep; of the module's parameters, when it knows of none."""
        taken = _taken(self.store.snapshot, {"why": why, "parameters": None})
        named = taken.pop("parameters", self) is None
        try:
            return self.store.snapshot(epoch, **taken)
        except TrainingError:
            if not named:
                raise
        return self.store.snapshot(epoch, parameters=list(module.named_parameters()), **taken)

    def state_dict(self) -> dict[str, Any]:
        """What was snapshotted, for a resume."""
        return {"snapshots": {str(epoch): name for epoch, name in self.snapshots.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with that."""
        self.snapshots = {int(epoch): name for epoch, name in state.get("snapshots", {}).items()}


def _taken(function: Any, offered: dict[str, Any]) -> dict[str, Any]:
    """What of this a function takes: a store of a user's own may only take the epoch."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return offered
    return {name: value for name, value in offered.items() if name in parameters}
