"""Reads the feedback on parameters and changes them. `step` is all that a subclass must have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from autopilot_runtime.training.fault import ParameterRefused, TrainingError
from autopilot_runtime.training.gradient import Gradient
from autopilot_runtime.training.parameter import Parameter

Params = Iterable[Parameter] | Iterable[Mapping[str, Any]]


class Optimizer:
    """Changes parameters. `Optimizer(params, **defaults)`: parameters, or groups of them with settings of their own.

    `why` is what the newest step says of itself; `blocked` are strategies that have been tried and failed.
    """

    param_groups: list[dict[str, Any]]
    defaults: dict[str, Any]
    blocked: dict[str, str]
    why: str

    def __new__(cls, *_: Any, **__: Any) -> Self:
        self = super().__new__(cls)
        self.param_groups, self.defaults, self.blocked, self.why = [], {}, {}, ""
        return self

    def __init__(self, params: Params | None = None, *, parameters: Params | None = None, **defaults: Any) -> None:
        given = params if params is not None else parameters
        if given is None:
            raise TrainingError(f"{type(self).__name__} needs parameters: module.parameters()")
        self.defaults = defaults
        listed = list(given)
        groups = listed if listed and isinstance(listed[0], Mapping) else [{"params": listed}]
        for group in groups:
            self.add_param_group(group)  # type: ignore[arg-type]
        if not self._parameters:
            raise TrainingError(f"{type(self).__name__} got an empty list of parameters: nothing could be improved")

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Take on more parameters, with settings of their own."""
        params = group["params"]
        mine = [params] if isinstance(params, Parameter) else list(params)
        have = {id(one) for one in self._parameters}
        for one in mine:
            if not isinstance(one, Parameter):
                raise TrainingError(f"an optimizer takes parameters, not {type(one).__name__}")
            if id(one) in have:
                raise TrainingError(f"parameter {one.name!r} is in two groups")
        self.param_groups.append({**self.defaults, **group, "params": mine})

    @property
    def _parameters(self) -> list[Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    @property
    def parameters(self) -> list[Parameter]:
        """All of them that may be changed."""
        return [one for one in self._parameters if one.requires_grad]

    def step(self) -> Any:
        """Change the parameters, by their feedback."""
        raise NotImplementedError(f"{type(self).__name__} has no step()")

    def zero_grad(self) -> None:
        """Forget the feedback."""
        for parameter in self._parameters:
            parameter.grad = None

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """What the newest state measured on held-out data; before any step, the state that all begins with."""

    def told(self, verdict: str, reason: str) -> None:
        """What became of the newest change: `accept`, `discard`, ... Override to learn from it."""

    def block_strategy(self, name: str, why: str = "") -> None:
        """Do not try this again."""
        self.blocked[name] = why

    def is_blocked(self, name: str) -> bool:
        """Whether this was tried and failed."""
        return name in self.blocked

    def state_dict(self) -> dict[str, Any]:
        """What it must remember to go on elsewhere, ready for JSON. Subclasses add to it."""
        settings = [
            {key: _plain(value) for key, value in group.items() if key != "params"} for group in self.param_groups
        ]
        return {"groups": settings, "blocked": dict(self.blocked), "own": self._set_by_subclass()}

    def _set_by_subclass(self) -> dict[str, Any]:
        """Numbers and texts that a subclass has set on itself: a counter, say, which a resume must not begin anew."""
        kept = {name: value for name, value in vars(self).items() if name not in _KNOWN}
        plain = (bool, int, float, str, type(None))
        return {name: value for name, value in kept.items() if type(value) in plain}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` said."""
        for group, settings in zip(self.param_groups, state.get("groups", ()), strict=False):
            group.update({key: value for key, value in settings.items() if value is not None})
        self.blocked = dict(state.get("blocked", {}))
        for name, value in state.get("own", {}).items():
            setattr(self, name, value)


_KNOWN = frozenset({"param_groups", "defaults", "blocked", "why"})


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return None  # a function or an object: it comes from the code, not from the state


Rule = Callable[[Parameter, Gradient], Any]


class RuleOptimizer(Optimizer):
    """Applies rules without a model: each `rule(parameter, gradient)` gives a new value, or None to pass.

    The first rule that gives one wins; a rule that is blocked (by its name) is passed over. Subclasses may override
    `propose` instead of giving rules.
    """

    def __init__(
        self,
        params: Params | None = None,
        rules: Rule | Sequence[Rule] = (),
        *,
        parameters: Params | None = None,
        **defaults: Any,
    ) -> None:
        super().__init__(params, parameters=parameters, **defaults)
        self.rules = [rules] if callable(rules) else list(rules)

    def propose(self, parameter: Parameter, gradient: Gradient) -> Any:
        """A new value for one parameter, or None."""
        for rule in self.rules:
            name = getattr(rule, "__name__", type(rule).__name__)
            if not self.is_blocked(name) and (value := rule(parameter, gradient)) is not None:
                self.why = f"rule {name}: {' '.join(gradient.render().split())[:200]}"
                return value
        return None

    def step(self) -> int:
        """Apply the rules to every parameter that has feedback; gives how many were changed."""
        changed = 0
        for parameter in self.parameters:
            if parameter.grad is not None and (value := self.propose(parameter, parameter.grad)) is not None:
                if value is not parameter:  # a rule may also change the parameter itself, and give it back
                    parameter.data = value
                changed += 1
        return changed


class ScriptedOptimizer(Optimizer):
    """Makes given changes, one a step: for tests and demonstrations.

    An entry is a dict of parameter name → value, a value (for the only parameter), a function of the list of
    parameters, or None for a step that changes nothing. After the last one nothing changes any more.
    """

    def __init__(
        self, params: Params | None = None, script: Iterable[Any] = (), *, parameters: Params | None = None
    ) -> None:
        super().__init__(params, parameters=parameters)
        self.script = list(script)
        self.at = 0

    def step(self) -> bool:
        """Make the next change; False when there is none left."""
        if self.at >= len(self.script):
            return False
        entry = self.script[self.at]
        self.at += 1
        self.why = f"entry {self.at} of the script"
        if callable(entry):
            entry(self.parameters)
            return True
        if not isinstance(entry, Mapping) or not self._names(entry):
            entry = {} if entry is None else {self.parameters[0].name: entry}
        by_name = {one.name: one for one in self.parameters}
        for name, value in entry.items():
            by_name[name].data = value
        return True

    def _names(self, entry: Mapping[Any, Any]) -> bool:
        return bool(entry) and entry.keys() <= {one.name for one in self.parameters}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "at": self.at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.at = int(state.get("at", 0))


class Scheduler:
    """Changes a setting of an optimizer from epoch to epoch: `at(epoch)` gives the factor on what it began with."""

    def __init__(self, optimizer: Optimizer, at: Callable[[int], float], *, setting: str = "lr") -> None:
        self.optimizer, self.setting, self._at = optimizer, setting, at
        for group in optimizer.param_groups:
            if setting not in group:
                raise ParameterRefused(
                    f"the optimizer has no setting {setting!r}: {type(optimizer).__name__}(..., {setting}=1)"
                )
        self._first = [float(group[setting]) for group in optimizer.param_groups]
        self.epoch = 0

    def step(self) -> None:
        """An epoch has ended."""
        self.epoch += 1
        for group, first in zip(self.optimizer.param_groups, self._first, strict=True):
            group[self.setting] = first * self._at(self.epoch)

    def state_dict(self) -> dict[str, Any]:
        """What it must remember."""
        return {"epoch": self.epoch, "first": self._first}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.epoch, self._first = int(state["epoch"]), list(state["first"])
