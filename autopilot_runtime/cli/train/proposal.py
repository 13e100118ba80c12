"""Changes somebody proposes: each a state that is kept, made on copies, with the state that it is meant for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from autopilot_runtime.cli.train.recipe import Recipe
from autopilot_runtime.core.errors import SetupError, StoreConflict
from autopilot_runtime.training.decide import as_decision
from autopilot_runtime.training.environment import IsolatedEnvironment
from autopilot_runtime.training.experiment import Experiment
from autopilot_runtime.training.fault import ParameterRefused, TrainingError, meant
from autopilot_runtime.training.gate import Case, Decision
from autopilot_runtime.training.measure import directions
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.ranking import standing_metrics
from autopilot_runtime.training.record import Commit, Record
from autopilot_runtime.training.standing import evaluate
from autopilot_runtime.training.workbench import Submitted, Workbench

_STATE = "proposals"
Proposal = dict[str, Any]  # as it is kept: number, parameter, commit, base, why, at, status, and what was found of it


@dataclass
class Proposals:
    """Those of one experiment."""

    record: Record
    slug: str

    def all(self) -> list[Proposal]:
        """Every one, the oldest first; `stale` says whether another state is accepted by now."""
        stands = self.record.ref(self.slug, "last_accepted")
        kept = self.record.state(self.slug, _STATE) or []
        return [{**one, "stale": one["base"] != stands} for one in kept]

    def one(self, number: int) -> Proposal:
        """The one with that number."""
        found = next((one for one in self.all() if one["number"] == number), None)
        if found is None:
            known = ", ".join(str(one["number"]) for one in self.all())
            raise SetupError(
                f"There is no proposal {number} in {self.slug}. "
                + (f"There is: {known}." if known else "There is none.")
            )
        return found

    def create(
        self, recipe: Recipe, name: str, change: Callable[[Parameter], object], *, base: str | None, why: str
    ) -> Proposal:
        """Keep the accepted state with that change. `base`: only if that is still the accepted one."""
        stands = self._accepted(base)
        with copies(recipe, self.record, stands) as parameters:
            known = dict(parameters)
            if name not in known:
                raise SetupError(f"There is no parameter {name!r}.{meant(name, known)}")
            if not known[name].requires_grad:
                raise ParameterRefused(f"Parameter {name!r} is frozen: nothing was proposed.")
            change(known[name])
            if known[name].digest == stands.parameters[name]:
                raise ParameterRefused(f"{name!r} is the same as in {stands.id[:12]}: nothing was proposed.")
            with self.record.transaction():
                self._expect(stands.id)
                return self._kept(parameters, name, stands, why)

    def _accepted(self, base: str | None) -> Commit:
        stands = self.record.ref(self.slug, "last_accepted")
        if stands is None:
            raise SetupError(
                f"Nothing is accepted in {self.slug} yet, so there is nothing to change: "
                "autopilot optimize train --context '...'"
            )
        if base is not None:
            self._expect(self.record.get_commit(base, self.slug).id)
        return self.record.get_commit(stands)

    def _expect(self, base: str) -> None:
        stands = self.record.ref(self.slug, "last_accepted") or ""
        if stands != base:
            raise StoreConflict(
                f"{self.slug} stands at {stands[:12]}, not at {base[:12]}: another state was accepted meanwhile. "
                "Nothing was done: look at it (autopilot store diff), and propose the change on that."
            )

    def _kept(self, parameters: list[tuple[str, Parameter]], name: str, base: Commit, why: str) -> Proposal:
        kept = self.record.commit(parameters, experiment=self.slug, parents=[base.id], why=why, source="user")
        every = self.record.state(self.slug, _STATE) or []
        made = {"number": len(every) + 1, "parameter": name, "commit": kept.id, "base": base.id, "why": why,
                "at": time.time(), "status": "open"}  # fmt: skip
        self.record.set_state(self.slug, _STATE, [*every, made])
        self.record.point(self.slug, f"proposal/{made['number']}", kept.id, why=why)
        return made

    def put(self, number: int, **changes: Any) -> Proposal:
        """Note something about one of them."""
        with self.record.transaction():
            every = self.record.state(self.slug, _STATE) or []
            changed = [{**one, **changes} if one["number"] == number else one for one in every]
            self.record.set_state(self.slug, _STATE, changed)
        return self.one(number)

    def verify(self, recipe: Recipe, number: int) -> tuple[Decision, dict[str, float], Mapping[str, float]]:
        """What the policy says of it, its figures, and those of what it was made from. Measured on copies."""
        proposal = self.one(number)
        self._expect(proposal["base"])
        before = standing_metrics(self.record, self.slug) or self._measured(recipe, proposal["base"])
        try:
            metrics = self._measured(recipe, proposal["commit"])
        except Exception as error:
            return Decision("discard", f"it could not be measured: {type(error).__name__}: {error}"), {}, before
        return judged(recipe, metrics, before), metrics, before

    def submit(self, recipe: Recipe, number: int, *, why: str) -> Submitted:
        """Let it be measured and judged as an epoch; accepted, it is the state that stands."""
        proposal = self.one(number)
        self._expect(proposal["base"])
        trainer = recipe.trainer(experiment=Experiment(self.slug, record=self.record))
        data = {"datamodule": recipe.datamodule, "trainer": trainer}
        with Workbench(recipe.module, recipe.train, recipe.val, **data) as bench, bench.at_work() as fit:
            candidate, base = bench.commit(fit, proposal["commit"]), bench.commit(fit, proposal["base"])
            bench.found(fit, candidate, base, changed=[proposal["parameter"]], why=proposal["why"])
            done = bench.submit(fit, candidate.id, why)
        self.put(number, status=done.decision.verdict, reason=done.decision.reason)
        return done

    def _measured(self, recipe: Recipe, commit: str) -> dict[str, float]:
        held_out = recipe.val if recipe.val is not None or recipe.datamodule is not None else recipe.train
        with copies(recipe, self.record, self.record.get_commit(commit)):
            return evaluate(recipe.trainer(), recipe.module, held_out, recipe.datamodule, "val").metrics


def judged(recipe: Recipe, metrics: Mapping[str, Any], accepted: Mapping[str, Any], epoch: int = 0) -> Decision:
    """What the policy of a project says of figures."""
    policy = recipe.trainer().policy
    if policy is None:
        return Decision("accept", "no policy forbids it")
    case = Case(metrics, accepted, epoch=epoch, directions=directions(recipe.module.metrics()))
    return as_decision(policy.judge(case))


@contextmanager
def copies(recipe: Recipe, record: Record, commit: Commit) -> Iterator[list[tuple[str, Parameter]]]:
    """The parameters as they are in a commit, and as they were afterwards; files are worked on in a scratch copy."""
    parameters = list(recipe.module.named_parameters())
    for name, one in parameters:
        one.name = name
    before = {name: one.data for name, one in parameters if not hasattr(one, "move_to")}
    environment = IsolatedEnvironment()
    environment.enter(parameters, store=record.store)
    try:
        record.bring(commit, parameters)
        yield parameters
    finally:
        environment.leave()
        for name, one in parameters:
            if name in before:
                one.data = before[name]


def change_of(value: str | bytes, path: str | None) -> Callable[[Parameter], object]:
    """What makes a parameter (or one of its files) be a value."""

    def change(parameter: Parameter) -> None:
        if hasattr(parameter, "write") and hasattr(parameter, "files"):
            parameter.write(_file_of(parameter, path), value)
        elif path is not None:
            raise TrainingError(f"Parameter {parameter.name!r} is no files: leave out --path.")
        else:
            parameter.data = _like(parameter.data, value)

    return change


def _file_of(parameter: Any, path: str | None) -> str:
    if path is not None:
        return path
    names = list(parameter.names())
    if len(names) != 1:
        raise TrainingError(f"Parameter {parameter.name!r} is files, say which: --path ({', '.join(names[:9])})")
    return str(names[0])


def _like(before: Any, value: str | bytes) -> Any:
    """The value of a parameter that was text as text, of any other as the JSON it is."""
    text = value.decode("utf-8") if isinstance(value, bytes) else value
    if isinstance(before, str):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise TrainingError(f"{text[:80]!r} is no JSON, and the parameter holds {type(before).__name__}") from error
