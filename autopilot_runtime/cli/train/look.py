"""Which record a looking command looks into: the active project's, or that of a file trained by `autopilot train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autopilot_runtime.cli.train.place import MARK, Workspace
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training.experiment import FILE
from autopilot_runtime.training.record import Commit, Record


@contextmanager
def looking(experiment: str | None, project: str | None, workspace: Path | None) -> Iterator[tuple[Record, str]]:
    """The record and the experiment that are meant. One that was trained from a file here counts when it is named,
    or when this is no workspace."""
    folder = (workspace or Path()).resolve() / MARK
    if project is None and (folder / FILE).is_file():
        with Record.open(folder / FILE) as record:
            if record.has(experiment) if experiment is not None else not (folder / "workspace.json").is_file():
                yield record, experiment or _newest(record)
                return
    here = Workspace.found(workspace).project(project)
    slug = here.slug(experiment)
    with here.record() as record:
        record.experiment(slug)
        yield record, slug


def _newest(record: Record) -> str:
    rows = record.experiments()
    if not rows:
        raise SetupError(f"There is no experiment in {record.where} yet.")
    return max(rows, key=lambda row: row.changed).slug


def state(record: Record, slug: str, name: str) -> Commit:
    """A state by its name; where nothing was trained yet, that is said."""
    if name == "last_accepted" and record.ref(slug, name) is None:
        raise SetupError(f"Nothing is accepted in {slug} yet: autopilot optimize train --context '...'")
    return record.get_commit(name, slug)
