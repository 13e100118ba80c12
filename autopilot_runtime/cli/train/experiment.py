"""`autopilot experiment`: create, list, show and compare experiments, and write into their journal."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.mutate import acting
from autopilot_runtime.cli.train.place import Workspace, checked_name
from autopilot_runtime.cli.train.say import figures, say, table, when
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training.contextlog import ContextEntry
from autopilot_runtime.training.experiment import FILE
from autopilot_runtime.training.record import EpochRow, Record

app = typer.Typer(no_args_is_help=True, help="Create, list, show and compare experiments.")
Slug = Annotated[str | None, typer.Argument(metavar="[SLUG]", help="Which; the active one if not given.")]


@app.command()
def create(
    slug: Annotated[str, typer.Argument(help="Its name.")],
    parent: Annotated[str | None, typer.Option("--parent", metavar="SLUG", help="The one it goes on from.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Something to find it by; may be repeated.")] = None,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Begin an experiment, and make it the active one."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        act.about(here)
        with Record.open(here.kept / FILE) as record:
            row = record.create(checked_name(slug, "an experiment"), parent=parent, tags=tag or (), why=act.context)
        act.about(here, slug)
        here.activate(slug)
        hint = "Next: autopilot optimize train --context 'why'"
        say(
            asdict(row),
            [f"Created {slug} in project {here.name}; it is the active experiment.", hint],
            as_json=as_json,
        )


@app.command("list")
def list_experiments(
    project: given.Project = None, workspace: given.Workspace = None, as_json: given.AsJson = False
) -> None:
    """All experiments of the project."""
    here = Workspace.found(workspace).project(project)
    if not (here.kept / FILE).is_file():
        say([], "No experiments yet: autopilot experiment create SLUG --context '...'", as_json=as_json)
        return
    active = here.workspace.active.get("experiments", {}).get(here.name)
    with here.record() as record:
        value = [
            {**asdict(row), "active": row.slug == active, **_standing(record, row.slug)}
            for row in record.experiments()
        ]
    rows = [
        (
            "*" if one["active"] else "",
            one["slug"],
            one["status"],
            one["epochs"],
            figures(one["metrics"]),
            when(one["changed"]),
        )
        for one in value
    ]
    say(value, table(("", "experiment", "status", "epochs", "accepted", "changed"), rows), as_json=as_json)


def _standing(record: Record, slug: str) -> dict[str, Any]:
    epochs = record.epochs(slug)
    kept = [row for row in epochs if row.verdict in ("seed", "accept")]
    return {
        "epochs": sum(row.epoch >= 0 for row in epochs),
        "accepted": sum(row.verdict == "accept" for row in epochs),
        "metrics": dict(kept[-1].metrics) if kept else {},
    }


@app.command()
def show(
    slug: Slug = None,
    context_log: Annotated[bool, typer.Option("--context-log", help="The journal: every decision and why.")] = False,
    context_source: Annotated[
        str | None,
        typer.Option("--context-source", metavar="SOURCE", help="Of user, policy, optimizer, trainer, agent."),
    ] = None,
    contains: Annotated[
        str | None, typer.Option("--context-contains", metavar="TEXT", help="With this in it.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the newest.")] = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """How an experiment went, epoch by epoch; or its journal."""
    here = Workspace.found(workspace).project(project)
    wanted = here.slug(slug)
    with here.record() as record:
        row = record.experiment(wanted)
        if context_log or context_source or contains:
            _say_journal(
                record.context(wanted, source=context_source, contains=contains, limit=limit), as_json=as_json
            )
            return
        epochs = record.epochs(wanted)[-(limit or 0) :]
        value = {**asdict(row), **_standing(record, wanted), "refs": record.refs(wanted),
                 "rows": [_epoch(one) for one in epochs]}  # fmt: skip
    head = [
        f"{row.slug}  {row.status}" + (f"  {row.reason}" if row.reason else ""),
        f"why: {row.why}" if row.why else "",
    ]
    lines = table(
        ("epoch", "verdict", "metrics", "reason"),
        [("seed" if one.epoch < 0 else one.epoch, one.verdict, figures(one.metrics), one.reason) for one in epochs],
    )
    say(value, [*filter(None, head), *lines], as_json=as_json)


def _say_journal(entries: list[ContextEntry], *, as_json: bool) -> None:
    lines = [_entry_line(one) for one in entries] or ["Nothing in the journal fits."]
    say([one.to_dict() for one in entries], lines, as_json=as_json)


def _epoch(row: EpochRow) -> dict[str, Any]:
    return {
        "epoch": row.epoch,
        "commit": row.commit,
        "parent": row.parent,
        "verdict": row.verdict,
        "reason": row.reason,
        "metrics": dict(row.metrics),
        "train": dict(row.train),
    }


def _entry_line(entry: ContextEntry) -> str:
    place = "" if entry.epoch is None else f"epoch {entry.epoch}  " if entry.epoch >= 0 else "seed  "
    decision = f"{entry.decision}: " if entry.decision else ""
    return f"{when(entry.at)}  {entry.source}  {place}{decision}{entry.text.splitlines()[0] if entry.text else ''}"


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="One.")],
    second: Annotated[str, typer.Argument(help="The other.")],
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """The accepted metrics of two experiments beside each other."""
    here = Workspace.found(workspace).project(project)
    with here.record() as record:
        for slug in (first, second):
            record.experiment(slug)
        one, other = (_standing(record, slug)["metrics"] for slug in (first, second))
    names = [*one, *(name for name in other if name not in one)]
    value = [{"metric": name, first: one.get(name), second: other.get(name)} for name in names]
    rows = [(name, one.get(name), other.get(name), _gap(one.get(name), other.get(name))) for name in names]
    say(value, table(("metric", first, second, "change"), rows), as_json=as_json)


def _gap(one: Any, other: Any) -> str:
    both = isinstance(one, (int, float)) and isinstance(other, (int, float))
    return f"{other - one:+.6g}" if both else ""


@app.command()
def note(
    text: Annotated[str, typer.Argument(help="What to write down.")],
    slug: given.Experiment = None,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Write a line into the journal."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        act.about(here, here.slug(slug))
        with here.record() as record:
            record.experiment(act.experiment)
            entry = record.add_context(act.experiment, ContextEntry("user", text))
        say(entry.to_dict(), _entry_line(entry), as_json=as_json)


@app.command()
def invalidate(
    slug: Slug = None,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Say that its figures cannot be trusted. Nothing is deleted."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        act.about(here, here.slug(slug))
        with here.record() as record:
            if record.experiment(act.experiment).status == "running" and record.holder(act.experiment):
                raise SetupError(f"{act.experiment} is being trained right now.")
            record.set_status(act.experiment, "invalidated", act.context)
        say(
            {"experiment": act.experiment, "status": "invalidated"},
            f"{act.experiment} is invalidated.",
            as_json=as_json,
        )
