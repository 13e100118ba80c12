"""Where candidates are tried: in place, or on copies, so that the live files only ever hold what was accepted."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.restore import restore
from autopilot_runtime.store.tree import State, difference, find, plain
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.filetree import FileTree
from autopilot_runtime.training.jobfolder import remove
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.pathparameter import PathParameter
from autopilot_runtime.training.worktree import Worktree, spelt

Parameters = Iterable[tuple[str, Parameter]] | Iterable[Parameter]


class Kept(Protocol):
    """A commit, as far as its copies need it."""

    @property
    def id(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, str]: ...


class Keeper(Protocol):
    """A record, as far as copies of its commits need it."""

    @property
    def store(self) -> Store: ...


class Environment(Protocol):
    """What a fit works in: entered at its beginning, left at its end, however it ends."""

    def enter(self, parameters: Parameters, *, store: Store | None = None) -> None:
        """Let the parameters be worked on. A store to keep what lies in the files now may be given."""

    def publish(self, parameters: Parameters) -> Sequence[str]:
        """Make the live files what the parameters hold. Gives those that somebody else changed, and that stay."""

    def materialise(self, commit: Kept, record: Keeper, *, copy: str = "") -> Path:
        """A folder with the files of a commit, one folder for each parameter by its name. `copy`: another such."""

    def leave(self) -> None:
        """Remove what was made."""


class LocalEnvironment:
    """Candidates are tried in the live files themselves; only copies of commits lie elsewhere."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self._where = folder
        self._worktree: Worktree | None = None
        self._entered: dict[str, PathParameter] = {}
        self._one_at_a_time = threading.Lock()
        self._copies: dict[tuple[str, str], tuple[Path, dict[str, FileTree]]] = {}

    def enter(self, parameters: Parameters, *, store: Store | None = None) -> None:
        """Let them be worked on."""
        self._entered = dict(_files(parameters))

    def publish(self, parameters: Parameters) -> Sequence[str]:
        """They are live already."""
        return ()

    def materialise(self, commit: Kept, record: Keeper, *, copy: str = "") -> Path:
        """A folder with the files of a commit. The same again for the same, unless something in it was changed."""
        with self._one_at_a_time:
            place, trees = self._copies.get((commit.id, copy), (None, {}))
            if place is not None and _is(place, trees, commit):
                return place
            place = self._made().place("copies", commit.id[:24], copy or "-")
            trees = {}
            for name, one in self._entered.items():
                if name in commit.parameters:
                    folder = place / spelt(name)
                    folder.mkdir()
                    trees[name] = one.at(folder)
                    trees[name].fill(record.store, bytes.fromhex(commit.parameters[name]))
            self._copies[commit.id, copy] = place, trees
            return place

    def discard(self, copy: Path) -> None:
        """A copy is needed no more."""
        self._copies = {key: one for key, one in self._copies.items() if one[0] != copy}
        remove(copy)

    def leave(self) -> None:
        """Remove the copies."""
        self._copies, self._entered = {}, {}
        if self._worktree is not None:
            self._worktree.close()
            self._worktree = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def _made(self) -> Worktree:
        if self._worktree is None:
            self._worktree = Worktree(self._where)
        return self._worktree


def _is(place: Path, trees: Mapping[str, FileTree], commit: Kept) -> bool:
    """Whether an evaluation left the copy as it was."""
    return place.is_dir() and all(
        tree.base.is_dir() and tree.look()[0].hex() == commit.parameters[name] for name, tree in trees.items()
    )


class IsolatedEnvironment(LocalEnvironment):
    """Candidates are tried in a scratch copy of every file parameter; what others do to the live files stays.

    The copy is removed when the fit ends, and by the next fit when this one was killed.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        super().__init__(folder)
        self._own: Store | None = None
        self._store: Store | None = None
        self._live: dict[str, bytes] = {}  # what we last saw in, or wrote to, the live files

    def enter(self, parameters: Parameters, *, store: Store | None = None) -> None:
        """Copy the files, and let the parameters be worked on there."""
        found = _files(parameters)
        for name, one in found:
            if one.moved:
                raise TrainingError(f"parameter {name!r} is being worked on by another fit, in {one.path}")
        try:
            self._store = store or self._opened()
            for name, one in found:
                place = self._made().place("work", name)
                self._live[name] = one.at().take(self._store)
                one.at(place).fill(self._store, self._live[name])
                self._entered[name] = one
                one.move_to(place)
        except BaseException:
            self.leave()
            raise

    def publish(self, parameters: Parameters) -> Sequence[str]:
        """Make the live files what the parameters hold. Gives those that somebody else changed, and that stay."""
        kept: list[str] = []
        for name, one in _files(parameters):
            if name not in self._live or self._store is None:
                raise TrainingError(f"parameter {name!r} is not worked on here: it was not there at enter()")
            tree, live = one.keep(self._store), one.at()
            if tree == self._live[name]:
                continue
            wanted, theirs = _wanted(self._store, self._live[name], tree, live.take(self._store))
            restore(self._store, live.base, wanted, redo=True)
            self._live[name] = tree
            kept += [str(live.base / os.fsdecode(path)) for path in theirs]
        return kept

    def leave(self) -> None:
        """Let the parameters be at home again, and remove the copies."""
        for one in self._entered.values():
            one.move_back()
        self._live, self._store = {}, None
        if self._own is not None:
            self._own.close()
            self._own = None
        super().leave()

    def _opened(self) -> Store:
        self._own = Store(self._made().folder / "store.db", durable=False)
        return self._own


def _wanted(store: Store, base: bytes, tree: bytes, live: bytes) -> tuple[dict[bytes, State | None], list[bytes]]:
    """What is to be changed in the live files, and what is not because somebody else changed it."""
    changes = difference(store, base, tree)
    if live == base:
        return {path: after for path, (_, after) in changes.items()}, []
    wanted: dict[bytes, State | None] = {}
    theirs: list[bytes] = []
    for path, (before, after) in sorted(changes.items()):
        now = plain(find(store, live, path))
        above = path.rpartition(b"/")[0]
        folder = wanted[above] if above in wanted else find(store, live, above) if above else None
        if now == after:
            continue
        if now == before and (not above or (folder is not None and folder.kind == "folder")):
            wanted[path] = after
        else:
            theirs.append(path)
    return wanted, theirs


def _files(parameters: Parameters) -> list[tuple[str, PathParameter]]:
    """Those that are files, with names that are all different."""
    found: dict[str, PathParameter] = {}
    for number, one in enumerate(parameters):
        given: Any = one
        name, parameter = given if isinstance(given, tuple) else (given.name or str(number), given)
        if isinstance(parameter, PathParameter):
            found[name] = parameter
    return list(found.items())
