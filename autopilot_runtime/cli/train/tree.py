"""`autopilot tree`: what came from what, among the candidates of an experiment and among experiments."""

from __future__ import annotations

from typing import Annotated

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.look import looking
from autopilot_runtime.cli.train.say import say
from autopilot_runtime.training.forest import Forest
from autopilot_runtime.training.tree import Tree

app = typer.Typer(invoke_without_command=True, help="What came from what: candidates and experiments.")


@app.callback()
def main(
    ctx: typer.Context,
    experiment: given.Experiment = None,
    metric: Annotated[str, typer.Option("--metric", help="Show this one.")] = "",
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """The candidates of the experiment."""
    if ctx.invoked_subcommand is None:
        show(experiment, metric, project, workspace, as_json)


@app.command()
def show(
    experiment: given.Experiment = None,
    metric: Annotated[str, typer.Option("--metric", help="Show this one.")] = "",
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """The candidates of the experiment."""
    with looking(experiment, project, workspace) as (record, slug):
        tree = Tree(record, slug)
        say(tree.to_dict(), tree.draw(metric), as_json=as_json)


@app.command()
def forest(project: given.Project = None, workspace: given.Workspace = None, as_json: given.AsJson = False) -> None:
    """The experiments, each under the one it goes on from."""
    with looking(None, project, workspace) as (record, _):
        found = Forest(record)
        say(found.to_dict(), found.draw(), as_json=as_json)
