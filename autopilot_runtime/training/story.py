"""One experiment as its record tells it, read once: the candidates in order, and what they were measured by."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.fault import MetricMissing, TrainingError, meant
from autopilot_runtime.training.gate import direction_of, number_in

if TYPE_CHECKING:
    from autopilot_runtime.training.contextlog import ContextEntry
    from autopilot_runtime.training.record import Commit, EpochRow, ExperimentRow, Record

# A gain below this many standard deviations of the same state measured again is not told from chance.
SIGMAS = 2.0
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"in \[({_NUMBER}), ({_NUMBER})\]")
_ONE = re.compile(rf"(>=|<=|>|<) *({_NUMBER})")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One candidate and what became of it. Without a `value` it could not be measured."""

    n: int
    row: EpochRow
    value: float | None
    before: float | None  # the value that was to be beaten: of the last accepted state
    base: str  # the accepted commit that it was made from
    why: str
    noisy: bool  # better than `before`, but by less than measuring again differs

    @property
    def kept(self) -> bool:
        """Whether it was accepted."""
        return self.row.verdict == "accept"

    @property
    def crashed(self) -> bool:
        """Whether there is no figure for it."""
        return self.value is None and not self.kept


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a gate on the metric draws its line."""

    gate: str
    text: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What was found out about a commit. `scores`: item -> how good, higher is better."""

    metrics: Mapping[str, float]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Story:
    """All that pages, plots and explanations are made of."""

    experiment: ExperimentRow
    metric: str
    rises: bool
    score_rises: bool  # the same of the metric that items are scored by
    noise: Mapping[str, float]
    directions: Mapping[str, bool]
    start: float | None  # what the first state measured
    root: str  # its commit
    known: Mapping[str, Known]  # by commit
    attempts: Sequence[Attempt]
    commits: Mapping[str, Commit]
    journal: Sequence[ContextEntry]
    spent_first: Mapping[str, float]  # before there was any candidate

    @property
    def sigma(self) -> float:
        """How much the metric differs when the same state is measured again; 0 when nobody has looked."""
        return self.noise.get(self.metric, 0.0)

    @cached_property
    def kept(self) -> list[Attempt]:
        """The accepted ones."""
        return [one for one in self.attempts if one.kept]

    @cached_property
    def best(self) -> Attempt | None:
        """The accepted one with the best value; None when the first state is better than all."""
        found: Attempt | None = None
        for one in self.kept:
            level = self.start if found is None else found.value
            if one.value is not None and (level is None or self.better(one.value, level)):
                found = one
        return found

    @cached_property
    def names(self) -> list[str]:
        """Every metric that was measured, the one that counts first."""
        found = dict.fromkeys([self.metric] if self.metric else [])
        for one in self.attempts:
            found.update(dict.fromkeys((*one.row.metrics, *one.row.train)))
        return list(found)

    def better(self, value: float, than: float) -> bool:
        """Whether a value of the metric beats another."""
        return value > than if self.rises else value < than

    def rises_for(self, name: str) -> bool:
        """Whether more of any metric is better."""
        return self.rises if name == self.metric else direction_of(name, self.directions)

    def bounds_on(self, name: str) -> list[Bound]:
        """The fixed lines that gates on a metric draw, as the newest candidate met them."""
        found: dict[str, Bound] = {}
        for one in self.attempts:
            for gate in one.row.gates:
                bound = bound_of(gate)
                if bound is not None and _plain_name(_metric_of(gate, (name,)), (name,)) == name:
                    found[bound.gate] = bound
        return list(found.values())

    def steps(self) -> list[tuple[int, float]]:
        """(n, value of the accepted state from there on)."""
        found = [] if self.start is None else [(min((one.n for one in self.attempts), default=0) - 1, self.start)]
        return found + [(one.n, one.value) for one in self.kept if one.value is not None]

    @cached_property
    def _places(self) -> Mapping[int, int]:
        return {one.n: at for at, one in enumerate(self.attempts)}

    @cached_property
    def _said(self) -> Mapping[int | None, list[ContextEntry]]:
        found: dict[int | None, list[ContextEntry]] = {}
        for entry in self.journal:
            found.setdefault(entry.epoch, []).append(entry)
        return found

    @cached_property
    def kept_as(self) -> Mapping[str, list[int]]:
        """As which candidates a commit was accepted."""
        found: dict[str, list[int]] = {}
        for one in self.kept:
            found.setdefault(one.row.commit, []).append(one.n)
        return found

    def said_of(self, n: int) -> Sequence[ContextEntry]:
        """What the journal says of candidate `n`."""
        return self._said.get(n, ())

    def spent_on(self, n: int) -> dict[str, float]:
        """What candidate `n` cost: what was spent since the one before it."""
        at = self._places[n]
        before = self.attempts[at - 1].row.spent if at else self.spent_first
        found = {name: value - before.get(name, 0.0) for name, value in self.attempts[at].row.spent.items()}
        return {name: value for name, value in found.items() if value > 0}

    def attempt(self, n: int) -> Attempt:
        """Candidate `n`."""
        if n in self._places:
            return self.attempts[self._places[n]]
        if not self.attempts:
            raise TrainingError(f"Experiment {self.experiment.slug!r} has no candidates yet: nothing was trained.")
        first, last = self.attempts[0].n, self.attempts[-1].n
        raise TrainingError(f"Experiment {self.experiment.slug!r} has no candidate {n}: there are {first} to {last}.")


