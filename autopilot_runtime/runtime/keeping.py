"""What one run does to files, kept so that it can be undone: by file tools path by path, by programs with a snapshot.

Nothing is opened before the first change.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from autopilot_runtime.core.bridge import in_thread
from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.runtime.recovery import record_difference, recover
from autopilot_runtime.runtime.sites import MAX_FILE
from autopilot_runtime.runtime.trail import ANY_MODE, Touched, Trail, below, shown
from autopilot_runtime.store import refs
from autopilot_runtime.store.look import Stopped
from autopilot_runtime.store.objects import digest_of
from autopilot_runtime.store.rules import Rules, TooLarge
from autopilot_runtime.store.snapshot import Snapshotter
from autopilot_runtime.store.tree import State, bare, find, plain
from autopilot_runtime.store.upkeep import collect
from autopilot_runtime.tool.workspace import Draft

LAST = "workspace"  # the ref to the newest snapshot: the next one shares with it
_MAX_TASK = 300
_AFTER_ABORT = 0.4  # seconds; who aborts does not wait for a look at a large folder
Warn = Callable[[str], object]


def rules_for(log: Trail) -> Rules:
    """What is kept of a workspace: not what is ours, nor what tools can make again."""
    ours = below(log.work_dir, os.path.join(os.path.expanduser("~"), ".autopilot"))  # noqa: PTH111, PTH118 -- no home stays "~"
    return Rules(
        names=frozenset({".git", "node_modules", "__pycache__"}),
        paths=log.left_out() | ({ours} if ours else set()),
        derived=True,
        max_file=MAX_FILE,
        max_files=50_000,
        max_bytes=2 << 30,
    )


def covers(log: Trail, tree: bytes, path: bytes) -> bool:
    """Whether a snapshot says how a path was, also when it says that there was nothing."""
    if path.startswith(b"/"):
        return False
    state = find(log.store, tree, path)
    if state is not None:
        return state.kind != "left"
    rules, parts = rules_for(log), path.split(b"/")
    above = [b"/".join(parts[: n + 1]) for n in range(len(parts))]
    if any(rules.omits(os.fsdecode(part), whole) for part, whole in zip(parts, above, strict=True)):
        return False
    return not any(_is_derived(rules, Path(log.work_dir, shown(one))) for one in above[:-1])


def _is_derived(rules: Rules, folder: Path) -> bool:
    try:
        return rules.is_derived(set(os.listdir(folder)), lambda name: (folder / name).read_bytes()[:100])  # noqa: PTH208
    except OSError:
        return False  # not there yet: the write will make it


class Keeping:
    """What is kept of one run. Any thread may call it; `warn` tells what undo will not cover."""

    def __init__(
        self,
        work_dir: str | os.PathLike[str],
        *,
        run_id: str,
        session_id: str,
        warn: Warn,
        task: str = "",
        skip: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        self.task = task
        self._work_dir = os.fspath(work_dir)
        self._run = run_id
        self._session = session_id
        self._warn = warn
        self._skip = tuple(skip)
        self._lock = threading.Lock()
        self._log: Trail | None = None
        self._entered = False
        self._off = False  # nothing can be kept; said once
        self._begun = time.time()
        self._seen: dict[bytes, Touched] = {}  # by file tools
        self._tree: bytes | None = None  # before the first program
        self._looked = False

    def leave_out(self, places: Iterable[str | os.PathLike[str]]) -> None:
        """These are ours, too: the session of a sub-agent, say."""
        with self._lock:
            self._skip = (*self._skip, *places)
            if self._log is not None:
                try:
                    self._log.leave_out(self._skip)
                except StoreError as error:
                    self._give_up(error)

    # ------------------------------------------------------------ before a change

    def before_write(self, draft: Draft, made: Iterable[str]) -> None:
        """A file tool is about to put a draft in its place; these folders were made for it just now."""
        with self._lock:
            log = self._open()
            if log is None:
                return
            try:
                self._record(log, draft, made)
            except (StoreError, OSError) as error:
                self._give_up(error)

    def _record(self, log: Trail, draft: Draft, made: Iterable[str]) -> None:
        path = self._key(draft.place.real)
        old, mode = draft.info, ANY_MODE if draft.info is None else stat.S_IMODE(draft.info.st_mode)
        now = State("file", mode, len(draft.after), digest_of(draft.after))
        first = path not in self._seen
        before = None if first else self._seen[path].was
        with log.store.transaction(durable=first):  # what is lost must not be lost; what came of it is on the disk
            if first and draft.before is not None and old is not None:
                before = State("file", mode, len(draft.before), log.store.put(draft.before))
            if first and self._tree is not None and covers(log, self._tree, path):
                # A program may have changed it since: what counts is how it was before that.
                before = plain(find(log.store, self._tree, path))
            touched = [Touched(self._key(one), None, bare(ANY_MODE), True) for one in made]
            touched.append(Touched(path, before, now, True))
            log.record(self._run, touched)
        self._seen.update((one.path, one) for one in touched)

    async def before_program(self) -> None:
        """A program is about to run, and may change anything: see first how everything is, once in a run."""
        if self._looked or self._off:
            return
        stop = threading.Event()
        try:
            await in_thread(self._look, stop)
        except asyncio.CancelledError:
            stop.set()
            raise

    def _look(self, stop: threading.Event) -> None:
        with self._lock:
            if self._looked or self._off:  # another sub-agent was first
                return
            log = self._open()
            if log is None:
                return
            try:
                self._tree = self._snapshot(log, lambda tree: log.set_tree(self._run, tree), stopped=stop.is_set)
                self._looked = True
            except Stopped:
                return
            except TooLarge as error:
                self._looked = True
                self._warn(f"Undo will cover what file tools change, not what programs do: {error}")
            except (StoreError, OSError) as error:
                self._give_up(error)

    def _snapshot(self, log: Trail, keep: Callable[[bytes], object], *, stopped: Callable[[], bool] = bool) -> bytes:
        def kept(tree: bytes) -> None:
            refs.point(log.store, LAST, tree)
            refs.drop(log.store, LAST, keep=1)
            keep(tree)

        snapshotter = Snapshotter(log.store, self._work_dir, rules_for(log))
        return snapshotter.take(kept, stopped=stopped).tree

    # ------------------------------------------------------------ the end

    async def end(self, *, hurry: bool) -> None:
        """The run is over: see what its programs did. `hurry`: leave that to the next who asks, if it takes long."""
        if self._entered:
            await in_thread(self._end, hurry)

    def _end(self, hurry: bool) -> None:
        until = time.monotonic() + _AFTER_ABORT if hurry else float("inf")
        with self._lock:
            log, self._log = self._log, None
            try:
                log = log or Trail(self._work_dir)
                self._settle(log, stopped=lambda: time.monotonic() > until)
                self._prune(log)
            except StoreError as error:
                self._warn(f"What this run changed may not be undone: {error}")
            finally:
                if log is not None:
                    log.close()

    def _settle(self, log: Trail, *, stopped: Callable[[], bool]) -> None:
        before, status = self._tree, "done"
        if before is not None:
            try:
                after = self._snapshot(log, bool, stopped=stopped)
                record_difference(log, self._run, before, after)
            except (Stopped, TooLarge):
                status = "unseen"
        log.settle(self._run, status=status, at=time.time())  # type: ignore[arg-type]
        lost = [shown(one.path) for one in log.touched(self._run) if one.was and one.was.kind == "left"]
        if lost:
            self._warn(f"Undo will not bring these back, their content is not kept: {', '.join(lost[:10])}")

    @staticmethod
    def _prune(log: Trail) -> None:
        surplus = log.surplus()
        for run in surplus:
            log.forget(run)
        if surplus:
            collect(log.store)

    # ------------------------------------------------------------ the place where it is kept

    def _open(self) -> Trail | None:
        """The log, with this run in it."""
        if self._log is None and not self._off:
            try:
                self._log = log = Trail(self._work_dir)
                log.leave_out(self._skip)
                recover(log, lambda: self._snapshot(log, bool))
                log.begin(self._run, self._session, task=self.task[:_MAX_TASK], at=self._begun)
                self._entered = True
            except StoreError as error:
                self._give_up(error)
        return self._log

    def _give_up(self, error: Exception) -> None:
        self._off = True
        if self._log is not None:
            self._log.close()
            self._log = None
        self._warn(f"What this run changes cannot be undone: {error}")

    def _key(self, real: str) -> bytes:
        """A path as the log knows it."""
        root = os.path.realpath(self._work_dir)
        inside = real.removeprefix(root.rstrip(os.sep) + os.sep)
        return os.fsencode(Path(inside).as_posix())
