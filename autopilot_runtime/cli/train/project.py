"""`autopilot project`: create, list and check projects."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autopilot_runtime.cli.exitcode import ExitCode, reason
from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.mutate import acting
from autopilot_runtime.cli.train.place import Project, Workspace, checked_name
from autopilot_runtime.cli.train.recipe import Recipe
from autopilot_runtime.cli.train.say import say, table
from autopilot_runtime.core.errors import SetupError

_NONE = "No projects yet: autopilot project init NAME --context '...'"
app = typer.Typer(no_args_is_help=True, help="Create, list and check projects.")


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="Its name, and that of its folder.")],
    context: given.Context = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Make a project that trains without a key, and be in it."""
    from autopilot_runtime.cli.train.scaffold import write_project

    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace)
        act.workspace = here
        project = Project(here, checked_name(name, "a project"))
        if project.folder.exists():
            raise SetupError(f"There is a project {name!r} already: {project.folder}")
        written = write_project(project.folder, name)
        here.active["project"] = name
        here.save()
        act.about(project)
        shown = [f"  {path.relative_to(here.root)}" for path in written]
        hint = "Next: autopilot experiment create exp-1 --context 'the first try'"
        say({"project": name, "folder": str(project.folder), "files": [str(one) for one in written]},
            [f"Made project {name}:", *shown, hint], as_json=as_json)  # fmt: skip


@app.command("list")
def list_projects(workspace: given.Workspace = None, as_json: given.AsJson = False) -> None:
    """The projects of the workspace."""
    here = Workspace.found(workspace)
    active = here.active.get("project")
    value = [{"project": name, "active": name == active} for name in here.projects]
    rows = [("*" if one["active"] else "", one["project"]) for one in value]
    say(value, table(("", "project"), rows) if rows else _NONE,
        as_json=as_json)  # fmt: skip


@app.command()
def use(
    name: Annotated[str, typer.Argument(help="Which project.")],
    context: given.Context = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """From now on commands without --project mean this one."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace)
        project = here.project(name)
        act.about(project)
        here.active["project"] = name
        here.save()
        say({"project": name}, f"{name} is the active project.", as_json=as_json)


@app.command()
def health(project: given.Project = None, workspace: given.Workspace = None, as_json: given.AsJson = False) -> None:
    """Whether it can be trained: its file loads, its data and parameters are there, its record is whole."""
    here = Workspace.found(workspace).project(project)
    found: list[dict[str, Any]] = []

    def note(what: str, check: Any) -> None:
        try:
            found.append({"check": what, "ok": True, "detail": str(check())})
        except Exception as error:
            found.append({"check": what, "ok": False, "detail": reason(error)})

    recipe: list[Recipe] = []

    def load() -> str:
        recipe.append(here.recipe())
        return "yes"

    note("trainer.py loads", load)
    if recipe:
        one = recipe[0]
        note("parameters", lambda: ", ".join(name for name, _ in one.module.named_parameters()) or _none("parameter"))
        note("training data", lambda: f"{len(list(one.train))} batches" if one.train is not None else _none("data"))
        note("validation data", lambda: f"{len(list(one.val))} batches" if one.val is not None else "none: not gated")
        note("optimizer", lambda: type(one.module.configure_optimizers()).__name__)
    note("record", lambda: _whole(here))
    rows = [("ok" if one["ok"] else "FAIL", one["check"], one["detail"]) for one in found]
    say({"project": here.name, "checks": found}, table(("", "check", ""), rows), as_json=as_json)
    if not all(one["ok"] for one in found):
        raise typer.Exit(ExitCode.FAILED)


def _none(what: str) -> str:
    raise SetupError(f"there is no {what}")


def _whole(here: Project) -> str:
    from autopilot_runtime.training.experiment import FILE

    if not (here.kept / FILE).is_file():
        return "nothing kept yet"
    with here.record() as record:
        damaged = record.fsck()
        if damaged:
            raise SetupError("; ".join(map(str, damaged)))
        return f"whole, {len(record.experiments())} experiments"


app.command("check", hidden=True)(health)
