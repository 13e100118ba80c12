"""Searches numbers and choices with Optuna: asks a study for values, and tells it how good they measured."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from autopilot_runtime.core.errors import MissingExtra
from autopilot_runtime.training.fault import TrainingError, meant
from autopilot_runtime.training.gate import direction_of, number_in
from autopilot_runtime.training.optimizer import Optimizer
from autopilot_runtime.training.parameter import JSONParameter, Parameter, ScalarParameter


class SearchOptimizer(Optimizer):
    """`SearchOptimizer(study, module.parameters(), metric="accuracy")`; without a study it makes one of its own.

    A `ScalarParameter` with bounds is searched between them. `space` says it for others, by name: `(low, high)`, a
    list of choices, or an Optuna distribution; `"rules.threshold"` is a place in a JSON document. One trial is one
    candidate: a trainer says how it measured, a loop of your own says it with `tell(value)`.
    """

    def __init__(
        self,
        study: Any = None,
        parameters: Any = None,
        *,
        params: Any = None,
        space: Any = None,
        metric: str = "",
        seed: int = 0,
    ) -> None:
        if study is not None and not hasattr(study, "ask"):
            study, parameters = parameters, study
        super().__init__(parameters if parameters is not None else params)
        self._optuna = _optuna()
        self.metric, self.seed = metric, seed
        self._own = study is None
        self.study = self._new_study() if study is None else study
        if len(self.study.directions) > 1:
            raise TrainingError("a study with several objectives has no single best: give one with one direction")
        self._space = space
        self._places: dict[str, tuple[Parameter, tuple[str, ...]]] | None = None
        self._kinds: dict[str, Any] = {}
        self._listed: dict[str, list[Any]] = {}
        self._pending: int | None = None
        self._metrics: Mapping[str, Any] | None = None
        self._watched = False  # whether somebody says what was measured

    def _new_study(self) -> Any:
        optuna = self._optuna
        rises = direction_of(self.metric, {}) if self.metric else True
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            return optuna.create_study(direction="maximize" if rises else "minimize")
        finally:
            optuna.logging.set_verbosity(before)

    # ------------------------------------------------------------ ask

    def step(self) -> bool:
        """Take on the values of a new trial. While one waits for its measurement, nothing changes."""
        self._look()
        if self._pending is not None:
            if self._watched:
                return False
            raise TrainingError(
                f"trial {self._pending} was never answered: measure what step() proposed, then optimizer.tell(value)"
            )
        if self._own:  # chance that hangs on nothing but the seed and the trial, so that a resume meets the same
            chance = self.seed * 1_000_003 + len(self.study.trials)
            self.study.sampler = self._optuna.samplers.TPESampler(seed=chance % 2**32)
        trial = self.study.ask(dict(self._kinds))
        self._take(trial.params)
        self._pending = trial.number
        self.why = f"trial {trial.number}: " + ", ".join(f"{name}={value!r}" for name, value in trial.params.items())
        return True

    def _take(self, values: Mapping[str, Any]) -> None:
        documents: dict[str, tuple[Parameter, Any]] = {}
        for name, value in values.items():
            parameter, path = self._known()[name]
            chosen = self._listed[name][value] if name in self._listed else value
            if not path:
                parameter.data = chosen
                continue
            _, document = documents.setdefault(parameter.name, (parameter, copy.deepcopy(parameter.data)))
            inside = document
            for key in path[:-1]:
                inside = inside.setdefault(key, {})
            inside[path[-1]] = chosen
        for parameter, document in documents.values():
            parameter.data = document

    # ------------------------------------------------------------ tell

    def tell(self, value: float) -> None:
        """How good the newest proposal is."""
        if self._pending is None:
            raise TrainingError("tell(value) answers a trial, and there is none: call step() first")
        number, self._pending = self._pending, None
        if isinstance(value, (int, float)) and math.isfinite(value):
            self.study.tell(number, float(value))
        else:
            self.study.tell(number, state=self._optuna.trial.TrialState.FAIL)

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """What the newest state measured. The one that all began with counts as a trial, too."""
        if self._pending is not None:
            self._metrics = dict(metrics)
        elif not self._watched and not self.study.trials:
            self._add_first(self._value(metrics))
        self._watched = True

    def told(self, verdict: str, reason: str) -> None:
        """The candidate is settled. One that was never measured says nothing about its values."""
        if self._pending is None:
            return
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            self.tell(self._value(metrics))
            return
        number, self._pending = self._pending, None
        self.study.tell(number, state=self._optuna.trial.TrialState.FAIL)

    def _value(self, metrics: Mapping[str, Any]) -> float:
        name = self.metric or (next(iter(metrics)) if len(metrics) == 1 else "")
        if not name:
            raise TrainingError(
                f"SearchOptimizer(metric=...) says which of {', '.join(sorted(metrics))} the study is about"
            )
        value = number_in(metrics, name)
        return math.nan if isinstance(value, str) else value

    def _add_first(self, value: float) -> None:
        """The state before the first trial, if its values lie in the space."""
        self._look()
        found: dict[str, Any] = {}
        for name, (parameter, path) in self._known().items():
            inside = parameter.data
            for key in path:
                inside = inside.get(key) if isinstance(inside, Mapping) else None
            if name in self._listed:
                inside = self._listed[name].index(inside) if inside in self._listed[name] else None
            kind = self._kinds[name]
            if inside is None or not kind._contains(kind.to_internal_repr(inside)):
                return
            found[name] = inside
        if math.isfinite(value):
            self.study.add_trial(
                self._optuna.trial.create_trial(params=found, distributions=dict(self._kinds), value=value)
            )

    # ------------------------------------------------------------ the space

    def _known(self) -> dict[str, tuple[Parameter, tuple[str, ...]]]:
        assert self._places is not None
        return self._places

    def _look(self) -> None:
        """Find the parameters that the space names. Late, because a module names them."""
        if self._places is not None:
            return
        named = {one.name or f"parameter{at}": one for at, one in enumerate(self.parameters)}
        self._places = {}
        for name, given in _by_name(self._space, named).items():
            self._add(name, *_found(name, named), given)
        covered = {id(parameter) for parameter, _ in self._places.values()}
        for name, parameter in named.items():
            if id(parameter) not in covered:
                self._add(name, parameter, (), _bounds(name, parameter))
        if not self._kinds:
            raise TrainingError("there is nothing to search: no parameter has a range")

    def _add(self, name: str, parameter: Parameter, path: tuple[str, ...], given: Any) -> None:
        self._known()[name] = (parameter, path)
        kinds = self._optuna.distributions
        if isinstance(given, kinds.BaseDistribution):
            self._kinds[name] = given
        elif _is_range(given):
            scalar = isinstance(parameter, ScalarParameter) and not path
            whole = parameter.integer if scalar else all(isinstance(end, int) for end in given)  # type: ignore[attr-defined]
            self._kinds[name] = (kinds.IntDistribution if whole else kinds.FloatDistribution)(*given)
        elif isinstance(given, (list, tuple)) and given:
            self._kinds[name] = kinds.CategoricalDistribution(self._choices(name, list(given)))
        else:
            raise TrainingError(
                f"space[{name!r}] = {given!r} is no range: (low, high), a list of choices, or an Optuna distribution"
            )

    def _choices(self, name: str, given: list[Any]) -> list[Any]:
        """What a study can hold; of other things it sees the number."""
        if all(one is None or isinstance(one, (bool, int, float, str)) for one in given):
            return given
        self._listed[name] = given
        return list(range(len(given)))

    # ------------------------------------------------------------ going on elsewhere

    def state_dict(self) -> dict[str, Any]:
        """Settings, the open trial, and the trials themselves when the study lives in memory only."""
        kept: list[dict[str, Any]] = []
        if type(self.study._storage).__name__ == "InMemoryStorage":
            kept = [self._row(trial) for trial in self.study.get_trials(deepcopy=False)]
        return {**super().state_dict(), "pending": self._pending, "watched": self._watched, "trials": kept}

    def _row(self, trial: Any) -> dict[str, Any]:
        write = self._optuna.distributions.distribution_to_json
        return {
            "params": dict(trial.params),
            "kinds": {name: write(kind) for name, kind in trial.distributions.items()},
            "value": trial.value,
            "state": trial.state.name,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there. A study that is kept elsewhere knows its trials; trials it does not have are added."""
        super().load_state_dict(state)
        read, trials = self._optuna.distributions.json_to_distribution, self._optuna.trial
        rows = state.get("trials", [])
        if rows and len(self.study.trials) > len(rows) and self._own:
            self.study = self._new_study()  # it has gone on since: back to where it was
        for row in rows[len(self.study.trials) :]:
            self.study.add_trial(
                trials.create_trial(
                    state=trials.TrialState[row["state"]],
                    value=row["value"],
                    params=row["params"],
                    distributions={name: read(kind) for name, kind in row["kinds"].items()},
                )
            )
        self._pending, self._watched = state.get("pending"), bool(state.get("watched"))
        self._metrics = None


