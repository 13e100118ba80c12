"""`autopilot execute`: run Python code, a file or a module with the project at hand, and keep a record of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.childrun import run_python
from autopilot_runtime.cli.train.mutate import acting
from autopilot_runtime.cli.train.place import Workspace
from autopilot_runtime.cli.train.say import say
from autopilot_runtime.core.errors import SetupError

app = typer.Typer(no_args_is_help=True, help="Run Python code, a file or a module, and keep a record of it.")
Words = Annotated[list[str] | None, typer.Argument(metavar="[ARG]...", help="What it is called with; after --.")]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0, help="At most so many seconds; then 124.")]


@app.command()
def code(
    text: Annotated[str, typer.Argument(metavar="CODE", help="Python code.")],
    words: Words = None,
    timeout: Timeout = None,
    context: given.Context = None,
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Run a piece of code. The files of the project can be imported."""
    call = _Call(context, experiment, project, workspace, timeout)
    _execute(["-c", text, *(words or ())], call, as_json=as_json, expose=expose)


@app.command()
def file(
    path: Annotated[Path, typer.Argument(metavar="FILE.py", help="A Python file.")],
    words: Words = None,
    timeout: Timeout = None,
    context: given.Context = None,
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Run a file."""
    if context and not path.is_file():
        raise SetupError(f"There is no file {path}.")
    call = _Call(context, experiment, project, workspace, timeout)
    _execute([str(path), *(words or ())], call, as_json=as_json, expose=expose)


@app.command()
def module(
    name: Annotated[str, typer.Argument(metavar="MODULE", help="As `python -m` has it.")],
    words: Words = None,
    timeout: Timeout = None,
    context: given.Context = None,
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Run a module."""
    call = _Call(context, experiment, project, workspace, timeout)
    _execute(["-m", name, *(words or ())], call, as_json=as_json, expose=expose)


@dataclass(frozen=True, slots=True)
class _Call:
    """Why, for what, and how long."""

    context: str | None
    experiment: str | None
    project: str | None
    workspace: Path | None
    timeout: float | None


def _execute(words: list[str], call: _Call, *, as_json: bool, expose: bool) -> None:
    with acting(call.context, expose=expose) as act:
        here = Workspace.found(call.workspace).project(call.project)
        active = here.workspace.active.get("experiments", {}).get(here.name, "")
        act.about(here, call.experiment or active)
        ran = run_python(words, here.folder, timeout_s=call.timeout, quiet=as_json)
        act.exit_code = ran.exit_code
        value: dict[str, Any] = {"ran": words, "stdout": ran.stdout, "stderr": ran.stderr}
        act.more = value
        if ran.timed_out:
            print(f"error: it was ended after {call.timeout:g} seconds", file=sys.stderr)
        say({**value, "exit_code": ran.exit_code}, [], as_json=as_json)
        if ran.exit_code:
            raise typer.Exit(ran.exit_code)
