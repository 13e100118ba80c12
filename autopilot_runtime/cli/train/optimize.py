"""`autopilot optimize`: run the loop of a project. `autopilot train` runs that of any Python file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.mutate import acting
from autopilot_runtime.cli.train.place import Workspace
from autopilot_runtime.cli.train.say import figures, say

app = typer.Typer(no_args_is_help=True, help="Run the loop of the project: train, validate, test.")
Epochs = Annotated[
    int | None, typer.Option("--epochs", "-n", min=1, help="How many more epochs; 1 if nothing else says.")
]


@app.command()
def train(
    epochs: Epochs = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew instead of going on.")] = False,
    context: given.Context = None,
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Train. A run that was interrupted, or that ended, goes on where it was."""
    from autopilot_runtime.cli.train.fitting import fit

    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        slug = here.slug(experiment)
        act.about(here, slug)
        recipe = here.recipe()
        act.exit_code = fit(recipe, here.experiment(slug), epochs=epochs, resume=not fresh, as_json=as_json)
    if act.exit_code:
        raise typer.Exit(act.exit_code)


@app.command()
def validate(project: given.Project = None, workspace: given.Workspace = None, as_json: given.AsJson = False) -> None:
    """Measure the project's own files, as they are, on the validation data."""
    _measure("val", project, workspace, as_json=as_json)


@app.command()
def test(project: given.Project = None, workspace: given.Workspace = None, as_json: given.AsJson = False) -> None:
    """Measure the project's own files, as they are, on the test data."""
    _measure("test", project, workspace, as_json=as_json)


def _measure(split: str, project: str | None, workspace: Path | None, *, as_json: bool) -> None:
    here = Workspace.found(workspace).project(project)
    recipe = here.recipe()
    trainer = recipe.trainer()
    data = recipe.val if split == "val" else recipe.test
    measure = trainer.validate if split == "val" else trainer.test
    metrics = measure(recipe.module, data, datamodule=recipe.datamodule)
    say(metrics, figures(metrics), as_json=as_json)
