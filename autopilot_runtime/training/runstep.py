"""One run of a step, here or in another process: what it gave, what it logged, and where its result came from."""

from __future__ import annotations

import inspect
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from autopilot_runtime.core.bridge import bridge
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.graph import Context, attach, no_grad, origin, plain_reach, recorded
from autopilot_runtime.training.module import Module
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.pathparameter import PathParameter
from autopilot_runtime.training.worktree import spelt

Step = Callable[[Any, int], Any]


class _Sink(threading.local):
    logged: list[tuple[str, float]] | None = None


_sink = _Sink()


def log(name: str, value: float) -> bool:
    """Note a number for the step that runs in this thread; whether one does."""
    if _sink.logged is None:
        return False
    _sink.logged.append((name, float(value)))
    return True


@dataclass(slots=True)
class Ran:
    """What came of one run. `reach` names the parameters its feedback gets to, when `source` could not come along."""

    output: Any
    seconds: float = 0.0
    logged: list[tuple[str, float]] = field(default_factory=list)
    source: Context | None = None
    reach: list[str] | None = None

    def arrive(self, parameters: list[tuple[str, Parameter]]) -> None:
        """Let the result be known here as what it is: a text or a list does not carry its origin across a thread."""
        if self.source is None and self.reach is not None:
            names = set(self.reach)
            self.source = recorded([one for name, one in parameters if name in names])
        if self.source is not None:
            attach(self.output, self.source)


def run(step: Step, batch: Any, index: int, *, recording: bool = True) -> Ran:
    """Run a step in this process; unless `recording`, nothing of it is remembered for feedback."""
    if not recording:
        with no_grad():
            return run(step, batch, index)
    outer, _sink.logged = _sink.logged, []
    began = time.perf_counter()
    try:
        output = awaited(step(batch, index))
        return Ran(output, time.perf_counter() - began, _sink.logged or [], origin(output))
    finally:
        _sink.logged = outer


def run_packed(packed: bytes, step: str, batch: Any, index: int, *, worktree: str | None = None) -> Ran:
    """Run a step of a module that came from another process, on files of its own."""
    module = _unpacked(packed)
    parameters = list(module.named_parameters())
    for name, parameter in parameters:
        if isinstance(parameter, PathParameter) and worktree is not None:
            parameter.move_to(Path(worktree) / spelt(name))
    if not module.training:
        with no_grad():
            return run(getattr(module, step), batch, index)
    ran = run(getattr(module, step), batch, index)
    source, ran.source = ran.source, None
    if source is not None:
        reached = plain_reach(source)
        if reached is None:
            raise TrainingError(
                f"{type(module).__name__} translates feedback on its way (backward(), a hook, an Operator), which "
                "only works where its results are made: train it with a LocalExecutor, or without an executor"
            )
        ran.reach = [name for name, one in parameters if any(one is other for other in reached)]
    _strip(ran.output)
    return ran


@lru_cache(maxsize=2)
def _unpacked(packed: bytes) -> Module:
    module: Module = pickle.loads(packed)
    return module


def _strip(output: Any) -> None:
    for one in output if isinstance(output, (list, tuple)) else [output, *(getattr(output, "items", None) or ())]:
        if getattr(one, "grad_fn", None) is not None:
            one.grad_fn = None


def awaited(value: Any) -> Any:
    """The value, waited for where it is a coroutine."""
    return bridge().call(value) if inspect.iscoroutine(value) else value
