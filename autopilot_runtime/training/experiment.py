"""One line of work: its status, its accepted state, its journal; what a training run writes into a record."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from autopilot_runtime.store.objects import Store as Objects
from autopilot_runtime.training.contextlog import ContextEntry, ContextLog
from autopilot_runtime.training.fault import ResumeRefused, TrainingError
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.record import Record
from autopilot_runtime.training.recordrows import Commit, EpochRow, ExperimentRow, Status

log = logging.getLogger("autopilot_runtime.training")
FOLDER = ".autopilot"
FILE = "record.db"
_CANCELLED = (KeyboardInterrupt, SystemExit, asyncio.CancelledError)


class Experiment:
    """Enter it to train: pending → running → completed, failed, cancelled or invalidated.

    The record is the given one, else the file in `path` (`./.autopilot`), opened when first needed. An experiment
    that is there already goes on.
    """

    def __init__(
        self,
        slug: str = "experiment",
        *,
        name: str | None = None,
        path: str | os.PathLike[str] | None = None,
        record: Record | None = None,
        store: Any = None,
        parent: Experiment | str | None = None,
        config: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        why: str = "",
    ) -> None:
        self.slug = name if name is not None else slug
        self.path = Path(path if path is not None else FOLDER)
        self.store = store
        self._parent = parent.slug if isinstance(parent, Experiment) else parent
        self._config = None if config is None else dict(config)
        self._about: dict[str, Any] = {"tags": tuple(tags), "why": why}
        self._record = record if record is not None else _record_of(store)
        self._ready = False
        self._entered: ExitStack | None = None
        self._bound: dict[str, Parameter] = {}
        self._metrics: dict[str, Any] | None = None

    @classmethod
    def given(cls, experiment: Any) -> Any:
        """An experiment as a user may give it: itself, or its name."""
        return cls(experiment) if isinstance(experiment, str) else experiment

    # ------------------------------------------------------------ what it is

    @property
    def record(self) -> Record:
        """The record it writes to; the experiment is in it from now on."""
        if not self._ready:
            if self._record is None:
                self._record = Record.open(self.path / FILE)
            self._begin(self._record)
            self._ready = True
        assert self._record is not None
        return self._record

    def _begin(self, record: Record) -> None:
        with record.transaction():
            if not record.has(self.slug):
                record.create(self.slug, parent=self._parent, config=self._config, **self._about)
                return
        known = record.experiment(self.slug).config
        if self._config is None or self._config == known:
            return
        other = sorted(key for key in {*known, *self._config} if known.get(key) != self._config.get(key))
        raise ResumeRefused(
            f"Experiment {self.slug!r} in {record.where} was begun with another config ({', '.join(other)} differ). "
            "Leave config out to go on with that one, or begin an experiment with another name."
        )

    @property
    def row(self) -> ExperimentRow:
        """What the record says of it."""
        return self.record.experiment(self.slug)

    @property
    def status(self) -> Status:
        """How it stands."""
        return self.row.status

    @property
    def config(self) -> Mapping[str, Any]:
        """What it was begun with."""
        return self.row.config

    @property
    def context_log(self) -> ContextLog:
        """Every decision with its reason and its source."""
        return ContextLog(self.record, self.slug)

    @property
    def epochs(self) -> list[EpochRow]:
        """How its epochs ended."""
        return self.record.epochs(self.slug)

    @property
    def metrics(self) -> dict[str, Any]:
        """The newest metrics of a validation."""
        if self._metrics is not None:
            return dict(self._metrics)
        rows = self.epochs
        return dict(rows[-1].metrics) if rows else {}

    @property
    def best(self) -> Commit | None:
        """The best accepted state."""
        return self._at("best")

    @property
    def last_accepted_commit(self) -> str | None:
        """The id of the state that stands."""
        return self.record.ref(self.slug, "last_accepted")

    @property
    def last_accepted_epoch(self) -> int | None:
        """The epoch that the state that stands came from."""
        commit = self._at("last_accepted")
        if commit is None:
            return None
        accepted = [row.epoch for row in self.epochs if row.verdict == "accept" and row.commit == commit.id]
        return accepted[-1] if accepted else commit.epoch

    def _at(self, name: str) -> Commit | None:
        found = self.record.ref(self.slug, name)
        return self.record.get_commit(found, self.slug) if found else None

    # ------------------------------------------------------------ its life

    @property
    def entered(self) -> bool:
        """Whether somebody is in it."""
        return self._entered is not None

    def __enter__(self) -> Experiment:
        if self._entered is not None:
            raise TrainingError(f"Experiment {self.slug!r} has been entered already.")
        row = self.row
        if row.status == "invalidated":
            raise TrainingError(
                f"Experiment {self.slug!r} was invalidated ({row.reason}); begin one with another name."
            )
        with ExitStack() as stack:
            killed = stack.enter_context(self.record.hold(self.slug))
            with self.record.transaction():
                self.record.set_status(self.slug, "running")
                if killed is not None:
                    self.add_context(f"{killed} ended in the middle of it; going on from there", "trainer")
            self._entered = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        assert self._entered is not None
        with self._entered:
            self._entered = None
            if self.status == "running":
                self._end(error)

    def _end(self, error: BaseException | None) -> None:
        status: Status = "completed" if error is None else "cancelled" if isinstance(error, _CANCELLED) else "failed"
        said = f"{type(error).__name__}: {error}".rstrip(": ") if error is not None else ""
        epochs = sum(row.epoch >= 0 for row in self.epochs)
        text = f"experiment {status} after {epochs} epochs" + (f": {said}" if said else "")
        with self.record.transaction():
            self.record.set_status(self.slug, status, said)
            self.add_context(text, "trainer", decision=status, commit=self.last_accepted_commit or "")

    def invalidate(self, why: str) -> None:
        """Say that its results do not count."""
        with self.record.transaction():
            self.record.set_status(self.slug, "invalidated", why)
            self.add_context(why, decision="invalidated")

    def close(self) -> None:
        """Let go of the record, if it was opened here."""
        if self._record is not None:
            self._record.close()

    # ------------------------------------------------------------ what happens in it

    def add_context(
        self,
        text: str,
        source: str = "user",
        *,
        decision: str = "",
        epoch: int | None = None,
        commit: str = "",
        **data: Any,
    ) -> ContextEntry:
        """Write into the journal why something is done."""
        return self.context_log.append(text, source, decision=decision, epoch=epoch, commit=commit, data=data)

    def on_epoch_complete(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """An epoch has ended, its verdict is in the record."""

    def on_validation_complete(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """A validation has given these metrics."""
        self._metrics = dict(metrics)

    def bind(self, parameters: Any) -> Experiment:
        """Let `rollback` restore these: a module, or `(name, parameter)` pairs. One that was killed is finished."""
        named = getattr(parameters, "named_parameters", None)
        self._bound = dict(named() if named is not None else parameters)
        pending = self.record.state(self.slug, "rollback")
        if pending is not None:
            self._roll_back(self.record.get_commit(pending["commit"], self.slug), pending["why"])
        return self

    def rollback(self, target: int | str | None = None, why: str = "") -> Commit:
        """Go back to an epoch, a ref or a commit (the last accepted one): the ref moves, bound parameters become what
        they were; the history stays."""
        wanted = "last_accepted" if target is None else f"epoch-{target}" if isinstance(target, int) else target
        commit = self.record.get_commit(wanted, self.slug)
        if self._bound:
            self._keep_found()
            self.record.set_state(self.slug, "rollback", {"commit": commit.id, "why": why})
        else:
            log.warning("%s: the ref moved, and no parameter did; bind(module) first restores them, too", self.slug)
        try:
            self._roll_back(commit, why)
        except Exception:
            self.record.set_state(self.slug, "rollback", None)  # nothing of it was done
            raise
        return commit

    def _keep_found(self) -> None:
        """Somebody may have edited the parameters by hand: what is there now is kept before it is replaced."""
        stands = self.last_accepted_commit
        parents = [stands] if stands else []
        why = "as it was found before going back"
        found = self.record.commit(self._bound.items(), experiment=self.slug, parents=parents, why=why, source="user")
        name = f"tag/found-{found.id[:12]}"
        if found.id != stands and found.why == why and self.record.ref(self.slug, name) is None:
            self.record.point(self.slug, name, found.id, why=why)
            self.add_context(f"the state that was found is kept as {name}", "trainer", commit=found.id)

    def _roll_back(self, commit: Commit, why: str) -> None:
        """The parameters first: a ref never points to a state that was not put in place."""
        if self._bound:
            self.record.bring(commit, self._bound.items())
            self.record.set_state(self.slug, "live", commit.id)
        with self.record.transaction():
            self.record.point(self.slug, "last_accepted", commit.id, why=why or "rollback")
            self.add_context(
                why or f"rolled back to {commit.id[:12]}", decision="rollback", epoch=commit.epoch, commit=commit.id
            )
            self.record.set_state(self.slug, "rollback", None)
            # Whoever resumes the fit begins here, and not where its last epoch ended.
            after = self.record.state(self.slug, "fit")
            self.record.set_state(self.slug, "went_back", {"commit": commit.id, "after": after})

    # ------------------------------------------------------------ in a checkpoint

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint says of it: plain values."""
        rows = self.epochs
        return {
            "slug": self.slug,
            "status": self.status,
            "config": dict(self.config),
            "epoch": rows[-1].epoch if rows else None,
            "metrics": self.metrics,
            "refs": self.record.refs(self.slug),
            "context": self.context_log.to_dicts(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the refs be where they were then. Commits, epochs and the journal only ever grow."""
        if state["slug"] != self.slug:
            raise ResumeRefused(f"The checkpoint is of experiment {state['slug']!r}, not of {self.slug!r}.")
        now = self.record.refs(self.slug)
        with self.record.transaction():
            for name, commit in state["refs"].items():
                if now.get(name) != commit:
                    self.record.point(self.slug, name, commit, why="loaded from a checkpoint")
        self._metrics = dict(state["metrics"])


def _record_of(store: Any) -> Record | None:
    """The record of what was given as a store: a record, a store of ours, or something that holds one."""
    for one in (store, getattr(store, "record", None), getattr(store, "store", None)):
        if isinstance(one, Record):
            return one
        if isinstance(one, Objects):
            return Record(one)
    return None
