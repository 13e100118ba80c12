"""`autopilot store`: the states that are kept of a project's parameters, and the files as they are beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer

from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.applying import apply_state
from autopilot_runtime.cli.train.look import looking
from autopilot_runtime.cli.train.look import state as state_of
from autopilot_runtime.cli.train.mutate import acting
from autopilot_runtime.cli.train.place import Project, Workspace
from autopilot_runtime.cli.train.say import say, table, when
from autopilot_runtime.training.record import Commit, Record
from autopilot_runtime.training.recordrows import commit_id
from autopilot_runtime.training.statediff import Changed, changes

app = typer.Typer(no_args_is_help=True, help="The states of the parameters: log, diff, checkout, fsck.")
NOW = "now"
_STATES = "last_accepted, best, seed, epoch-N, a tag, the beginning of a commit"


@app.command()
def log(
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the newest.")] = None,
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """Every state that was kept, the newest last: where it came from, why, and what became of it."""
    with looking(experiment, project, workspace) as (record, slug):
        verdicts = {row.commit: row.verdict for row in record.epochs(slug)}
        names = _names(record, slug)
        found = record.commits(slug)[-(limit or 0) :]
    value = [
        {**asdict(one), "verdict": verdicts.get(one.id, ""), "refs": names.get(one.id, [])} for one in found
    ]  # fmt: skip
    rows = [
        (
            one["id"][:12],
            "seed" if one["epoch"] < 0 else one["epoch"],
            one["verdict"],
            one["source"],
            one["why"],
            ", ".join(one["refs"]),
        )
        for one in value
    ]
    head = ("commit", "epoch", "verdict", "by", "why", "named")
    say(value, table(head, rows) if rows else "No state is kept yet.", as_json=as_json)


def _names(record: Record, slug: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, commit in record.refs(slug).items():
        found.setdefault(commit, []).append(name)
    return found


@app.command("list")
def list_names(
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """The states that have a name."""
    with looking(experiment, project, workspace) as (record, slug):
        moved = [record.ref_history(slug, name, limit=1)[0] for name in record.refs(slug)]
    value = [one._asdict() for one in moved]
    rows = [(one.name, one.commit[:12], when(one.at), one.why) for one in moved]
    say(value, table(("name", "commit", "since", "why"), rows) if rows else "No state has a name yet.",
        as_json=as_json)  # fmt: skip


@app.command()
def status(
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """Whether the files of the project are a state that is kept, and which."""
    here = Workspace.found(workspace).project(project)
    slug = here.slug(experiment)
    parameters = list(here.recipe().module.named_parameters())
    with here.record() as record:
        record.experiment(slug)
        now = {name: one.digest for name, one in parameters}
        stands = record.ref(slug, "last_accepted")
        before = dict(record.get_commit(stands, slug).parameters) if stands else {}
        names = _names(record, slug).get(commit_id(now), [])
        kept = commit_id(now) in {one.id for one in record.commits()}
    changed = sorted(name for name in now if now[name] != before.get(name))
    value = {"experiment": slug, "commit": commit_id(now), "kept": kept, "refs": names, "changed": changed}
    called = f" ({', '.join(names)})" if names else ""
    lines = [f"The files are {commit_id(now)[:12]}{called}, {'which is kept' if kept else 'which is not kept'}."]
    if not stands:
        lines.append(f"Nothing was accepted in {slug} yet.")
    elif changed:
        lines.append(f"Not as in the accepted state {stands[:12]}: {', '.join(changed)}. See: autopilot store diff")
    if not kept:
        lines.append("Keep it: autopilot store snapshot --context '...'")
    say(value, lines, as_json=as_json)


@app.command()
def snapshot(
    tag: Annotated[str | None, typer.Option("--tag", metavar="NAME", help="Give the state a name.")] = None,
    experiment: given.Experiment = None,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Keep the parameters as they are now in the project's files."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        slug = here.slug(experiment)
        act.about(here, slug)
        parameters = list(here.recipe().module.named_parameters())
        with here.record() as record:
            record.experiment(slug)
            with record.transaction():
                kept = record.commit(parameters, experiment=slug, why=act.context, source="user")
                if tag is not None:
                    record.point(slug, f"tag/{tag}", kept.id, why=act.context)
        named = f" as {tag}" if tag else ""
        say({"experiment": slug, "commit": kept.id, "tag": tag}, f"Kept {kept.id[:12]}{named}.", as_json=as_json)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="[BEFORE]", help=f"{_STATES}.")] = "last_accepted",
    after: Annotated[str, typer.Argument(metavar="[AFTER]", help="The same; `now` is the files as they are.")] = NOW,
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """What differs between two states; between the accepted one and the files as they are, if none is named."""
    if NOW not in (before, after):
        with looking(experiment, project, workspace) as (record, slug):
            found = changes(record, state_of(record, slug, before), state_of(record, slug, after))
    else:
        here = Workspace.found(workspace).project(project)
        slug = here.slug(experiment)
        with here.record() as record, _passing(here, record, slug) as now:
            record.experiment(slug)
            one, other = (now if name == NOW else state_of(record, slug, name) for name in (before, after))
            found = changes(record, one, other)
    lines = [line for one in found for line in _shown(one)]
    say([asdict(one) for one in found], lines or ["Nothing differs."], as_json=as_json)


@contextmanager
def _passing(here: Project, record: Record, slug: str) -> Iterator[Commit]:
    """The files as they are as a commit that is forgotten again: looking keeps nothing."""
    parameters = list(here.recipe().module.named_parameters())
    try:
        with record.transaction():
            yield record.commit(parameters, experiment=slug)
            raise _Forget
    except _Forget:
        return


class _Forget(Exception):
    """Ends a transaction that is not to be kept."""


def _shown(one: Changed) -> list[str]:
    return [f"# {one.name}", *one.diff.splitlines()]


@app.command()
def checkout(
    state: Annotated[str, typer.Argument(help=f"{_STATES}.")],
    experiment: given.Experiment = None,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Let the project's files be a state that is kept. What is there now is kept, too."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        slug = here.slug(experiment)
        act.about(here, slug)
        with here.record() as record:
            record.experiment(slug)
            value: dict[str, Any] = apply_state(here, record, slug, state, why=act.context)
        text = f"The files are {state} of {slug} ({value['commit'][:12]}). Before: {value['kept'][:12]}"
        say(value, text, as_json=as_json)


@app.command()
def fsck(project: given.Project = None, workspace: given.Workspace = None, as_json: given.AsJson = False) -> None:
    """Look for damage in what is kept. Changes nothing."""
    with looking(None, project, workspace) as (record, _):
        found, where = record.fsck(), record.where
    value = [{**asdict(one), "text": str(one)} for one in found]
    say(value, [str(one) for one in found] or [f"{where}: nothing is damaged."], as_json=as_json)
    if found:
        raise typer.Exit(ExitCode.FAILED)
