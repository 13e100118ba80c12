"""What a training run leaves behind, as values: commits, evaluations, epochs, experiments, and reasons."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, get_args

Status = Literal["pending", "running", "completed", "failed", "cancelled", "invalidated"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class Commit:
    """A state of all parameters, named by its content; and where in which experiment it first came up."""

    id: str
    parameters: Mapping[str, str]  # name -> digest of its state in the store
    parents: tuple[str, ...] = ()
    experiment: str = ""
    epoch: int = 0
    step: int = 0
    why: str = ""
    source: str = ""
    at: float = 0.0


class EvalKey(NamedTuple):
    """What makes an evaluation the same one again."""

    commit: str
    item: str
    version: str
    split: str
    replicate: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of evaluating one commit on one item. One that failed is `ok=False` with its error, not a score."""

    key: EvalKey
    ok: bool = True
    output: Any = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    feedback: str = ""
    error: str = ""
    cost: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class EpochRow:
    """How one epoch ended. `metrics` are those of the validation of `commit`, `train` those of the batches before."""

    experiment: str
    epoch: int
    commit: str
    parent: str
    verdict: str
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    train: Mapping[str, float] = field(default_factory=dict)
    gates: Sequence[Mapping[str, Any]] = ()
    spent: Mapping[str, float] = field(default_factory=dict)
    at: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """An experiment as the record knows it."""

    slug: str
    status: Status = "pending"
    parent: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    why: str = ""
    reason: str = ""  # of its last change of status
    created: float = 0.0
    changed: float = 0.0


@dataclass(frozen=True, slots=True)
class ContextEntry:
    """One line of the journal: who decided what, and why."""

    source: str
    text: str
    decision: str = ""
    epoch: int | None = None
    commit: str = ""
    at: float = 0.0
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Another name for `text`."""
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Its fields, ready for JSON."""
        return plain_fields(self)


class Moved(NamedTuple):
    """Where a ref pointed from `at` on, and why."""

    name: str
    commit: str
    why: str
    at: float


def commit_id(parameters: Mapping[str, str]) -> str:
    """Names a state by its content."""
    body = json.dumps(dict(parameters), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(body.encode()).hexdigest()


def plain_fields(value: Any) -> dict[str, Any]:
    """The fields of one of these by name, as they are."""
    return {one.name: getattr(value, one.name) for one in fields(value)}
