"""What a user can do at each point of a training run. A misspelt hook is an error at once, never silence."""

from __future__ import annotations

from typing import Any

from autopilot_runtime.training.fault import TrainingError, meant

_PLAIN = (
    "setup teardown on_fit_start on_fit_end on_sanity_check_start on_sanity_check_end on_epoch_start on_epoch_end "
    "on_train_epoch_start on_train_epoch_end on_train_batch_start on_train_batch_end on_before_backward "
    "on_after_backward on_before_optimizer_step on_after_optimizer_step on_before_zero_grad on_validation_start "
    "on_validation_epoch_start on_validation_batch_start on_validation_batch_end on_validation_epoch_end "
    "on_validation_end on_test_start on_test_epoch_start on_test_batch_start on_test_batch_end on_test_epoch_end "
    "on_test_end on_predict_start on_predict_batch_start on_predict_batch_end on_predict_end on_proposed on_accept "
    "on_discard on_rollback on_stop on_exception on_save_checkpoint on_load_checkpoint on_context"
)
HOOKS = frozenset(_PLAIN.split())


class Callback:
    """Override what you need; every hook gets the trainer and the module first.

    Hooks: see `HOOKS`. Batch hooks also get `batch, batch_idx` (`..._end`: `outputs, batch, batch_idx`), validation
    and test ends `metrics`, on_proposed `commit, why`, on_accept, on_discard, on_rollback and on_stop `decision`,
    on_exception `error`, on_save_checkpoint and on_load_checkpoint `checkpoint` (a dict), on_context `entry`.
    """

    def __new__(cls, *_: Any, **__: Any) -> Callback:
        check_hooks(cls)
        return super().__new__(cls)

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        """Before anything of a fit, validation, test or prediction."""

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        """After everything."""

    def state_dict(self) -> dict[str, Any]:
        """What goes into a checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What a checkpoint said."""


def check_hooks(kind: type) -> None:
    """Raise for a method that looks like a hook and is none."""
    for name in dir(kind):
        if name.startswith("on_") and name not in HOOKS and callable(getattr(kind, name, None)):
            raise TrainingError(f"{kind.__name__}.{name} is no hook, and would never be called.{meant(name, HOOKS)}")
