"""`autopilot trace`: list, look at and collect what single evaluations did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.look import looking, state
from autopilot_runtime.cli.train.mutate import acting
from autopilot_runtime.cli.train.place import Workspace
from autopilot_runtime.cli.train.say import figures, say, table, when
from autopilot_runtime.cli.train.traces import Trace, traces
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.files import write_atomic
from autopilot_runtime.training.fault import meant
from autopilot_runtime.training.record import Record

app = typer.Typer(no_args_is_help=True, help="Collect and look at what single evaluations did.")
At = Annotated[
    str, typer.Option("--at", metavar="STATE", help="Of which state: last_accepted, best, seed, epoch-N, a commit.")
]
Split = Annotated[str | None, typer.Option("--split", metavar="NAME", help="Only of train, val, ...")]
Failed = Annotated[bool, typer.Option("--failed", help="Only what did not come out well.")]


def _found(record: Record, slug: str, at: str, split: str | None, *, failed: bool) -> list[Trace]:
    every = traces(record, state(record, slug, at).id)
    splits = {one.split for one in every}
    if split is not None and every and split not in splits:
        raise SetupError(f"Nothing was evaluated on {split!r} in {at}.{meant(split, splits)}")
    return [one for one in every if split in (None, one.split) and not (failed and one.ok)]


@app.command("list")
def list_traces(
    at: At = "last_accepted",
    split: Split = None,
    failed: Failed = False,
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """The evaluations of a state, item by item."""
    with looking(experiment, project, workspace) as (record, slug):
        found = _found(record, slug, at, split, failed=failed)
    rows = [
        (one.number, "ok" if one.ok else "FAIL", one.split, one.item, one.seconds, (one.error or one.feedback)[:60])
        for one in found
    ]
    lines = table(("", "", "split", "item", "seconds", "feedback"), rows) if rows else "Nothing fits."
    say([one.to_dict() for one in found], lines, as_json=as_json)


@app.command()
def show(
    which: Annotated[str, typer.Argument(metavar="N|ITEM", help="Its number in the list, or the item.")],
    at: At = "last_accepted",
    split: Split = None,
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """All that is known of one evaluation, or of all of one item."""
    with looking(experiment, project, workspace) as (record, slug):
        every = _found(record, slug, at, split, failed=False)
    found = [one for one in every if which in (str(one.number), one.item)]
    if not found:
        raise SetupError(f"There is no evaluation {which!r} of {at}.{meant(which, [one.item for one in every])}")
    say([one.to_dict() for one in found], [line for one in found for line in _lines(one)], as_json=as_json)


def _lines(one: Trace) -> list[str]:
    head = f"{one.number}  {one.item}  {one.split}  {'ok' if one.ok else 'FAIL'}  {when(one.at)}"
    named = {
        "commit": one.commit[:12],
        "seconds": f"{one.seconds:.6g}",
        "metrics": figures(one.metrics),
        "feedback": one.feedback,
        "error": one.error,
        "output": json.dumps(one.output, ensure_ascii=False, default=str) if one.output else "",
    }
    return [head, *(f"  {name:8}  {value}" for name, value in named.items() if value)]


@app.command()
def collect(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.jsonl", help="Where; traces/SLUG.jsonl if not given.")
    ] = None,
    split: Split = None,
    failed: Failed = False,
    context: given.Context = None,
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Write the evaluations of all states of an experiment into a file, one a line."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        slug = here.slug(experiment)
        act.about(here, slug)
        with here.record() as record:
            record.experiment(slug)
            every = [one for commit in record.commits(slug) for one in traces(record, commit.id, split)]
        found = [one for one in every if not (failed and one.ok)]
        path = (out or here.folder / "traces" / f"{slug}.jsonl").resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(one.to_dict(), ensure_ascii=False, default=str) + "\n" for one in found)
        write_atomic(path, lines.encode("utf-8", "backslashreplace"))
        say({"file": str(path), "traces": len(found)}, f"{len(found)} evaluations in {path}", as_json=as_json)
