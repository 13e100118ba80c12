"""`autopilot checkout`: go to an experiment, and let the project's files be one of its states."""

from __future__ import annotations

from typing import Annotated

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.applying import apply_state
from autopilot_runtime.cli.train.mutate import acting
from autopilot_runtime.cli.train.place import Workspace
from autopilot_runtime.cli.train.say import say

app = typer.Typer()


@app.command()
def checkout(
    slug: Annotated[str, typer.Argument(help="Which experiment.")],
    at: Annotated[
        str, typer.Option("--at", metavar="STATE", help="last_accepted, best, seed, epoch-N, a tag, a commit.")
    ] = "last_accepted",
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Make it the active experiment, and the files of the project its accepted state. What is there now is kept."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        act.about(here)
        with here.record() as record:
            record.experiment(slug)
            value = apply_state(here, record, slug, at, why=act.context)
        here.activate(slug)
        act.about(here, slug)
        say(value, f"{slug} is active; the files are its {at} ({value['commit'][:12]}). Before: {value['kept'][:12]}",
            as_json=as_json)  # fmt: skip
