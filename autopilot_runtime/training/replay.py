"""Training results that are on record: a killed epoch is gone through again without running anything twice."""

from __future__ import annotations

from typing import Any

from autopilot_runtime.training.fit import Fit
from autopilot_runtime.training.graph import attach, origin, plain_reach, recorded
from autopilot_runtime.training.loss import Loss
from autopilot_runtime.training.packing import Unpackable, pack, unpack
from autopilot_runtime.training.steps import Done


def keep_batch(fit: Fit, done: Done, judged: list[Any]) -> None:
    """Put a batch's result on record with what the losses said, where both can be given back as they were."""
    done.judged = judged
    if any(type(loss).backward is not Loss.backward and type(loss).note is Loss.note for loss in fit.losses):
        return  # it keeps its own accounts, and cannot take in a result that is on record: it is called again
    source = origin(done.output)
    reach: list[str] | None = None
    if source is not None:
        reached = plain_reach(source)
        if reached is None:
            return  # the feedback is translated on its way; only the graph itself knows how
        ids = set(map(id, reached))
        reach = [name for name, parameter in fit.parameters if id(parameter) in ids]
    try:
        done.extra = {"reach": reach, "judged": pack(judged)}
    except Unpackable:
        return
    fit.steps.put(done)


def replay_batch(fit: Fit, done: Done) -> bool:
    """Take a result from the record as if the step had just run; whether it was there."""
    if not done.cached:
        return False
    try:
        judged = done.judged = unpack(done.extra["judged"])
    except Unpackable:
        return False
    if done.extra["reach"] is not None:
        names = set(done.extra["reach"])
        attach(done.output, recorded([one for name, one in fit.parameters if name in names]))
    for loss, result in zip(fit.losses, judged, strict=True):
        loss.note(done.output, result)
    return True
