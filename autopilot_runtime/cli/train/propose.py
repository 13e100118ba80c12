"""`autopilot propose`: make, check, take back and list proposals. What is accepted stays what it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.look import looking
from autopilot_runtime.cli.train.mutate import Act, acting
from autopilot_runtime.cli.train.place import Project, Workspace
from autopilot_runtime.cli.train.proposal import Proposal, Proposals, change_of
from autopilot_runtime.cli.train.say import figures, say, table, when
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training.gate import Decision

app = typer.Typer(no_args_is_help=True, help="Make, check, take back and list proposals.")
Number = Annotated[int, typer.Argument(metavar="N", help="Which: its number in `propose list`.")]


@contextmanager
def _at_work(act: Act, experiment: str | None, project: str | None, where: Path | None) -> Iterator[Any]:
    """The project, and the proposals of the experiment that is meant."""
    here = Workspace.found(where).project(project)
    slug = here.slug(experiment)
    act.about(here, slug)
    with here.record() as record:
        record.experiment(slug)
        yield here, Proposals(record, slug)


@app.command()
def create(
    parameter: Annotated[str, typer.Argument(metavar="PARAMETER", help="What is to be changed.")],
    value: Annotated[str | None, typer.Option("--value", metavar="TEXT", help="What it is to be.")] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="The same, from a file.")] = None,
    path: Annotated[
        str | None, typer.Option("--path", metavar="REL", help="Which of its files, for a parameter that is files.")
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="STATE", help="Only if this is still the accepted state.")
    ] = None,
    experiment: given.Experiment = None,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Propose a change of the accepted state. With --path alone, that file as it is in the project now."""
    with acting(context, expose=expose) as act, _at_work(act, experiment, project, workspace) as (here, proposals):
        recipe = here.recipe()
        content = _content(here, recipe, parameter, value=value, file=file, path=path)
        made = proposals.create(recipe, parameter, change_of(content, path), base=base, why=act.context)
        number = made["number"]
        lines = [
            f"Proposal {number}: {parameter} in {made['commit'][:12]}, made from {made['base'][:12]}.",
            f"Look:  autopilot store diff last_accepted proposal/{number}",
            f"Check: autopilot propose verify {number} --context '...'",
        ]
        say(made, lines, as_json=as_json)


def _content(
    here: Project, recipe: Any, name: str, *, value: str | None, file: Path | None, path: str | None
) -> str | bytes:
    if value is not None and file is not None:
        raise SetupError("--value or --file, not both.")
    if value is not None:
        return value
    if file is not None:
        try:
            return file.read_bytes()
        except OSError as error:
            raise SetupError(f"{file} cannot be read: {error.strerror or error}") from error
    read = getattr(dict(recipe.module.named_parameters()).get(name), "read", None)
    if path is None or read is None:
        raise SetupError("What is it to be? --value TEXT or --file FILE; or --path REL, that file as it is now.")
    content: bytes = read(path)
    return content


@app.command()
def verify(
    number: Number,
    experiment: given.Experiment = None,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Measure it on the validation data, and say what the policy would decide. Exit code 3 when it says no."""
    with acting(context, expose=expose) as act, _at_work(act, experiment, project, workspace) as (here, proposals):
        _open(proposals.one(number))
        decision, metrics, before = proposals.verify(here.recipe(), number)
        found = {"verdict": decision.verdict, "reason": decision.reason, "metrics": metrics}
        value = {**proposals.put(number, verified=found), "before": dict(before)}
        say(value, _verified(number, decision, metrics, before), as_json=as_json)
        if not decision.accepted:
            raise typer.Exit(ExitCode.REJECTED)


def _verified(number: int, decision: Decision, metrics: Any, before: Any) -> list[str]:
    lines = [f"Proposal {number}: the policy says {decision.verdict}: {decision.reason}"]
    lines += [f"before  {figures(before)}", f"after   {figures(metrics)}"] if metrics else []
    lines += [f"{'pass' if one.passed else 'FAIL'}  {one.gate}: {one.reason}" for one in decision.gates]
    return lines


def _open(proposal: Proposal) -> None:
    if proposal["status"] != "open":
        how = "taken back" if proposal["status"] == "reverted" else "submitted"
        raise SetupError(f"Proposal {proposal['number']} was {how}: {proposal.get('reason', '')}")


@app.command()
def submit(
    number: Number,
    experiment: given.Experiment = None,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Let it be an epoch of the experiment: accepted, it stands from then on, in the project's files, too."""
    with acting(context, expose=expose) as act, _at_work(act, experiment, project, workspace) as (here, proposals):
        _open(proposals.one(number))
        done = proposals.submit(here.recipe(), number, why=act.context)
        decision = done.decision
        value = {"number": number, "epoch": done.epoch, "commit": done.commit, "verdict": decision.verdict,
                 "reason": decision.reason, "metrics": dict(done.metrics)}  # fmt: skip
        say(value, f"Proposal {number} is epoch {done.epoch}: {decision.verdict}: {decision.reason}", as_json=as_json)
        if not decision.accepted:
            raise typer.Exit(ExitCode.REJECTED)


@app.command()
def revert(
    number: Number,
    experiment: given.Experiment = None,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Take it back. Its state stays on record."""
    with acting(context, expose=expose) as act, _at_work(act, experiment, project, workspace) as (_, proposals):
        _open(proposals.one(number))
        value = proposals.put(number, status="reverted", reason=act.context)
        say(value, f"Proposal {number} is taken back.", as_json=as_json)


@app.command("list")
def list_proposals(
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """All proposals, and what was found of them."""
    with looking(experiment, project, workspace) as (record, slug):
        value = Proposals(record, slug).all()
    rows = [
        (
            one["number"],
            one["status"] + (", stale" if one["stale"] and one["status"] == "open" else ""),
            one["parameter"],
            one["commit"][:12],
            one.get("verified", {}).get("verdict", ""),
            one["why"],
            when(one["at"]),
        )
        for one in value
    ]
    head = ("", "status", "parameter", "commit", "policy", "why", "made")
    say(value, table(head, rows) if rows else "No proposals yet.", as_json=as_json)
