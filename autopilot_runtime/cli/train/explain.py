"""`autopilot explain N`: why a candidate was kept or not."""

from __future__ import annotations

from typing import Annotated

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.look import looking
from autopilot_runtime.cli.train.say import say
from autopilot_runtime.training.explain import explain as explained

app = typer.Typer()


@app.command()
def explain(
    n: Annotated[int, typer.Argument(metavar="N", help="Which candidate: the number of its epoch.")],
    metric: Annotated[str, typer.Option("--metric", help="Go by this one.")] = "",
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """Why a candidate was kept or not, with the numbers: metrics, gates, noise, items won and lost, the diff."""
    with looking(experiment, project, workspace) as (record, slug):
        found = explained(record, slug, n, metric=metric)
    say(found.to_dict(), str(found).splitlines(), as_json=as_json)
