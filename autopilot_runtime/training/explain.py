"""Why a candidate was kept or not, with every number that it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from autopilot_runtime.tool.visible import visible
from autopilot_runtime.training.plotaxis import change, figure
from autopilot_runtime.training.statediff import Changed, changes
from autopilot_runtime.training.story import SIGMAS, Attempt, Known, Story, read_story, short

if TYPE_CHECKING:
    from autopilot_runtime.training.record import Record

WORDS = {
    "accept": "kept",
    "discard": "not kept",
    "rollback": "not kept, and rolled back",
    "stop": "not kept, and the training stopped",
}
_ITEMS, _DIFF_LINES = 12, 60


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric before and after. `sigmas`: the change, in standard deviations of measuring the same again."""

    name: str
    before: float | None
    after: float | None
    rises: bool
    sigma: float | None = None

    @property
    def better(self) -> bool | None:
        """Whether it got better; None when it is the same, or one of them is missing."""
        if self.before is None or self.after is None or self.before == self.after:
            return None
        return (self.after > self.before) == self.rises

    @property
    def sigmas(self) -> float | None:
        """The change against noise."""
        if not self.sigma or self.before is None or self.after is None:
            return None
        return abs(self.after - self.before) / self.sigma


@dataclass(frozen=True, slots=True)
class Flip:
    """One held-out item before and after."""

    item: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known of one candidate."""

    experiment: str
    candidate: int
    commit: str
    base: str
    base_candidate: int | None
    verdict: str
    reason: str
    why: str
    source: str
    metrics: Sequence[Compared]
    gates: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    worse: Sequence[Flip]
    better: Sequence[Flip]
    same: int
    errors: Sequence[str]
    spent: Mapping[str, float]
    changed: Sequence[Changed]
    journal: Sequence[Mapping[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        found = asdict(self)
        for one, metric in zip(found["metrics"], self.metrics, strict=True):
            one.update(better=metric.better, sigmas=metric.sigmas)
        return found

    def __str__(self) -> str:
        return "\n".join(_lines(self)) + "\n"


def explain(record: Record, experiment: str = "", n: int = 0, *, metric: str = "") -> Explanation:
    """Why candidate `n` of an experiment (of the newest, if none is named) was kept or not."""
    return explained(record, read_story(record, experiment, metric=metric), n)


def explained(record: Record, story: Story, n: int, *, diffs: bool = True) -> Explanation:
    """The same from a story that was read already."""
    one = story.attempt(n)
    row, commit = one.row, story.commits.get(one.row.commit)
    base = story.known.get(one.base, Known({}, {}))
    worse, better, same = flips(base.scores, row.extra.get("scores") or {}, rises=story.score_rises)
    base_of = next((other for other in reversed(story.kept_as.get(one.base, ())) if other < n), None)
    before = story.commits.get(one.base)
    return Explanation(
        experiment=story.experiment.slug,
        candidate=n,
        commit=row.commit,
        base=one.base,
        base_candidate=base_of,
        verdict=row.verdict,
        reason=row.reason,
        why=one.why,
        source=commit.source if commit is not None else "",
        metrics=_compared(story, base, row.metrics),
        gates=list(row.gates),
        notes=list(_notes(story, one)),
        worse=worse,
        better=better,
        same=same,
        errors=[str(error) for error in row.extra.get("errors") or ()],
        spent=story.spent_on(n),
        changed=changes(record, before, commit) if diffs and commit is not None and commit != before else [],
        journal=[_entry(entry) for entry in story.said_of(n)],
    )


def flips(
    before: Mapping[str, float], after: Mapping[str, float], *, rises: bool = True
) -> tuple[list[Flip], list[Flip], int]:
    """(items that got worse, items that got better, how many stayed the same); the largest change first.

    Scores are higher when better; with `rises=False` they are shown as what was measured, which is lower then.
    """
    gains = [(after[item] - before[item], item) for item in after if item in before]
    sign = 1.0 if rises else -1.0

    def shown(some: Iterable[tuple[float, str]]) -> list[Flip]:
        return [Flip(item, sign * before[item] + 0.0, sign * after[item] + 0.0) for _, item in some]

    worse = sorted(one for one in gains if one[0] < 0)
    better = sorted((one for one in gains if one[0] > 0), key=lambda one: (-one[0], one[1]))
    return shown(worse), shown(better), len(gains) - len(worse) - len(better)


def _compared(story: Story, base: Known, metrics: Mapping[str, float]) -> list[Compared]:
    names = [name for name in story.names if name in metrics or name in base.metrics]
    return [
        Compared(name, base.metrics.get(name), metrics.get(name), story.rises_for(name), story.noise.get(name))
        for name in names
    ]


def _notes(story: Story, one: Attempt) -> Iterator[str]:
    """What the numbers alone do not say."""
    if one.value is None:
        yield f"{story.metric} was not measured for it: without a figure, nothing is kept."
        return
    if one.before is None or one.value == one.before:
        return
    gain = abs(one.value - one.before)
    way = "gain" if story.better(one.value, one.before) else "loss"
    if not story.sigma and story.metric in story.noise:
        yield f"Measuring the same state again gave the same {story.metric}: the {way} is no chance."
        return
    if not story.sigma:
        yield f"How much {story.metric} differs from run to run was not measured; the {way} may be chance."
        return
    times = gain / story.sigma
    inside = "within the noise" if times < SIGMAS else "beyond the noise"
    yield (
        f"The {way} of {figure(gain)} is {times:.1f} times what measuring the same state again differs "
        f"({figure(story.sigma)}): {inside} ({SIGMAS:g} times)."
    )
    if one.noisy:
        yield "It may be better; that was not shown. More held-out items or replicates would tell."


def _entry(entry: Any) -> dict[str, Any]:
    return {"source": entry.source, "decision": entry.decision, "text": entry.text, "at": entry.at}


# ---------------------------------------------------------------- as text


def _lines(found: Explanation) -> Iterator[str]:
    word = WORDS.get(found.verdict, found.verdict)
    yield f"Candidate {found.candidate} of {visible(found.experiment)}: {word}."
    yield f"  because  {visible(found.reason) or 'nobody said why'}"
    if found.why:
        by = f"  ({visible(found.source)})" if found.source else ""
        yield f"  idea     {visible(found.why)}{by}"
    made = "the first state" if found.base_candidate is None else f"candidate {found.base_candidate}"
    yield f"  commit   {short(found.commit)}, made from {made} ({short(found.base)})"
    if found.spent:
        yield "  cost     " + ", ".join(f"{figure(value)} {visible(name)}" for name, value in found.spent.items())
    yield from _metric_lines(found.metrics)
    yield from (f"  {visible(note)}" for note in found.notes)
    yield from _gate_lines(found.gates)
    yield from _item_lines(found)
    for error in found.errors[:_ITEMS]:
        yield f"  failed   {visible(error, limit=300)}"
    yield from _diff_lines(found.changed)


def _metric_lines(metrics: Sequence[Compared]) -> Iterator[str]:
    if not metrics:
        return
    wide = max(6, *(len(visible(one.name)) for one in metrics))
    yield ""
    yield f"  {'metric':<{wide}}  {'before':>10}  {'after':>10}  {'change':>10}"
    for one in metrics:
        sign = {True: "better", False: "worse", None: ""}[one.better]
        noise = f"  {one.sigmas:.1f} x noise" if one.sigmas else ""
        numbers = f"{figure(one.before):>10}  {figure(one.after):>10}  {change(one.after, one.before):>10}"
        yield f"  {visible(one.name):<{wide}}  {numbers}  {sign}{noise}".rstrip()


def _gate_lines(gates: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if gates:
        yield ""
    for gate in gates:
        mark = "pass" if gate.get("passed") else "warn" if gate.get("warning") else "FAIL"
        bound = f"  [{visible(str(gate['bound']))}]" if gate.get("bound") else ""
        yield f"  {mark}  {visible(str(gate.get('gate', '')))}: {visible(str(gate.get('reason', '')))}{bound}"


def _item_lines(found: Explanation) -> Iterator[str]:
    if not (found.worse or found.better or found.same):
        return
    yield ""
    yield f"  held-out items: {len(found.worse)} worse, {len(found.better)} better, {found.same} the same"
    for mark, listed in (("-", found.worse), ("+", found.better)):
        for flip in listed[:_ITEMS]:
            yield f"  {mark} {visible(flip.item, limit=80)}: {figure(flip.before)} -> {figure(flip.after)}"
        if len(listed) > _ITEMS:
            yield f"  {mark} … and {len(listed) - _ITEMS} more"


def _diff_lines(changed: Sequence[Changed]) -> Iterator[str]:
    lines = [line for one in changed for line in one.diff.splitlines()]
    if lines:
        yield ""
    yield from (f"  {visible(line, lines=True)}" for line in lines[:_DIFF_LINES])
    if len(lines) > _DIFF_LINES:
        yield f"  … {len(lines) - _DIFF_LINES} more lines"
