"""A real record of a training run with everything in it that pages and plots must show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.training.module import Module
from autopilot_runtime.training.parameter import JSONParameter, TextParameter
from autopilot_runtime.training.record import Commit, EpochRow, EvalKey, Evaluation, Record
from autopilot_runtime.training.recordrows import ContextEntry

SLUG = "sorting-mails"
NOISE = 0.012
BEGAN = 1_795_000_000.0
ITEMS = [f"mail-{number:02}" for number in range(1, 13)]
HOSTILE = "<script>alert('x')</script> & \"quotes\" \x1b[31mred\x1b[0m \u202eevil ]]> <!-- \ud800"


@dataclass(frozen=True)
class Tried:
    """One candidate of the made-up run."""

    verdict: str
    accuracy: float | None
    why: str
    reason: str = ""
    latency: float = 120.0
    seconds: float = 40.0
    scores: Mapping[str, float] = field(default_factory=dict)
    same: bool = False


RUN = [
    Tried("discard", 0.4850, "Ask for JSON only", "accuracy 0.512 -> 0.485 (worse)"),
    Tried("accept", 0.5730, "Name the four folders in the prompt", latency=131),
    Tried("discard", 0.5780, "Change the greeting", "the gain of 0.005 is within the noise", latency=130),
    Tried("accept", 0.6410, "Show one example for every folder", latency=160),
    Tried(
        "discard",
        None,
        "Call a tool that does not exist",
        "12 evaluations failed, the first: mail-01: KeyError: 'tool'",
    ),
    Tried(
        "rollback", 0.4010, "Drop the examples, think step by step", "accuracy 0.641 -> 0.401 (worse)", latency=240
    ),
    Tried("accept", 0.6890, "Quote the subject line first", latency=158),
    Tried("accept", 0.7020, "Put invoices before receipts", latency=150),
    Tried("discard", 0.7060, "Be more polite", "the gain of 0.004 is within the noise", latency=150),
    Tried("discard", 0.7300, "Use a longer preamble", "latency 420 does not meet <= 300", latency=420),
    Tried("accept", 0.7810, "Say what spam is not", latency=171),
    Tried("discard", 0.7520, "Merge spam and promotions", "accuracy 0.781 -> 0.752 (worse)", latency=160),
    Tried("accept", 0.8330, "Treat calendar mails by sender", latency=180),
    Tried("discard", 0.8290, "Remove the sender list", "accuracy 0.833 -> 0.829 (worse)", latency=140),
    Tried("accept", 0.8610, "Two examples for every folder", latency=201),
    Tried("stop", 0.8590, "Three examples for every folder", "spent: usd 1.02 of 1", latency=260),
]


class Sorter(Module):
    """What is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt = TextParameter("Sort the mail.\nAnswer with a folder.\n")
        self.rules = JSONParameter({"folders": ["inbox", "spam"], "examples": 0})


def make(
    record: Record, slug: str = SLUG, *, run: list[Tried] | None = None, config: Mapping[str, Any] | None = None
) -> None:
    """Write a run into a record, as a fit does."""
    module = Sorter()
    named = list(module.named_parameters())
    record.create(
        slug,
        config={"monitor": "accuracy", "max_epochs": 16} if config is None else dict(config),
        why="the inbox is a mess",
    )
    record.set_status(slug, "running")
    root = record.commit(named, experiment=slug, why="the first state", source="trainer")
    scores = {item: float(at % 2) for at, item in enumerate(ITEMS)}
    pool: list[list[Any]] = [[root.id, scores, {"accuracy": 0.512, "latency": 118.0}, -1, ""]]
    _evaluate(record, root, scores)
    extra = {"scores": scores, "errors": [], "noise": {"accuracy": NOISE, "latency": 4.0}}
    began = {"accuracy": 0.512, "latency": 118.0}
    record.put_epoch(EpochRow(slug, -1, root.id, "", "seed", "as it was given", began, at=BEGAN, extra=extra))
    accepted, level, seq = root, 0.512, 0
    for n, tried in enumerate(run if run is not None else RUN):
        _change(module, n, tried)
        candidate = (
            accepted
            if tried.same
            else record.commit(
                named,
                experiment=slug,
                parents=[accepted.id],
                epoch=n,
                step=n,
                why=tried.why,
                source="ScriptedOptimizer",
            )
        )
        row = _row(slug, n, candidate, accepted, tried, level)
        events = [
            Event(
                seq + 1, BEGAN + n * 60, EventType.PROPOSED, span=candidate.id, data={"epoch": n, "why": tried.why}
            ),
            Event(
                seq + 2,
                BEGAN + n * 60 + 30,
                EventType.EPOCH_END,
                span=candidate.id,
                data={"epoch": n, "verdict": tried.verdict},
            ),
        ]
        seq += 2
        with record.transaction():
            record.put_epoch(row)
            record.put_events(slug, events)
            record.add_context(
                slug, ContextEntry("optimizer", tried.why, epoch=n, commit=candidate.id, at=row.at - 20)
            )
            record.add_context(
                slug,
                ContextEntry("policy", row.reason, decision=tried.verdict, epoch=n, commit=candidate.id, at=row.at),
            )
            if tried.verdict == "accept":
                record.point(slug, "last_accepted", candidate.id, why=row.reason)
                pool.append([candidate.id, dict(row.extra["scores"]), dict(row.metrics), n, accepted.id])
                accepted, level = candidate, tried.accuracy if tried.accuracy is not None else level
            record.set_state(slug, "fit", {"epoch": n, "pool": pool, "noise": {"accuracy": NOISE, "latency": 4.0}})
        record.bring(accepted, named)
    record.set_status(slug, "completed")


