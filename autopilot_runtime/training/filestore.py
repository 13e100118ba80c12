"""Snapshots of parameters under an epoch or a tag, and the way back to each: a record, without a training run."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from autopilot_runtime.training.experiment import FILE
from autopilot_runtime.training.fault import ExperimentBusy, TrainingError, meant
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.pathparameter import PathParameter
from autopilot_runtime.training.record import Record
from autopilot_runtime.training.recordcheck import Finding
from autopilot_runtime.training.recordrows import Commit, Moved
from autopilot_runtime.training.statediff import Changed, changes

_SLUG = "store"  # under this name the snapshots lie in the record, beside the experiments
_HEAD = "head"
_GOING = "checkout"


class Store(ABC):
    """Keeps states, and brings them back. Subclass it to keep them elsewhere."""

    @abstractmethod
    def snapshot(self, epoch: int | str) -> str:
        """Keep the state as it is now, under an epoch or a tag; gives its id."""

    @abstractmethod
    def checkout(self, epoch: int | str) -> Any:
        """Bring back what was kept."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What lies in a store: one state, and the epochs and tags that name it now."""

    id: str
    names: tuple[str, ...]
    why: str
    at: float


class FileStore(Store):
    """A store in one SQLite file, `record.db` in a folder (or a path that ends in .db).

    `parameters` are what is kept: a module, parameters, or pairs of names and parameters; `roots` are files and
    folders. Whatever is replaced by a checkout is kept first, so nothing is ever lost.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = ".autopilot",
        *,
        parameters: Any = None,
        roots: Iterable[str | os.PathLike[str]] = (),
        record: Record | None = None,
    ) -> None:
        place = Path(path)
        self.path = place if place.suffix == ".db" else place / FILE
        self._own = record is None
        self.record = record if record is not None else Record.open(self.path)
        self._bound = named(parameters)
        for root in roots:
            self._bound[os.fspath(root)] = PathParameter(root, name=os.fspath(root))
        if self._bound:
            self._finish()

    def close(self) -> None:
        """Let go of the file."""
        if self._own:
            self.record.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ there and back

    def snapshot(self, epoch: int | str | None = None, parameters: Any = None, *, why: str = "") -> str:
        """Keep the state as it is now; gives its id. A number is an epoch, a text a tag; a name used again moves."""
        bound = self._of(parameters)
        with self.record.transaction():
            made = self._keep(bound, epoch if isinstance(epoch, int) else 0, why)
            if epoch is not None:
                self.record.point(_SLUG, _ref(epoch), made.id, why=why)
            self.record.point(
                _SLUG, _HEAD, made.id, why=why or f"snapshot {epoch if epoch is not None else ''}".strip()
            )
        return made.id

    def checkout(self, epoch: int | str, parameters: Any = None, *, why: str = "") -> Commit:
        """Bring back what an epoch, a tag or an id names. What is there now is kept first, as `before-checkout`."""
        bound, wanted = self._of(parameters), self.commit(epoch)
        with self.record.hold(_SLUG):
            self._save(bound, "before-checkout", f"checkout of {epoch}", wanted)
            self._bring(wanted, bound, why or f"checkout of {epoch}")
        return wanted

    def _save(self, bound: Mapping[str, Parameter], tag: str, why: str, wanted: Commit) -> None:
        """Keep what is there, and remember what is to come: after a kill, who opens the store next goes on."""
        with self.record.transaction():
            before = self._keep(bound, 0, f"before the {why}")
            self.record.point(_SLUG, f"tag/{tag}", before.id, why=why)
            self.record.set_state(_SLUG, _GOING, {"commit": wanted.id, "names": sorted(bound)})

    def _bring(self, wanted: Commit, bound: Mapping[str, Parameter], why: str) -> None:
        try:
            self.record.bring(wanted, bound.items())
            self.record.point(_SLUG, _HEAD, wanted.id, why=why)
        finally:
            self.record.set_state(_SLUG, _GOING, None)

    def _finish(self) -> None:
        """Go on with a checkout that was cut off. One that somebody is at is left alone."""
        going = self.record.state(_SLUG, _GOING)
        if not going or set(going["names"]) != self._bound.keys():
            return
        with contextlib.suppress(ExperimentBusy), self.record.hold(_SLUG):
            wanted = self.record.get_commit(going["commit"])
            self._save(self._bound, "cut-off", "end of a checkout that was cut off", wanted)
            self._bring(wanted, self._bound, "a checkout that was cut off, finished")

    def _keep(self, bound: Mapping[str, Parameter], epoch: int, why: str) -> Commit:
        head = self.record.ref(_SLUG, _HEAD)
        parents = (head,) if head is not None else ()
        return self.record.commit(
            bound.items(), experiment=_SLUG, parents=parents, epoch=epoch, why=why, source="store"
        )

    def _of(self, parameters: Any) -> dict[str, Parameter]:
        bound = named(parameters) if parameters is not None else self._bound
        if not bound:
            raise TrainingError(
                f"The store {self.path} does not know what to keep: give parameters=module, or roots=[...]."
            )
        return bound

    # ------------------------------------------------------------ what there is

    def commit(self, name: int | str) -> Commit:
        """What an epoch, a tag or (the beginning of) an id names."""
        refs = self.record.refs(_SLUG)
        for ref in (_ref(name), str(name)):
            if ref in refs:
                return self.record.get_commit(refs[ref], _SLUG)
        if isinstance(name, str) and len(name) >= 4:
            found = [one for one in self.record.commits(_SLUG) if one.id.startswith(name)]
            if len(found) == 1:
                return found[0]
        known = [ref.partition("/")[2] or ref for ref in refs]
        raise TrainingError(f"The store {self.path} has no snapshot {name!r}.{meant(str(name), known)}")

    def list(self) -> Sequence[Snapshot]:
        """All snapshots, oldest first."""
        names: dict[str, list[str]] = {}
        for ref, commit in self.record.refs(_SLUG).items():
            names.setdefault(commit, []).append(ref)
        return [Snapshot(one.id, tuple(names.get(one.id, ())), one.why, one.at) for one in self.record.commits(_SLUG)]

    def log(self) -> Sequence[Moved]:
        """Every snapshot and checkout, newest first, with its reason."""
        return self.record.ref_history(_SLUG, _HEAD)

    def diff(self, before: int | str, after: int | str) -> Sequence[Changed]:
        """What differs between two of them, file by file."""
        return changes(self.record, self.commit(before), self.commit(after))

    def fsck(self) -> Sequence[Finding]:
        """All that is damaged or missing. Changes nothing."""
        return self.record.fsck()


def named(parameters: Any) -> dict[str, Parameter]:
    """Parameters with their names, from a module, pairs, a mapping, or parameters that have names."""
    if parameters is None:
        return {}
    if hasattr(parameters, "named_parameters"):
        parameters = parameters.named_parameters()
    elif isinstance(parameters, Mapping):
        parameters = parameters.items()
    elif isinstance(parameters, Parameter):
        parameters = [parameters]
    found: dict[str, Parameter] = {}
    for number, one in enumerate(parameters):
        name, parameter = one if isinstance(one, tuple) else (one.name or str(number), one)
        if not isinstance(parameter, Parameter):
            raise TrainingError(
                f"a store keeps parameters, not {type(parameter).__name__}: give a module, or roots=[...]"
            )
        if name in found:
            raise TrainingError(f"two parameters are named {name!r}; a snapshot would lose one. Rename one of them.")
        found[name] = parameter
    return found


def _ref(name: int | str) -> str:
    return f"epoch/{name}" if isinstance(name, int) else f"tag/{name}"