def _by_name(space: Any, named: Mapping[str, Parameter]) -> Mapping[str, Any]:
    """The space as it was given, or of the only parameter."""
    if space is None or isinstance(space, Mapping):
        return space or {}
    if len(named) != 1:
        raise TrainingError(f"space= is one range for {len(named)} parameters: give a dict of name → range")
    return {next(iter(named)): space}


def _is_range(given: Any) -> bool:
    if not isinstance(given, tuple) or len(given) != 2:
        return False
    return all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in given)


def _bounds(name: str, parameter: Parameter) -> Any:
    """What a parameter says of its own range."""
    if isinstance(parameter, ScalarParameter) and parameter.low is not None and parameter.high is not None:
        ends = (parameter.low, parameter.high)
        return tuple(int(end) for end in ends) if parameter.integer else tuple(float(end) for end in ends)
    raise TrainingError(
        f"nobody says between what {name!r} ({type(parameter).__name__}) is to be searched: "
        f"space={{{name!r}: (low, high)}}, or a list of choices; or leave it out of the optimizer's parameters"
    )


def _found(name: str, named: Mapping[str, Parameter]) -> tuple[Parameter, tuple[str, ...]]:
    """The parameter that a name of the space means, and the place in its document."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        head, path = ".".join(parts[:end]), tuple(parts[end:])
        one = named.get(head) or next((p for full, p in named.items() if full.endswith("." + head)), None)
        if one is None or (path and not isinstance(one, JSONParameter)):
            continue
        return one, path
    raise TrainingError(f"space names {name!r}, which is no parameter of this optimizer.{meant(name, named)}")


def _optuna() -> Any:
    """Optuna, which only this needs."""
    try:
        return import_module("optuna")
    except ImportError as error:
        raise MissingExtra("SearchOptimizer", "optuna", "optuna") from error