def read_story(record: Record, experiment: str = "", *, metric: str = "") -> Story:
    """The story of an experiment (of the newest, if none is named), by what it was judged by, or another metric."""
    row = _experiment(record, experiment)
    every = record.epochs(row.slug)
    # What a fit begins with is no candidate: it is what the others are compared with.
    seeds, ordered = [one for one in every if one.epoch < 0], [one for one in every if one.epoch >= 0]
    state = _mapping(record.state(row.slug, "fit"))
    told = {**row.config, **_extra(every)}
    directions = _mapping(told.get("directions"))
    monitor = _metric("", str(told.get("monitor") or ""), every, directions)
    chosen = _metric(metric, monitor, every, directions) if metric else monitor
    known = _known(state, every)
    commits = {one.id: one for one in record.commits(row.slug)}
    root = seeds[-1].commit if seeds else _root(commits, ordered)
    story = Story(
        experiment=row,
        metric=chosen,
        rises=direction_of(chosen, directions),
        score_rises=direction_of(monitor, directions),
        noise=_noise(told.get("noise") or state.get("noise"), chosen),
        directions=directions,
        start=_number(known[root].metrics, chosen) if root in known else _told_of(record, root, chosen),
        root=root,
        known=known,
        attempts=(),
        commits=commits,
        journal=record.context(row.slug),
        spent_first=seeds[-1].spent if seeds else {},
    )
    return replace(story, attempts=_attempts(story, ordered, _reasons(record, row.slug)))


def _attempts(story: Story, rows: Sequence[EpochRow], reasons: Mapping[int, str]) -> list[Attempt]:
    attempts: list[Attempt] = []
    level, accepted = story.start, {story.root: None}
    for row in rows:
        value = _number(row.metrics, story.metric)
        gain = None if value is None or level is None else (value - level if story.rises else level - value)
        commit = story.commits.get(row.commit)
        why = str(row.extra.get("why") or reasons.get(row.epoch) or (commit.why if commit else ""))
        kept = row.verdict == "accept"
        noisy = not kept and gain is not None and 0 < gain < SIGMAS * story.sigma
        attempts.append(Attempt(row.epoch, row, value, level, _base(story, row, accepted), why, noisy))
        if kept:
            accepted.pop(row.commit, None)  # so that it is the last
            accepted[row.commit] = None
            level = level if value is None else value
    return attempts


def _base(story: Story, row: EpochRow, accepted: Mapping[str, None]) -> str:
    """The accepted state a candidate came from; between them may be steps that nobody judged."""
    if row.extra.get("began"):
        return str(row.extra["began"])
    if row.commit in accepted:
        return next(reversed(list(accepted)))  # nothing changed, or back to an earlier state
    at, seen = row.parent, set[str]()
    while at not in accepted:
        commit = story.commits.get(at)
        if commit is None or not commit.parents or at in seen:
            return row.parent or next(reversed(list(accepted)))
        seen.add(at)
        at = commit.parents[0]
    return at


