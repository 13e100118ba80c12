"""Undo: the paths that a run changed become what they were before it, if nobody else has changed them since."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from autopilot_runtime.core.errors import EditConflict, RunInProgress, SetupError, StoreError
from autopilot_runtime.core.ids import new_id
from autopilot_runtime.runtime.keeping import rules_for
from autopilot_runtime.runtime.recovery import conclude, recover, roll_back
from autopilot_runtime.runtime.sites import Sites
from autopilot_runtime.runtime.trail import (
    Entry,
    Touched,
    Trail,
    heads_differ,
    is_alive,
    is_within,
    shown,
    store_path,
)
from autopilot_runtime.store.snapshot import Snapshotter
from autopilot_runtime.store.tree import State

_NAMED = 20


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did. Its own `id` can be undone, too. `left` are paths whose content was not kept."""

    id: str
    run: str
    paths: tuple[str, ...]
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Undoable:
    """A run, or an undo, of this folder that can be undone. `unseen`: what its programs did is looked at by then."""

    id: str
    session: str
    task: str
    at: float
    paths: tuple[str, ...]
    undoes: str = ""
    unseen: bool = False


def undo(
    work_dir: str | os.PathLike[str],
    run: str | None = None,
    *,
    session: str | None = None,
    force: bool = False,
    skip: Iterable[str | os.PathLike[str]] = (),
) -> Undone:
    """Undo `run`, or the newest one (of `session`, when that is given) that is not undone. All of it or nothing.

    A path that somebody else changed since: `EditConflict`, unless `force`. What is replaced is kept.
    """
    if not store_path(work_dir).exists():
        raise SetupError(f"There is nothing to undo in {work_dir}: no run has changed files there.")
    log = Trail(work_dir)
    try:
        log.leave_out(skip)
        done = _ready(log, force=force)
        if done is not None and run in (None, done.run):
            return done  # what was asked for once, and cut off
        entry = _chosen(log, run, session)
        return _undo(log, entry, force=force)
    finally:
        log.close()


def undoable(work_dir: str | os.PathLike[str]) -> list[Undoable]:
    """What can be undone in a folder, newest first. Changes nothing."""
    if not store_path(work_dir).exists():
        return []
    log = Trail(work_dir)
    try:
        return [_listed(log, entry) for entry in reversed(log.entries()) if _can_be(entry)]
    finally:
        log.close()


def _listed(log: Trail, entry: Entry) -> Undoable:
    paths = tuple(shown(one.path) for one in log.touched(entry.id))
    return Undoable(
        entry.id,
        entry.session,
        entry.task,
        entry.ended or entry.begun,
        paths,
        entry.undoes,
        unseen=entry.tree is not None,
    )


def _can_be(entry: Entry) -> bool:
    if entry.undone_by or entry.status == "restoring":
        return False
    return entry.status != "open" or not is_alive(entry.owner)  # killed: what it did is known by its first undo


def _ready(log: Trail, *, force: bool) -> Undone | None:
    """Finish what killed processes left; refuse while another one is at work here."""

    def look() -> bytes:
        return Snapshotter(log.store, log.work_dir, rules_for(log)).take().tree

    found = recover(log, look)
    if found.at_work and not force:
        raise RunInProgress(f"A run is at work in {log.work_dir} ({found.at_work[0].id}); undo when it has ended.")
    if not found.finished:
        return None
    last = found.finished[-1]
    return Undone(last.id, last.undoes, tuple(shown(one.path) for one in log.touched(last.id)))


def _chosen(log: Trail, run: str | None, session: str | None) -> Entry:
    entries = [entry for entry in log.entries() if _can_be(entry)]
    known = ", ".join(entry.id for entry in reversed(entries[-_NAMED:]))
    if run is not None:
        return next((entry for entry in entries if entry.id == run), None) or _refused(log, run, known)
    own = [entry for entry in log.entries() if not entry.undoes and session in (None, entry.session)]
    fitting = [entry for entry in own if entry in entries]
    if fitting:
        return fitting[-1]
    return _nothing(log, known, undone=any(entry.undone_by for entry in own))


def _nothing(log: Trail, known: str, *, undone: bool) -> NoReturn:
    more = f" Others, by their id: {known}." if known else ""
    why = "every run that changed files there is undone already" if undone else "no run changed files there"
    raise SetupError(f"There is nothing to undo in {log.work_dir}: {why}.{more}")


def _refused(log: Trail, run: str, known: str) -> NoReturn:
    entry = log.find(run)
    if entry is not None and entry.undone_by:
        raise SetupError(f"{run} is undone already; undo({entry.undone_by!r}) would bring it back.")
    raise SetupError(f"No run {run!r} can be undone in {log.work_dir}. There are: {known or 'none'}.")


def _undo(log: Trail, entry: Entry, *, force: bool) -> Undone:
    ours = log.left_out()
    touched = [one for one in log.touched(entry.id) if not _is_ours(one, ours)]
    left = [one for one in touched if "left" in (one.was and one.was.kind, one.now and one.now.kind)]
    plan = [one for one in touched if one not in left]
    with Sites(log.work_dir, log.store) as sites, log.store.transaction():
        current = {one.path: sites.look(one.path) for one in plan}
        if not force:
            _refuse_conflicts(log, entry, plan, current)
        wanted = {one.path: one.was for one in plan if heads_differ(current[one.path], one.was)}
        missing = sites.missing_folders(wanted)
        wanted |= missing
        current |= dict.fromkeys(missing)
        undo = _enter(log, entry, wanted, current)
    with Sites(log.work_dir, log.store) as sites:
        try:
            stay = sites.restore(wanted)
        except StoreError as error:
            raise roll_back(log, undo, error) from error
    conclude(log, undo, stay=stay)
    paths = tuple(sorted(shown(path) for path in wanted if path not in stay))
    return Undone(undo.id, entry.id, paths, tuple(shown(one.path) for one in left))


def _is_ours(one: Touched, ours: frozenset[bytes]) -> bool:
    """Whether a path is a session's. What a file tool wrote beside one, in its folder, is still the run's work."""
    return one.path in ours if one.by_tool else is_within(one.path, ours)


def _enter(log: Trail, entry: Entry, wanted: dict[bytes, State | None], current: dict[bytes, State | None]) -> Entry:
    """Write down what will be done before anything is: whoever finds this half done can finish it."""
    number = new_id("undo")
    with log.store.transaction():
        log.begin(
            number, entry.session, task=f"undo of {entry.id}", at=time.time(), status="restoring", undoes=entry.id
        )
        log.record(number, [Touched(path, current[path], state) for path, state in wanted.items()])
        log.hold(number, wanted.values())
        found = log.find(number)
    assert found is not None
    return found


def _refuse_conflicts(log: Trail, entry: Entry, plan: list[Touched], current: dict[bytes, State | None]) -> None:
    changed = [shown(one.path) for one in plan if _is_foreign(log, entry, one, current[one.path])]
    if changed:
        more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        raise EditConflict(
            f"Somebody else changed {', '.join(sorted(changed)[:_NAMED])}{more} since run {entry.id}. Nothing was "
            "undone. Look at the changes, then undo with force if they may go (they can be brought back)."
        )


def _is_foreign(log: Trail, entry: Entry, one: Touched, now: State | None) -> bool:
    """Whether a path is not what runs of this session, one after the other, have made of it."""
    if not heads_differ(now, one.was):
        return False  # it is already as it should be
    expected = one.now
    for later in log.later(entry.id, one.path):
        if heads_differ(later.was, expected):
            return True
        expected = later.now
    return heads_differ(now, expected)
