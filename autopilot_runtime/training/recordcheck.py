"""Finds what is damaged in a training record: contents, rows, links of the logs, and pointers that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autopilot_runtime.core.errors import ObjectDamaged, StoreError
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.upkeep import check
from autopilot_runtime.training import commits
from autopilot_runtime.training.chain import Chain
from autopilot_runtime.training.recordform import seal
from autopilot_runtime.training.recordrows import Commit

_NUMBERS = frozenset({"epoch", "replicate"})
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was written, and where it belongs."""

    what: str
    experiment: str = ""
    epoch: int | None = None
    commit: str = ""
    parameter: str = ""

    def __str__(self) -> str:
        places = [
            f"experiment {self.experiment!r}" if self.experiment else "",
            f"epoch {self.epoch}" if self.epoch is not None else "",
            f"commit {self.commit[:12]}" if self.commit else "",
            f"parameter {self.parameter!r}" if self.parameter else "",
        ]
        where = ", ".join(filter(None, places))
        return f"{where}: {self.what}" if where else self.what


def findings(store: Store) -> list[Finding]:
    """Everything that is damaged or missing. Changes nothing."""
    found: list[Finding] = []
    for part in (_file, _commits, _sealed, _refs, _logs):
        try:
            found += part(store)
        except StoreError as error:  # the file itself is damaged there
            found.append(Finding(str(error)))
    return found


def _file(store: Store) -> Iterator[Finding]:
    for (said,) in store.rows("PRAGMA quick_check"):
        if said != "ok":
            yield Finding(f"the file {store.path} is damaged: {said}")


def _commits(store: Store) -> Iterator[Finding]:
    """Damaged commits, and damaged contents with each commit that needs them."""
    whole: list[Commit] = []
    for row in _read(store, "train_commits", "commit_id experiment epoch body", "seal"):
        try:
            whole.append(commits.read(row))
        except (ObjectDamaged, LookupError, TypeError) as error:
            yield Finding(f"the row of the commit is damaged ({error})", row[1], row[2], row[0])
    faults = {fault.digest: fault for fault in check(store)}
    told: set[bytes] = set()
    for commit in whole if faults else ():
        for name, state in commit.parameters.items():
            for digest in _made_of(store, bytes.fromhex(state)) & faults.keys():
                told.add(digest)
                what = f"object {digest.hex()} is {faults[digest].what}"
                yield Finding(what, commit.experiment, commit.epoch, commit.id, name)
    for digest, fault in faults.items():
        if digest not in told:
            owner = f", needed by {fault.needed_by}" if fault.needed_by else ""
            yield Finding(f"object {digest.hex()} is {fault.what}{owner}")


def _made_of(store: Store, state: bytes) -> set[bytes]:
    """All contents that a state is made of, as far as that can still be read."""
    found, waiting = {state}, [state]
    while waiting:
        try:
            held = commits.below(store, waiting.pop())
        except ObjectDamaged:
            continue
        waiting += [one.digest for one in held if one.kind == "folder" and one.digest not in found]
        found.update(one.digest for one in held if one.kind != "left")
    return found


def _sealed(store: Store) -> Iterator[Finding]:
    for *parts, mark in _read(store, "train_evaluations", "commit_id split item version replicate body", "seal"):
        if seal(*parts) != mark:
            what = f"the {parts[1]} evaluation of item {parts[2]!r} (replicate {parts[4]}) is damaged"
            yield Finding(what, commit=parts[0])
    for *parts, mark in _read(store, "train_epochs", "experiment epoch commit_id verdict body", "seal"):
        if seal(*parts) != mark:
            yield Finding("the row of the epoch is damaged", parts[0], parts[1], parts[2])
    for slug, body, mark in _read(store, "train_experiments", "slug body", "seal"):
        if seal(slug, body) != mark:
            yield Finding("the row of the experiment is damaged", slug)
    for *parts, mark in _read(store, "train_state", "experiment name body", "seal"):
        if seal(*parts) != mark:
            yield Finding(f"the state {parts[1]!r} is damaged", parts[0])


def _read(store: Store, table: str, texts: str, mark: str) -> Iterator[list[Any]]:
    """The rows of a table, some at a time, also those in which a text is none any more."""
    columns = ", ".join(f"CAST({name} AS BLOB)" if name not in _NUMBERS else name for name in texts.split())
    question = f"SELECT rowid, {columns}, {mark} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?"
    last = -1
    while rows := store.rows(question, (last, _AT_ONCE)):
        last = rows[-1][0]
        for _, *row in rows:
            yield [one.decode("utf-8", "backslashreplace") if isinstance(one, bytes) else one for one in row]


def _refs(store: Store) -> Iterator[Finding]:
    question = (
        "SELECT experiment, name, commit_id FROM train_refs WHERE id IN "
        "(SELECT max(id) FROM train_refs GROUP BY experiment, name) "
        "AND commit_id NOT IN (SELECT commit_id FROM train_commits)"
    )
    for experiment, name, commit in store.rows(question):
        yield Finding(f"{name!r} points to a commit that is not there", experiment, commit=commit)


def _logs(store: Store) -> Iterator[Finding]:
    for chain in (Chain(store, "train_events"), Chain(store, "train_context")):
        for experiment in chain.experiments():
            for what in chain.broken(experiment):
                yield Finding(what, experiment)