def _root(commits: Mapping[str, Commit], rows: Sequence[EpochRow]) -> str:
    """Where it all began: the commit without parents above the first epoch."""
    at = next((one.parent or one.commit for one in rows), next(iter(commits), ""))
    seen = set[str]()
    while at in commits and commits[at].parents and at not in seen:
        seen.add(at)
        at = commits[at].parents[0]
    return at


def _known(state: Mapping[str, Any], rows: Sequence[EpochRow]) -> dict[str, Known]:
    found: dict[str, Known] = {}
    for entry in state.get("pool") or ():
        commit, scores, metrics = entry[:3]
        found[str(commit)] = Known(_mapping(metrics), _mapping(scores))
    for row in rows:
        if row.metrics:
            found.setdefault(row.commit, Known(row.metrics, _mapping(row.extra.get("scores"))))
    return found


def _experiment(record: Record, experiment: str) -> ExperimentRow:
    if experiment:
        return record.experiment(experiment)
    found = record.experiments()
    if not found:
        raise TrainingError("This record holds no experiment yet: nothing was trained with it.")
    return found[-1]


def _extra(rows: Iterable[EpochRow]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in rows:
        found.update({key: row.extra[key] for key in ("monitor", "directions", "noise") if row.extra.get(key)})
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _metric(wanted: str, monitor: str, rows: Sequence[EpochRow], directions: Mapping[str, bool]) -> str:
    """The metric that was asked for, else the one that was decided by, else the first that gates or metrics name."""
    measured = dict.fromkeys(name for row in rows for name in (*row.metrics, *row.train))
    if wanted:
        plain = _plain_name(wanted, measured)
        if measured and plain not in measured:
            raise MetricMissing(f"Metric {wanted!r} was not measured in this experiment.{meant(wanted, measured)}")
        return plain
    gates = [_metric_of(gate, measured) for row in rows for gate in row.gates]
    for name in (monitor, *gates, *directions, *measured):
        plain = _plain_name(name, measured)
        if plain in measured:
            return plain
    return monitor


def _plain_name(name: str, measured: Iterable[str]) -> str:
    known = set(measured)
    return next((one for one in (name, name.removeprefix("val_"), name.removeprefix("val/")) if one in known), name)


def _number(metrics: Mapping[str, Any], name: str) -> float | None:
    found = number_in(metrics, name) if name else ""
    return None if isinstance(found, str) else found


def _told_of(record: Record, commit: str, metric: str) -> float | None:
    """What the held-out items of a commit measured, where no epoch says so."""
    values = [
        value
        for one in (record.evaluations(commit, "val") if commit else ())
        if one.key.replicate == 0 and (value := _number(one.metrics, metric)) is not None
    ]
    return math.fsum(values) / len(values) if values else None


def _noise(found: Any, metric: str) -> dict[str, float]:
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        found = {metric: found}
    numbers = {str(name): _number(_mapping(found), name) for name in _mapping(found)}
    return {name: value for name, value in numbers.items() if value is not None and value >= 0}


def _reasons(record: Record, slug: str) -> dict[int, str]:
    """What the optimizer said of each epoch's step. A state that came up before keeps its first reason."""
    found: dict[int, str] = {}
    for event in record.events(slug, types=(EventType.PROPOSED, EventType.STEP_APPLIED)):
        why, epoch = event.data.get("why"), event.data.get("epoch")
        if why and isinstance(epoch, int):
            found[epoch] = str(why)
    return found


def _metric_of(gate: Mapping[str, Any], measured: Iterable[str]) -> str:
    """Which metric a gate is about: `MinGate(accuracy)`, else the first word of what it said."""
    name, reason = str(gate.get("gate", "")), str(gate.get("reason", ""))
    inside = name.partition("(")[2].rpartition(")")[0]
    return inside or next((one for one in measured if reason.startswith(f"{one} ")), "")


def bound_of(gate: Mapping[str, Any]) -> Bound | None:
    """The line of a gate, when it has one that does not move."""
    name, text = str(gate.get("gate", "")), str(gate.get("bound", ""))
    if (found := _RANGE.fullmatch(text)) is not None:
        return Bound(name, text, float(found[1]), float(found[2]))
    if (found := _ONE.fullmatch(text)) is not None:
        value = float(found[2])
        return Bound(name, text, low=value) if found[1][0] == ">" else Bound(name, text, high=value)
    return None


def short(commit: str) -> str:
    """A commit's name for people."""
    return commit[:10]
