"""Strategies by their short names: `Trainer(selector="pareto", acceptor="paired")`."""

from __future__ import annotations

from typing import Any, Literal

from autopilot_runtime.training.acceptor import PairedAcceptor, StrictAcceptor, WilcoxonAcceptor
from autopilot_runtime.training.fault import TrainingError, meant
from autopilot_runtime.training.selector import BestSelector, ParetoSelector, TopKSelector, TreeSelector

_NAMES: dict[str, dict[str, Any]] = {
    "selector": {"best": BestSelector, "pareto": ParetoSelector, "topk": TopKSelector, "tree": TreeSelector},
    "acceptor": {"strict": StrictAcceptor, "paired": PairedAcceptor, "wilcoxon": WilcoxonAcceptor},
}
_METHOD = {"selector": "select", "acceptor": "judge"}


def named(value: Any, kind: Literal["selector", "acceptor"]) -> Any:
    """The strategy of that name; one that is given as an object is itself."""
    if isinstance(value, str):
        if value not in _NAMES[kind]:
            raise TrainingError(f"there is no {kind} {value!r}.{meant(value, _NAMES[kind])}")
        return _NAMES[kind][value]()
    if value is not None and not callable(getattr(value, _METHOD[kind], None)):
        raise TrainingError(f"{type(value).__name__} is no {kind}: it has no {_METHOD[kind]}()")
    return value
