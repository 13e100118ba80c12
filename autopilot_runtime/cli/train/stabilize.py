"""`autopilot stabilize`: the accepted result becomes the project's own."""

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
def stabilize(
    at: Annotated[
        str, typer.Option("--at", metavar="STATE", help="Which state: last_accepted, best, epoch-N, a tag.")
    ] = "best",
    experiment: given.Experiment = None,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Write the best state of an experiment into the files of the project, and tag it `stable`."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        slug = here.slug(experiment)
        act.about(here, slug)
        with here.record() as record:
            value = apply_state(here, record, slug, at, why=act.context)
            record.point(slug, "tag/stable", value["commit"], why=act.context)
        say(
            value,
            f"The files of {here.name} are {at} of {slug} ({value['commit'][:12]}), tagged stable.",
            as_json=as_json,
        )
