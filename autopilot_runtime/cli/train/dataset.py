"""`autopilot dataset`: register, split and look at data, and see whether it is still the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autopilot_runtime.cli.exitcode import ExitCode, reason
from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.mutate import acting
from autopilot_runtime.cli.train.place import Workspace
from autopilot_runtime.cli.train.registry import Registry
from autopilot_runtime.cli.train.say import say, table, when
from autopilot_runtime.core.errors import AutopilotError, SetupError
from autopilot_runtime.training.dataset import ListDataset
from autopilot_runtime.training.showing import shortened, shown_item
from autopilot_runtime.training.split import IncrementalSplitter, SplitAssignment, StratifiedSplitter

app = typer.Typer(no_args_is_help=True, help="Register, split and look at data.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Which data set.")]


@app.command()
def register(
    name: Annotated[str, typer.Argument(help="What it is to be called.")],
    path: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="Its file: one JSON object a line.")],
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Remember a file of items as it is now. Registered again, what has changed is said."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        act.about(here)
        entry, changed = Registry(here).put(name, path, why=act.context)
        lines = [f"{name}: {entry['items']} items of {entry['path']}."]
        lines += [f"Changed since it was registered last: {changed}"] if changed else []
        say({"name": name, **_plain(entry), "changed": changed}, lines, as_json=as_json)


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    """What is known of it, without the list of all its items."""
    print_ = dict(entry["fingerprint"])
    return {**entry, "fingerprint": print_["digest"]}


@app.command("list")
def list_datasets(
    project: given.Project = None, workspace: given.Workspace = None, as_json: given.AsJson = False
) -> None:
    """The data sets that are registered."""
    found = Registry(Workspace.found(workspace).project(project)).all()
    value = [{"name": name, **_plain(entry)} for name, entry in found.items()]
    rows = [
        (one["name"], one["items"], one["path"], _counts(one.get("splits", {})), when(one["at"])) for one in value
    ]
    none = "No data is registered yet: autopilot dataset register NAME FILE.jsonl --context '...'"
    say(value, table(("name", "items", "file", "splits", "since"), rows) if rows else none, as_json=as_json)


def _counts(splits: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in splits.items())


@app.command()
def show(
    name: Name,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many items.")] = 5,
    split: Annotated[str | None, typer.Option("--split", metavar="NAME", help="Only of this split.")] = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """Some of its items."""
    registry = Registry(Workspace.found(workspace).project(project))
    entry, items = registry.one(name), registry.items(name)
    if split is not None:
        items = _assignment(registry, name).select(items, split)
    some = items[:limit]
    value = {"name": name, **_plain(entry), "first": [one.to_dict() for one in some]}
    lines = [f"{name}: {len(items)} items of {entry['path']}" + (f" in {split}" if split else "")]
    lines += [f"{one.id}  {' '.join(shortened(shown_item(one), 300).split())}" for one in some]
    say(value, lines, as_json=as_json)


def _kept(registry: Registry, name: str) -> Path:
    return registry.folder / f"{name}.split.json"


def _assignment(registry: Registry, name: str) -> SplitAssignment:
    path = _kept(registry, name)
    if not path.exists():
        raise SetupError(f"{name} was not split yet: autopilot dataset split {name} --context '...'")
    return SplitAssignment.load(path)


@app.command()
def split(
    name: Name,
    ratio: Annotated[
        list[str] | None,
        typer.Option("--ratio", metavar="SPLIT=PART", help="train=0.8; once for each. 0.8 to 0.2 if not given."),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="FIELD", help="Each kind of item in each split.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another one gives other splits.")] = 0,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Say who is trained on and who is held out, and write a file for each. What was decided before stays."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        act.about(here)
        registry = Registry(here)
        parts = _split(registry, name, dict(map(_ratio, ratio or ())), by=by, seed=seed)
        counts = {one: len(part) for one, part in parts.items()}
        registry.note(name, splits=counts)
        files = {one: f"datasets/{_part(registry, name, one).name}" for one in parts}
        lines = [f"{one}: {count} items in {files[one]}" for one, count in counts.items()]
        say({"name": name, "splits": counts, "files": files}, lines, as_json=as_json)


def _part(registry: Registry, name: str, split: str) -> Path:
    return registry.folder / f"{name}.{split}.jsonl"


def _split(
    registry: Registry, name: str, ratios: dict[str, float], *, by: str | None, seed: int
) -> dict[str, ListDataset[Any]]:
    """The items of each split, written; what an earlier split has decided stays."""
    items, path = registry.items(name), _kept(registry, name)
    before = SplitAssignment.load(path) if path.exists() else None
    if before is not None:
        ratios, seed = ratios or dict(before.ratios), before.seed
    ratios = ratios or {"train": 0.8, "val": 0.2}
    splitter = StratifiedSplitter(ratios, by, seed) if by else IncrementalSplitter(ratios, seed)
    made = splitter.split(items, before)
    parts = made.datasets(items)
    there = [file for one in parts if (file := _part(registry, name, one)).exists()]
    if before is None and there:
        raise SetupError(f"There is a file {there[0]} already, which is no split of ours. Nothing was written.")
    made.save(path)
    for one, part in parts.items():
        part.to_jsonl(_part(registry, name, one))
    return parts


def _ratio(text: str) -> tuple[str, float]:
    name, _, part = text.partition("=")
    try:
        return name.strip(), int(part) if part.strip().isdecimal() else float(part)
    except ValueError:
        raise SetupError(f"{text!r} is no ratio: give SPLIT=PART, train=0.8 say.") from None


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Which; all if not given.")] = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """Whether the data is still what was registered. Exit code 1 when it is not, and what has changed."""
    registry = Registry(Workspace.found(workspace).project(project))
    names = [name] if name is not None else list(registry.all())
    value = [{"name": one, "changed": _changed(registry, one)} for one in names]
    lines = [f"{one['name']}: {one['changed'] or 'the same'}" for one in value]
    say(value, lines or "No data is registered yet.", as_json=as_json)
    if any(one["changed"] for one in value):
        raise typer.Exit(ExitCode.FAILED)


def _changed(registry: Registry, name: str) -> str:
    registry.one(name)
    try:
        return registry.changes(name)
    except AutopilotError as error:
        return reason(error)
