"""Which record a looking command looks into: the active project's, or that of a file trained by `autopilot train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autopilot_runtime.cli.train.place import MARK, Workspace
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training.experiment import FILE
from autopilot_runtime.training.record import Record


@contextmanager
def looking(experiment: str | None, project: str | None, workspace: Path | None) -> Iterator[tuple[Record, str]]:
    """The record and the experiment that are meant."""
    plain = (workspace or Path()).resolve() / MARK
    if project is None and (plain / FILE).is_file() and not (plain / "workspace.json").is_file():
        with Record.open(plain / FILE) as record:
            yield record, _chosen(record, experiment)
        return
    here = Workspace.found(workspace).project(project)
    slug = here.slug(experiment)
    with here.record() as record:
        record.experiment(slug)
        yield record, slug


def _chosen(record: Record, experiment: str | None) -> str:
    """The one that was named, else the newest that was changed."""
    if experiment is not None:
        return record.experiment(experiment).slug
    rows = record.experiments()
    if not rows:
        raise SetupError(f"There is no experiment in {record.where} yet.")
    return max(rows, key=lambda row: row.changed).slug
