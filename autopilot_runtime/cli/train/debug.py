"""`autopilot debug`: what was executed, when, why and how it ended; and all of that in one file for a report."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from autopilot_runtime.cli.exitcode import reason
from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.executed import Execution, executions
from autopilot_runtime.cli.train.place import Project, Workspace
from autopilot_runtime.cli.train.say import say, table
from autopilot_runtime.core.errors import AutopilotError, SetupError
from autopilot_runtime.core.files import write_atomic
from autopilot_runtime.training.experiment import FILE

app = typer.Typer(no_args_is_help=True, help="What was executed, when, why and how it ended.")
_executions = typer.Typer(no_args_is_help=True, help="The list of what was executed.")
app.add_typer(_executions, name="executions")


@_executions.command("list")
def list_executions(
    contains: Annotated[
        str | None, typer.Option("--context-contains", metavar="TEXT", help="With this in the reason.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what did not end well.")] = False,
    experiment: Annotated[
        str | None, typer.Option("--experiment", "-e", metavar="SLUG", help="Only of this.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the newest.")] = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """What was executed in the workspace, the newest last."""
    found = executions(Workspace.found(workspace).executions)
    if contains is not None:
        found = [one for one in found if contains.casefold() in one.text("context").casefold()]
    if failed:
        found = [one for one in found if one.failed]
    if experiment is not None:
        found = [one for one in found if one.text("experiment") == experiment]
    found = found[-(limit or 0) :]
    rows = [
        (one.number, one.text("ts")[:19].replace("T", " "), one.noted.get("exit_code"), one.noted.get("seconds"),
         one.command[:60], one.text("context"))
        for one in found
    ]  # fmt: skip
    head = ("", "when", "exit", "seconds", "command", "why")
    say([one.to_dict() for one in found], table(head, rows) if rows else "Nothing fits.", as_json=as_json)


@_executions.command("show")
def show_execution(
    number: Annotated[int, typer.Argument(metavar="N", help="Which: its number in the list.")],
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """All that was written down about one of them."""
    found = executions(Workspace.found(workspace).executions)
    one = next((one for one in found if one.number == number), None)
    if one is None:
        last = f"the last is {found[-1].number}" if found else "nothing was executed yet"
        raise SetupError(f"There is no execution {number}: {last}.")
    say(one.to_dict(), [f"autopilot {one.command}", *_lines(one)], as_json=as_json)


def _lines(one: Execution) -> list[str]:
    found: list[str] = []
    for name, value in one.noted.items():
        if name in ("argv", "stdout", "stderr") or value in ("", None):
            continue
        found.append(f"  {name:10} {value}")
    for name in ("stdout", "stderr"):
        if one.text(name):
            found += [f"  {name}, the end of it:", *(f"    {line}" for line in one.text(name).splitlines())]
    return found


@app.command()
def collect(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write it there instead of printing it.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many executions.")] = 50,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """Everything somebody needs who is to find a fault: versions, experiments, damage, what was executed."""
    here = Workspace.found(workspace)
    value = {
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "autopilot_runtime": _version(),
        "workspace": str(here.root),
        "active": here.active,
        "projects": [_project(here.project(name)) for name in here.projects],
        "executions": [one.to_dict() for one in executions(here.executions)[-limit:]],
    }
    if out is None:
        say(value, json.dumps(value, indent=2, ensure_ascii=False, default=str), as_json=as_json)
        return
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
    write_atomic(out.resolve(), text.encode("utf-8", "backslashreplace"))
    say({"file": str(out.resolve())}, f"Collected in {out.resolve()}", as_json=as_json)


def _version() -> str:
    try:
        return version("autopilot-runtime")
    except PackageNotFoundError:
        return "not installed"


def _project(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = {"project": project.name, "experiments": [], "damage": []}
    if not (project.kept / FILE).is_file():
        return found
    try:
        with project.record() as record:
            found["experiments"] = [
                {"slug": row.slug, "status": row.status, "reason": row.reason, "epochs": len(record.epochs(row.slug))}
                for row in record.experiments()
            ]
            found["damage"] = [str(one) for one in record.fsck()]
    except AutopilotError as error:  # what keeps it from being read is what is looked for
        found["damage"].append(reason(error))
    return found
