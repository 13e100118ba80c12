"""Finishing what a killed process left: a run whose changes nobody looked at, an undo in the middle."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.runtime.sites import Sites
from autopilot_runtime.runtime.trail import Entry, Touched, Trail, heads_differ, is_alive, is_within
from autopilot_runtime.store.rules import TooLarge
from autopilot_runtime.store.tree import State, difference

Look = Callable[[], bytes]  # a snapshot of the folder as it is now


@dataclass(slots=True)
class Recovered:
    """What was found: runs that a process is still at, and undos that were finished just now."""

    at_work: list[Entry] = field(default_factory=list)
    finished: list[Entry] = field(default_factory=list)


def recover(log: Trail, look: Look) -> Recovered:
    """Bring the log up to date."""
    found = Recovered()
    for entry in log.entries():
        if entry.status == "unseen" or (entry.status == "open" and not is_alive(entry.owner)):
            _close(log, entry, look)
        elif entry.status == "restoring" and not is_alive(entry.owner):
            _finish(log, entry)
            found.finished.append(entry)
        elif entry.status in ("open", "restoring"):
            found.at_work.append(entry)
    return found


def record_difference(log: Trail, run: str, before: bytes, after: bytes) -> None:
    """Write down what changed between two snapshots as the run's doing, except what file tools of others wrote.

    Of what its own file tools wrote, the state before the first of them stays the one to go back to.
    """
    others = log.of_others(run)
    ours = log.left_out()
    own = {one.path for one in log.touched(run)}
    found = difference(log.store, before, after)
    theirs = [path for path in found if path in own or path not in others]
    log.record(run, [Touched(path, *found[path]) for path in theirs if not is_within(path, ours)])


def _close(log: Trail, entry: Entry, look: Look) -> None:
    """The process of this run is gone: what the folder is now is what the run left."""
    if entry.tree is not None:
        # If it has grown beyond what is looked at, what file tools did is known all the same.
        with contextlib.suppress(TooLarge):
            record_difference(log, entry.id, entry.tree, look())
    log.settle(entry.id, status="done", at=time.time())


def _finish(log: Trail, entry: Entry) -> None:
    """Put in place what a killed undo had not; what somebody changed meanwhile stays as it is."""
    with Sites(log.work_dir, log.store) as sites:
        sites.clear_scratch()
        todo: dict[bytes, State | None] = {}
        for one in log.touched(entry.id):
            current = sites.look(one.path)
            if heads_differ(current, one.now) and not heads_differ(current, one.was):
                todo[one.path] = one.now
        sites.restore(todo)
    conclude(log, entry)


def conclude(log: Trail, entry: Entry, *, stay: Iterable[bytes] = ()) -> None:
    """An undo is done: everything is as it says. Folders that had to stay are no change of it."""
    with log.store.transaction():
        log.record(
            entry.id, [Touched(one.path, one.was, one.was) for one in log.touched(entry.id) if one.path in stay]
        )
        log.mark_undone(entry.undoes, entry.id)
        log.settle(entry.id, status="done", at=time.time())


def roll_back(log: Trail, entry: Entry, error: StoreError) -> StoreError:
    """An undo could not be done: put back what it had changed, and say how it stands."""
    try:
        with Sites(log.work_dir, log.store) as sites:
            touched = log.touched(entry.id)
            sites.restore({t.path: t.was for t in touched if heads_differ(sites.look(t.path), t.was)})
    except StoreError:
        log.store.rows("UPDATE runs SET owner = '' WHERE id = ?", (entry.id,))  # for the next one to finish
        return StoreError(f"{error} Some files are restored and some are not; the next undo here goes on with it.")
    log.forget(entry.id)
    return StoreError(f"{error} Every file is as it was before the undo.")
