"""A module that says how it is trained: what a step is, who changes it, and what happens around it."""

from __future__ import annotations

from typing import Any

from autopilot_runtime.training.callback import check_hooks
from autopilot_runtime.training.module import Module
from autopilot_runtime.training.runstep import log


class AutoPilotModule(Module):
    """Override `forward` (or the steps) and `configure_optimizers`; hold a `Loss` and `Metric`s as attributes.

    Hooks of `Callback` may be methods here, too, without the trainer and module arguments.
    """

    trainer: Any = None  # the one that trains it now

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        check_hooks(cls)

    def prepare_data(self) -> None:
        """Once, before anything else: download, generate."""

    def setup(self, stage: str) -> None:
        """Before a `fit`, `validate`, `test` or `predict`."""

    def teardown(self, stage: str) -> None:
        """After it."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The work on one batch in training; what it gives goes to the loss and the metrics."""
        return self(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """The work on one batch of held-out data."""
        return self(batch)

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        """The work on one batch of the test data."""
        return self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """The work on one batch without a judgement."""
        return self(batch)

    def configure_optimizers(self) -> Any:
        """An optimizer, a list of them, or (optimizers, schedulers); None for a system that is only measured."""
        return None

    def configure_losses(self) -> Any:
        """The losses; those that are attributes, unless overridden."""
        return self.losses()

    def log(self, name: str, value: float) -> None:
        """Record a number of the running phase; several in one phase are averaged."""
        if not log(name, value) and self.trainer is not None:
            self.trainer.log_metric(name, value)

    def log_dict(self, values: dict[str, float]) -> None:
        """Record several."""
        for name, value in values.items():
            self.log(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "trainer": None}  # a copy in another process is trained by nobody

    def evaluator_version(self) -> str:
        """Changes when an evaluation would give something else for the same parameters and item."""
        return ""
