"""The index of runs that changed files in one folder, in its store: who, when, which paths, from what to what."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.core.process import started
from autopilot_runtime.store import refs
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.tree import State, read_head

_TABLES = (
    """CREATE TABLE IF NOT EXISTS runs (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, session TEXT NOT NULL, task TEXT NOT NULL,
        begun REAL NOT NULL, ended REAL, status TEXT NOT NULL, owner TEXT NOT NULL, tree BLOB,
        undoes TEXT NOT NULL DEFAULT '', undone_by TEXT NOT NULL DEFAULT '', work_dir TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS run_paths (
        run TEXT NOT NULL, path BLOB NOT NULL, was BLOB, now BLOB, by_tool INTEGER NOT NULL, PRIMARY KEY (run, path)
        ) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS left_out (path BLOB PRIMARY KEY) WITHOUT ROWID",
)
_COLUMNS = "id, session, task, begun, ended, status, owner, tree, undoes, undone_by"
# open: at work. unseen: over, but what its programs did was not looked at. restoring: an undo in the middle.
Status = Literal["open", "unseen", "restoring", "done"]
# New files get their mode from the system; which one is not known when the write is recorded.
ANY_MODE = 0xFFFF
KEPT_RUNS, MOST_RUNS = 200, 220
MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Entry:
    """One run, or one undo (`undoes` is what it undid)."""

    id: str
    session: str
    task: str
    begun: float
    ended: float | None
    status: Status
    owner: str
    tree: bytes | None
    undoes: str
    undone_by: str


@dataclass(frozen=True, slots=True)
class Touched:
    """What a run did to one path, relative to the folder (or absolute, outside of it); None is absence."""

    path: bytes
    was: State | None
    now: State | None
    by_tool: bool = False


