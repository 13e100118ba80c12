"""Lets the files of a project be a state that is on record; what they were before is kept first."""

from __future__ import annotations

from typing import Any

from autopilot_runtime.cli.train.place import Project
from autopilot_runtime.training.record import Record


def apply_state(here: Project, record: Record, slug: str, wanted: str, *, why: str) -> dict[str, Any]:
    """Restore it; says what is there now and where what was there before is."""
    module = here.recipe().module
    parameters = list(module.named_parameters())
    with record.hold(slug):
        commit = record.get_commit(wanted, slug)
        before = record.commit(parameters, experiment=slug, why=f"before: {why}", source="user")
        record.point(slug, "tag/before", before.id, why=why)
        record.bring(commit, parameters)
        record.set_state(slug, "live", commit.id)
    return {"experiment": slug, "state": wanted, "commit": commit.id, "kept": before.id}