def _row(slug: str, n: int, candidate: Commit, accepted: Commit, tried: Tried, level: float) -> EpochRow:
    measured = {} if tried.accuracy is None else {"accuracy": tried.accuracy, "latency": tried.latency}
    worse = tried.accuracy is None or tried.accuracy < level
    said = (
        "metric 'accuracy' was not measured. There is none."
        if tried.accuracy is None
        else f"accuracy {level:.6g} -> {tried.accuracy:.6g} ({'worse' if worse else 'better'})"
    )
    gates = [
        {
            "gate": "MonotonicGate(accuracy)",
            "passed": not worse,
            "reason": said,
            "value": tried.accuracy,
            "bound": f"not worse than {level:.6g}",
            "warning": False,
        },
        {
            "gate": "MinGate(accuracy)",
            "passed": (tried.accuracy or 0) >= 0.45,
            "reason": f"accuracy {tried.accuracy} against >= 0.45",
            "value": tried.accuracy,
            "bound": ">= 0.45",
            "warning": False,
        },
        {
            "gate": "MaxGate(latency)",
            "passed": tried.latency <= 300,
            "reason": f"latency {tried.latency:.6g} {'meets' if tried.latency <= 300 else 'does not meet'} <= 300",
            "value": tried.latency,
            "bound": "<= 300",
            "warning": False,
        },
    ]
    right = round(min(1.0, max(0.0, tried.accuracy or 0)) * len(ITEMS)) if tried.accuracy == tried.accuracy else 0
    scores = tried.scores or {item: float((at * 5 + n) % len(ITEMS) < right) for at, item in enumerate(ITEMS)}
    return EpochRow(
        experiment=slug,
        epoch=n,
        commit=candidate.id,
        parent=accepted.id,
        verdict=tried.verdict,
        reason=tried.reason or said,
        metrics=measured,
        train={"accuracy": (tried.accuracy or 0.3) + 0.04 - n * 0.001},
        gates=gates,
        spent={
            "calls": n * 24.0,
            "proposals": float(n),
            "tokens": n * 1800.0,
            "usd": n * 0.0637,
            "seconds": n * tried.seconds,
        },
        at=BEGAN + n * 60,
        extra={
            "scores": scores if tried.accuracy is not None else {},
            "errors": [] if tried.accuracy is not None else ["mail-01: KeyError: 'tool'"],
            "why": tried.why,
            "noise": {"accuracy": NOISE, "latency": 4.0},
        },
    )


def _change(module: Sorter, n: int, tried: Tried) -> None:
    if tried.same:
        return
    module.prompt.data = module.prompt.data + f"{n}. {tried.why}.\n"
    if n % 3 == 0:
        module.rules.data = {
            **module.rules.data,
            "examples": n,
            "folders": [*module.rules.data["folders"], f"folder-{n}"],
        }


def _evaluate(record: Record, commit: Commit, scores: Mapping[str, float]) -> None:
    record.put_evaluations(
        Evaluation(EvalKey(commit.id, item, "v1", "val", replicate), True, None, {"accuracy": score}, at=BEGAN)
        for replicate in range(2)
        for item, score in scores.items()
    )


def file(path: Path) -> Record:
    """A record with the run in it."""
    record = Record.open(path, durable=False, clock=lambda: BEGAN)
    make(record)
    return record
