"""All that a training run must not forget, in one SQLite file: states, measurements, verdicts, events, reasons."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import EllipsisType
from typing import Any

from autopilot_runtime.core.errors import StoreConflict
from autopilot_runtime.core.event import Event
from autopilot_runtime.store.objects import Store
from autopilot_runtime.training import commits
from autopilot_runtime.training.chain import Chain
from autopilot_runtime.training.fault import TrainingError, meant
from autopilot_runtime.training.hold import Holder, Holds
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.recordcheck import Finding, findings
from autopilot_runtime.training.recordfile import open_store
from autopilot_runtime.training.recordform import (
    body_of,
    epoch_of,
    epoch_row,
    evaluation_of,
    evaluation_row,
    experiment_of,
    key_text,
    opened,
    seal,
    unsealed,
)
from autopilot_runtime.training.recordrows import (
    STATUSES,
    Commit,
    ContextEntry,
    EpochRow,
    EvalKey,
    Evaluation,
    ExperimentRow,
    Moved,
    Status,
)
from autopilot_runtime.training.recordschema import prepare

__all__ = ["Commit", "EpochRow", "EvalKey", "Evaluation", "ExperimentRow", "Holder", "Moved", "Record"]

_FIELDS = "slug, status, parent, reason, created, changed, body, seal"
_PUT = (
    "INSERT OR IGNORE INTO train_evaluations (commit_id, split, item, version, replicate, body, seal) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_EVALUATION = "commit_id, item, version, split, replicate, body, seal FROM train_evaluations"


class Record:
    """The record of any number of experiments. Threads share it; processes may have the same file open at once.

    What is written inside one `transaction` is there whole after a crash at any instant, or not at all.
    """

    def __init__(self, store: Store) -> None:
        """A record in a store that somebody else closes."""
        self.store = store
        prepare(store)
        self._events = Chain(store, "train_events")
        self._context = Chain(store, "train_context")
        self._holds = Holds(store)
        self._end: Callable[[], object] = bool

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, durable: bool = True, clock: Callable[[], float] = time.time
    ) -> Record:
        """The record in this file, made where it is not there."""
        return cls._own(open_store(path, durable=durable, clock=clock))

    @classmethod
    def passing(cls, *, clock: Callable[[], float] = time.time) -> Record:
        """A record that is gone when it is closed."""
        folder = Path(tempfile.mkdtemp(prefix="autopilot-record-"))
        try:
            return cls._own(open_store(folder / "record.db", durable=False, clock=clock), folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @classmethod
    def _own(cls, store: Store, folder: Path | None = None) -> Record:
        try:
            record = cls(store)
        except BaseException:
            store.close()
            raise
        record._end = weakref.finalize(record, _end, store, folder)  # also when nobody closes it
        return record

    def close(self) -> None:
        """Let go of the file."""
        self._end()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[Any]:
        """All that is written inside is kept, or nothing of it. One inside another is a part of that."""
        return self.store.transaction()

    @property
    def where(self) -> str:
        """The file."""
        return str(self.store.path)

    # ------------------------------------------------------------ experiments

    def create(
        self,
        slug: str,
        *,
        parent: str | None = None,
        config: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        why: str = "",
    ) -> ExperimentRow:
        """Begin an experiment; its slug is free, its parent is there."""
        if not slug or slug != slug.strip() or slug != key_text(slug) or "\n" in slug:
            raise TrainingError(f"{slug!r} is no name for an experiment: give a short text on one line.")
        body = body_of({"config": dict(config or {}), "tags": list(tags), "why": why}, f"the config of {slug!r}")
        now = self.store.clock()
        with self.transaction() as link:
            if parent is not None:
                self.experiment(parent)
            if self.has(slug):
                raise TrainingError(f"There is an experiment {slug!r} in {self.where} already; choose another name.")
            link.execute(
                "INSERT INTO train_experiments (slug, status, parent, reason, created, changed, body, seal) "
                "VALUES (?, 'pending', ?, '', ?, ?, ?, ?)",
                (slug, parent, now, now, body, seal(slug, body)),
            )
        return self.experiment(slug)

    def has(self, slug: str) -> bool:
        """Whether there is this experiment."""
        return bool(self.store.rows("SELECT 1 FROM train_experiments WHERE slug = ?", (key_text(slug),)))

    def experiment(self, slug: str) -> ExperimentRow:
        """What is known of an experiment."""
        rows = self.store.rows(f"SELECT {_FIELDS} FROM train_experiments WHERE slug = ?", (key_text(slug),))
        if not rows:
            known = [row[0] for row in self.store.rows("SELECT slug FROM train_experiments")]
            raise TrainingError(f"There is no experiment {slug!r} in {self.where}.{meant(slug, known)}")
        return experiment_of(rows[0])

    def experiments(self) -> list[ExperimentRow]:
        """All of them, in the order in which they were begun, whatever the clock said."""
        return [experiment_of(row) for row in self.store.rows(f"SELECT {_FIELDS} FROM train_experiments ORDER BY id")]

    def set_status(self, slug: str, status: Status, reason: str = "") -> None:
        """Say how an experiment stands."""
        if status not in STATUSES:
            raise TrainingError(f"{status!r} is no status of an experiment.{meant(status, STATUSES)}")
        self.experiment(slug)
        with self.transaction() as link:
            link.execute(
                "UPDATE train_experiments SET status = ?, reason = ?, changed = ? WHERE slug = ?",
                (status, key_text(reason), self.store.clock(), slug),
            )

    # ------------------------------------------------------------ commits

    def commit(
        self,
        parameters: Iterable[tuple[str, Parameter]],
        *,
        experiment: str,
        parents: Iterable[str] = (),
        epoch: int = 0,
        step: int = 0,
        why: str = "",
        source: str = "",
    ) -> Commit:
        """Keep the state the parameters are in now. The same state again is the same commit, as it first was."""
        about = {"experiment": experiment, "epoch": epoch, "step": step, "why": why, "source": source}
        return commits.keep(self.store, parameters, parents=tuple(parents), **about)

    def get_commit(self, wanted: str, experiment: str | None = None) -> Commit:
        """The commit by its id, the beginning of it, or (in an experiment) a ref, a tag, a branch, or `epoch-N`."""
        target = wanted
        if experiment is not None:
            refs = self.refs(experiment)
            near = next((key for key in (wanted, f"tag/{wanted}", f"branch/{wanted}") if key in refs), None)
            target = refs[near] if near else self._of_epoch(wanted, experiment) or wanted
        found = commits.find(self.store, target, experiment)
        if found is None:
            known = [*self.refs(experiment)] if experiment is not None else []
            place = f"experiment {experiment!r}" if experiment is not None else self.where
            raise TrainingError(
                f"There is no commit {wanted!r} in {place}: give 4 or more letters of its id, `epoch-N`, or a ref."
                + meant(wanted, known)
            )
        return found

    def _of_epoch(self, wanted: str, experiment: str) -> str | None:
        number = wanted.removeprefix("epoch").lstrip("-/ ")
        if not wanted.startswith("epoch") or not number.isdecimal():
            return None
        return next((row.commit for row in self.epochs(experiment) if row.epoch == int(number)), None)

    def commits(self, experiment: str | None = None) -> list[Commit]:
        """All commits (of an experiment), oldest first."""
        return commits.listed(self.store, experiment)

    def bring(self, commit: Commit, parameters: Iterable[tuple[str, Parameter]]) -> None:
        """Let the parameters be what the commit says; damaged or incomplete, nothing of it is restored."""
        commits.bring(self.store, commit, parameters)

    # ------------------------------------------------------------ refs

    def point(
        self,
        experiment: str,
        name: str,
        commit_id: str,
        *,
        why: str = "",
        expect: str | EllipsisType | None = ...,
    ) -> None:
        """Let a name point to a commit. With `expect` (None: it must be new), only if it points there until now."""
        with self.transaction() as link:
            if not self.store.rows("SELECT 1 FROM train_commits WHERE commit_id = ?", (commit_id,)):
                raise TrainingError(
                    f"{name!r} cannot point to {commit_id!r}: there is no such commit in {self.where}."
                )
            now = self.ref(experiment, name)
            if expect is not ... and now != expect:
                raise StoreConflict(
                    f"{name!r} of experiment {experiment!r} points to {(now or 'nothing')[:12]}, not to "
                    f"{(expect or 'nothing')[:12]}: somebody else moved it. Nothing was changed."
                )
            link.execute(
                "INSERT INTO train_refs (experiment, name, commit_id, why, at) VALUES (?, ?, ?, ?, ?)",
                (key_text(experiment), key_text(name), commit_id, key_text(why), self.store.clock()),
            )

    def ref(self, experiment: str, name: str) -> str | None:
        """Where a name points."""
        found = self.ref_history(experiment, name, limit=1)
        return found[0].commit if found else None

    def refs(self, experiment: str) -> dict[str, str]:
        """Every name with where it points."""
        newest = "SELECT max(id) FROM train_refs WHERE experiment = ? GROUP BY name"
        question = f"SELECT name, commit_id FROM train_refs WHERE id IN ({newest}) ORDER BY name"
        return dict(self.store.rows(question, (key_text(experiment),)))

    def ref_history(self, experiment: str, name: str, *, limit: int = -1) -> list[Moved]:
        """Where a name has pointed, newest first."""
        question = "SELECT name, commit_id, why, at FROM train_refs WHERE experiment = ? AND name = ?"
        found = self.store.rows(f"{question} ORDER BY id DESC LIMIT ?", (key_text(experiment), key_text(name), limit))
        return [Moved(*row) for row in found]

    # ------------------------------------------------------------ evaluations

    def evaluation(self, key: EvalKey) -> Evaluation | None:
        """What came of this evaluation, if it was made."""
        commit, item, version, split, replicate = key
        rows = self.store.rows(
            f"SELECT {_EVALUATION} WHERE commit_id = ? AND split = ? AND item = ? AND version = ? AND replicate = ?",
            (commit, key_text(split), key_text(item), key_text(version), replicate),
        )
        return evaluation_of(rows[0]) if rows else None

    def put_evaluation(self, evaluation: Evaluation) -> None:
        """Keep what came of an evaluation; the first one stays. It survives a kill at once, and a power cut from the
        next transaction on."""
        self.store.write(_PUT, evaluation_row(evaluation, evaluation.at or self.store.clock()), durable=False)

    def put_evaluations(self, evaluations: Iterable[Evaluation]) -> None:
        """Keep several in one transaction."""
        rows = [evaluation_row(one, one.at or self.store.clock()) for one in evaluations]
        with self.store.transaction(durable=False) as link:
            link.executemany(_PUT, rows)

    def evaluations(self, commit: str, split: str | None = None) -> list[Evaluation]:
        """All evaluations of a commit (on one split), in the order in which they were made."""
        marks, values = ("", (commit,)) if split is None else (" AND split = ?", (commit, key_text(split)))
        rows = self.store.rows(f"SELECT {_EVALUATION} WHERE commit_id = ?{marks} ORDER BY id", values)
        return [evaluation_of(row) for row in rows]

    # ------------------------------------------------------------ epochs, events, resume state

    def put_epoch(self, row: EpochRow) -> None:
        """Keep how an epoch ended. Said again, the newest counts; the older stays in the file."""
        row = row if row.at else replace(row, at=self.store.clock())
        with self.transaction() as link:
            link.execute(
                "INSERT INTO train_epochs (experiment, epoch, commit_id, verdict, body, seal) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                epoch_row(row),
            )

    def epochs(self, experiment: str) -> list[EpochRow]:
        """How the epochs of an experiment ended, in their order."""
        newest = "SELECT max(id) FROM train_epochs WHERE experiment = ? GROUP BY epoch"
        question = "SELECT experiment, epoch, commit_id, verdict, body, seal FROM train_epochs WHERE id IN"
        return [
            epoch_of(row) for row in self.store.rows(f"{question} ({newest}) ORDER BY epoch", (key_text(experiment),))
        ]

    def put_events(self, experiment: str, events: Sequence[Event]) -> int:
        """Add to the events of an experiment; gives how many there are now."""
        bodies = ((event.type.value, body_of(event.to_dict(), lenient=True)) for event in events)
        return self._events.append(key_text(experiment), bodies)

    def events(self, experiment: str, since: int = 0, types: Iterable[str] | None = None) -> list[Event]:
        """The events of an experiment in order, without the first `since`."""
        wanted = None if types is None else [str(one) for one in types]
        found = self._events.read(key_text(experiment), since=since, types=wanted)
        what = f"Event {{}} of experiment {experiment!r}"
        return [Event.from_dict(opened(body, what.format(number))) for number, _, body in found]

    def set_state(self, experiment: str, key: str, value: Any) -> None:
        """Remember a plain value under a key."""
        where = (key_text(experiment), key_text(key))
        body = body_of(value, f"the state {key!r} of {experiment!r}")
        with self.transaction() as link:
            row = (*where, body, seal(*where, body))
            link.execute("INSERT OR REPLACE INTO train_state VALUES (?, ?, ?, ?)", row)

    def state(self, experiment: str, key: str, default: Any = None) -> Any:
        """The value under a key."""
        where = (key_text(experiment), key_text(key))
        rows = self.store.rows("SELECT body, seal FROM train_state WHERE experiment = ? AND name = ?", where)
        if not rows:
            return default
        return unsealed(f"The state {key!r} of experiment {experiment!r}", rows[0][1], *where, rows[0][0])

    # ------------------------------------------------------------ the journal of why

    def add_context(self, experiment: str, entry: ContextEntry) -> ContextEntry:
        """Add a line to the journal; gives it with its time."""
        entry = entry if entry.at else replace(entry, at=self.store.clock())
        body = body_of(entry.to_dict(), lenient=True)
        self._context.append(key_text(experiment), [(key_text(entry.source), body)])
        return entry

    def context(
        self, experiment: str, *, source: str | None = None, contains: str | None = None, limit: int | None = None
    ) -> list[ContextEntry]:
        """The journal in order: of one source, with a text in it, or only the newest lines."""
        types = None if source is None else [key_text(source)]
        what = f"Line {{}} of the journal of experiment {experiment!r}"
        rows = self._context.read(key_text(experiment), types=types)
        found = [ContextEntry(**opened(body, what.format(number))) for number, _, body in rows]
        if contains is not None:
            wanted = contains.casefold()
            found = [one for one in found if wanted in f"{one.text}\n{one.decision}".casefold()]
        return found if limit is None else found[max(0, len(found) - limit) :]

    # ------------------------------------------------------------ one trainer at a time; what is damaged

    def hold(self, experiment: str) -> AbstractContextManager[Holder | None]:
        """Be the only one who trains it, or `ExperimentBusy`; gives the killed process that held it, if one did."""
        return self._holds.hold(experiment)

    def holder(self, experiment: str) -> Holder | None:
        """Who trains it, or was killed while training it."""
        return self._holds.holder(experiment)

    def is_interrupted(self, experiment: str) -> bool:
        """Whether its training was killed: it says running, and nobody is at it."""
        holder = self.holder(experiment)
        return self.experiment(experiment).status == "running" and not (holder is not None and holder.alive)

    def free(self, experiment: str) -> None:
        """Take the hold from whoever has it: for when its machine is gone."""
        self._holds.free(experiment)

    def fsck(self) -> list[Finding]:
        """All that is damaged or missing, each with the experiment and epoch it belongs to. Changes nothing."""
        return findings(self.store)


def _end(store: Store, folder: Path | None) -> None:
    store.close()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
