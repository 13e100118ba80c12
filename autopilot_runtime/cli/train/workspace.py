"""`autopilot workspace`: the place where projects and their experiments are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.mutate import acting
from autopilot_runtime.cli.train.place import MARK, Workspace
from autopilot_runtime.cli.train.say import say, table
from autopilot_runtime.training.experiment import FILE

app = typer.Typer(
    no_args_is_help=True, help="Make and look at the place where projects and their experiments are kept."
)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where.")] = Path(),
    context: given.Context = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Make a workspace here. What is there stays."""
    with acting(context, expose=expose) as act:
        act.workspace, new = Workspace.made(folder)
        root = act.workspace.root
        text = f"{'Made' if new else 'There is already'} a workspace in {root}."
        hint = "Next: autopilot project init NAME --context 'begin'"
        say({"root": str(root), "new": new}, [text, hint] if new else text, as_json=as_json)


@app.command()
def status(workspace: given.Workspace = None, as_json: given.AsJson = False) -> None:
    """What is in it, and what is active."""
    here = Workspace.found(workspace)
    value = {
        "root": str(here.root),
        "projects": here.projects,
        "project": here.active.get("project"),
        "experiments": here.active.get("experiments", {}),
    }
    active = here.active.get("experiments", {})
    rows = [("*" if name == value["project"] else "", name, active.get(name, "")) for name in here.projects]
    lines = [
        f"workspace {here.root}",
        *(table(("", "project", "active experiment"), rows) if rows else ["no projects yet"]),
    ]
    say(value, lines, as_json=as_json)


@app.command()
def check(workspace: given.Workspace = None, as_json: given.AsJson = False) -> None:
    """Look for damage in everything it keeps. Changes nothing."""
    here = Workspace.found(workspace)
    found: list[dict[str, str]] = []
    for name in here.projects:
        project = here.project(name)
        if (project.kept / FILE).is_file():
            with project.record() as record:
                found += [{"project": name, "finding": str(one)} for one in record.fsck()]
    lines = [f"{one['project']}: {one['finding']}" for one in found] or [f"{here.root / MARK}: nothing is damaged."]
    say(found, lines, as_json=as_json)
    if found:
        raise typer.Exit(1)