def store_path(work_dir: str | os.PathLike[str]) -> Path:
    """Where what is needed to undo in this folder is kept: outside of it."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(work_dir))).hexdigest()[:32]
    try:
        return Path.home() / ".autopilot" / "store" / f"{name}.db"
    except RuntimeError as error:
        raise StoreError("There is no home folder (HOME is not set), so nothing is kept to undo.") from error


class Trail:
    """The index, open. Every method is one transaction, or a part of the caller's."""

    def __init__(self, work_dir: str | os.PathLike[str], store: Store | None = None) -> None:
        self.work_dir = os.path.realpath(work_dir)
        self.store = store or Store(store_path(work_dir))
        with self.store.transaction() as link:
            for table in _TABLES:
                link.execute(table)

    def close(self) -> None:
        """Let go of the file."""
        self.store.close()

    # ------------------------------------------------------------ reading

    def entries(self) -> list[Entry]:
        """All of them, oldest first."""
        rows = self.store.rows(f"SELECT {_COLUMNS} FROM runs ORDER BY number")
        return [Entry(*row) for row in rows]

    def find(self, run: str) -> Entry | None:
        """The entry of a run."""
        found = self.store.rows(f"SELECT {_COLUMNS} FROM runs WHERE id = ?", (run,))
        return Entry(*found[0]) if found else None

    def touched(self, run: str) -> list[Touched]:
        """What a run did, by path."""
        rows = self.store.rows("SELECT path, was, now, by_tool FROM run_paths WHERE run = ? ORDER BY path", (run,))
        return [Touched(p, _state(w), _state(n), bool(t)) for p, w, n, t in rows]

    def later(self, run: str, path: bytes) -> list[Touched]:
        """What later runs of the same session did to a path, oldest first."""
        question = """SELECT p.path, p.was, p.now, p.by_tool FROM run_paths p JOIN runs r ON r.id = p.run
            JOIN runs this ON this.id = ? WHERE p.path = ? AND r.number > this.number AND r.session = this.session
            ORDER BY r.number"""
        rows = self.store.rows(question, (run, path))
        return [Touched(p, _state(w), _state(n), bool(t)) for p, w, n, t in rows]

    def of_others(self, run: str) -> set[bytes]:
        """Paths that file tools of other runs wrote while this one was at work."""
        question = """SELECT p.path FROM run_paths p JOIN runs r ON r.id = p.run JOIN runs this ON this.id = ?
            WHERE r.id <> this.id AND p.by_tool AND (r.ended IS NULL OR r.ended > this.begun)"""
        return {row[0] for row in self.store.rows(question, (run,))}

    def left_out(self) -> frozenset[bytes]:
        """Where sessions are kept in this folder: whoever looks, they are no work of an agent."""
        return frozenset(row[0] for row in self.store.rows("SELECT path FROM left_out"))

    # ------------------------------------------------------------ writing

    def leave_out(self, places: Iterable[str | os.PathLike[str]]) -> None:
        """Never look at these again: who finishes what a killed run left does not know where its session was."""
        inside = {path for one in places if (path := below(self.work_dir, one)) is not None}
        fresh = inside - self.left_out() if inside else inside
        if not fresh:
            return
        root = os.fsencode(self.work_dir)
        with self.store.transaction() as link:
            link.executemany("INSERT OR IGNORE INTO left_out VALUES (?)", [(path,) for path in fresh])
            # What was seen of their folders was seen with them in it.
            parents = [(root, path.rpartition(b"/")[0]) for path in fresh]
            link.executemany("DELETE FROM stats WHERE root = ? AND folder = ?", parents)

    def begin(
        self, run: str, session: str, *, task: str, at: float, status: Status = "open", undoes: str = ""
    ) -> None:
        """A run of this process is about to change something, for the first time or since it was taken up again."""
        with self.store.transaction() as link:
            link.execute(
                "INSERT INTO runs (id, session, task, begun, status, owner, undoes, work_dir) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "status = excluded.status, owner = excluded.owner, ended = NULL, undone_by = ''",
                (run, session, task, at, status, this_process(), undoes, self.work_dir),
            )

    def set_tree(self, run: str, tree: bytes) -> None:
        """What the folder held before the first program of a run."""
        with self.store.transaction() as link:
            link.execute("UPDATE runs SET tree = ? WHERE id = ?", (tree, run))
            refs.pin(self.store, tree_owner(run), [(tree, "tree")])

    def record(self, run: str, touched: Iterable[Touched], *, durable: bool | None = None) -> None:
        """What it did to these paths; what was before is kept. A path recorded again only gets its new state."""
        listed = list(touched)
        question = (
            "INSERT INTO run_paths VALUES (?, ?, ?, ?, ?) ON CONFLICT (run, path) DO UPDATE SET now = excluded.now"
        )
        with self.store.transaction(durable=durable) as link:
            link.executemany(
                question,
                [(run, t.path, t.was and t.was.head, t.now and t.now.head, t.by_tool) for t in listed],
            )
            self.hold(run, [one.was for one in listed])

    def hold(self, run: str, states: Iterable[State | None]) -> None:
        """Keep these contents for as long as the run can be undone."""
        refs.pin(self.store, run, [(one.digest, "blob") for one in states if one and _has_content(one)])

    def settle(self, run: str, *, status: Status, at: float) -> int:
        """A run is over: paths that are as they were are no change of it. Gives how many are left; none: no entry."""
        with self.store.transaction() as link:
            link.execute("DELETE FROM run_paths WHERE run = ? AND was IS now", (run,))
            count = int(link.execute("SELECT count(*) FROM run_paths WHERE run = ?", (run,)).fetchone()[0])
            if status != "unseen":
                refs.unpin(self.store, tree_owner(run))
                link.execute("UPDATE runs SET tree = NULL WHERE id = ?", (run,))
                if not count:
                    self.forget(run)
                    return 0
            link.execute("UPDATE runs SET status = ?, ended = coalesce(ended, ?) WHERE id = ?", (status, at, run))
        return count

    def forget(self, run: str) -> None:
        """As if it had not been; nothing of it can be undone any more."""
        with self.store.transaction() as link:
            link.execute("DELETE FROM run_paths WHERE run = ?", (run,))
            link.execute("DELETE FROM runs WHERE id = ?", (run,))
            refs.unpin(self.store, run)
            refs.unpin(self.store, tree_owner(run))

    def mark_undone(self, run: str, by: str) -> None:
        """`run` was undone by `by`. Was it an undo itself, what it had undone is done again, and so on."""
        with self.store.transaction() as link:
            link.execute("UPDATE runs SET undone_by = ? WHERE id = ?", (by, run))
            entry, undone = self.find(run), False
            while entry is not None and entry.undoes:
                link.execute("UPDATE runs SET undone_by = ? WHERE id = ?", (entry.id if undone else "", entry.undoes))
                entry, undone = self.find(entry.undoes), not undone

    def surplus(self) -> list[str]:
        """The runs that are to be forgotten: too many, or too large together; oldest first."""
        runs = [e.id for e in self.entries() if e.status == "done"]
        if len(runs) > MOST_RUNS:
            return runs[: len(runs) - KEPT_RUNS]
        size = self.store.rows("SELECT (SELECT page_count FROM pragma_page_count) * page_size FROM pragma_page_size")
        return runs[: len(runs) // 2] if int(size[0][0]) > MOST_BYTES else []


def below(work_dir: str, place: str | os.PathLike[str]) -> bytes | None:
    """A place relative to the folder, as the index spells it; None when it is not inside."""
    root, real = work_dir.rstrip(os.sep) + os.sep, os.path.realpath(place)
    return os.fsencode(real.removeprefix(root).replace(os.sep, "/")) if real.startswith(root) else None


def is_within(path: bytes, places: frozenset[bytes]) -> bool:
    """Whether a path is one of these, or in one of them."""
    return any(path == place or path.startswith(place + b"/") for place in places)


def heads_differ(one: State | None, other: State | None) -> bool:
    """Whether two states of a path are different; a mode that is not known is no difference."""
    if one is None or other is None:
        return one is not other
    if ANY_MODE in (one.mode, other.mode):
        return one.kind != other.kind or one.digest != other.digest
    return one != other


def shown(path: bytes) -> str:
    """A path as one reads it."""
    return os.fsdecode(path)


def tree_owner(run: str) -> str:
    """Under what name the tree of a run at work is pinned."""
    return f"{run} tree"


def _has_content(state: State) -> bool:
    return state.kind in ("file", "link")


def _state(head: bytes | None) -> State | None:
    return None if head is None else read_head(head)


# ---------------------------------------------------------------- which process


def this_process() -> str:
    """This process, told from a later one with the same number."""
    return f"{os.getpid()}:{started(os.getpid()) or ''}"


def is_alive(owner: str) -> bool:
    """Whether that process still runs."""
    number, _, start = owner.partition(":")
    return number.isdigit() and started(int(number)) == start
