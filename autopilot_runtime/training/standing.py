"""Measures a module as it is, outside a fit: validate, test, predict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from autopilot_runtime.training.dispatch import Dispatch
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.graph import no_grad
from autopilot_runtime.training.measure import Measure
from autopilot_runtime.training.phase import step_of
from autopilot_runtime.training.runstep import run
from autopilot_runtime.training.start import prepare

_STAGE = {"val": "validate", "test": "test", "predict": "predict"}
_HOOK = {"val": "validation", "test": "test", "predict": "predict"}


@dataclass
class Standing:
    """What was found."""

    metrics: dict[str, float] = field(default_factory=dict)
    outputs: list[Any] = field(default_factory=list)


def evaluate(trainer: Any, module: Any, batches: Iterable[Any] | None, datamodule: Any, split: str) -> Standing:
    """Run the step of one split on every batch; what raises is raised."""
    prepare(module, datamodule, _STAGE[split])
    if batches is None and datamodule is not None:
        batches = getattr(datamodule, f"{split}_dataloader")()
    if batches is None:
        raise TrainingError(f"{_STAGE[split]} needs data: {_STAGE[split]}(module, dataloaders=...)")
    call, hook = Dispatch(trainer, module, trainer.callbacks), _HOOK[split]
    step = module.predict_step if split == "predict" else step_of(module, split)
    was, module.trainer = module.training, trainer
    module.eval()
    total = Measure(module.metrics() if split != "predict" else {}, trainer.monitor)
    found = Standing()
    call("setup", _STAGE[split])
    call(f"on_{hook}_start")
    call(f"on_{hook}_epoch_start")
    try:
        with no_grad():
            for index, batch in enumerate(batches):
                call(f"on_{hook}_batch_start", batch, index)
                ran = run(step, batch, index)
                output = ran.output
                found.outputs.append(output)
                if split != "predict":
                    total.add(output, batch, ran.logged)
                call(f"on_{hook}_batch_end", output, batch, index)
    finally:
        module.train(was)
    found.metrics = {} if split == "predict" else total.result()
    trainer.callback_metrics.update(found.metrics)
    call(f"on_{hook}_epoch_end", found.metrics)
    call(f"on_{hook}_end", found.metrics)
    call("teardown", _STAGE[split])
    return found
