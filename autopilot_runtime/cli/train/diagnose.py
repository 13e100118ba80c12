"""`autopilot diagnose`: which items fail most, what they fail of, and which parameters the feedback names."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.look import looking, state
from autopilot_runtime.cli.train.say import say, table
from autopilot_runtime.cli.train.traces import traces
from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.record import EpochRow, Record

app = typer.Typer(no_args_is_help=True, help="Which items fail most, and which parameters the feedback names.")
_SHADES = "█▓▒░·"  # the lowest score first
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many.")]


@app.command()
def heatmap(
    limit: Limit = 20,
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """The held-out items that come out worst, epoch by epoch: the darker, the worse."""
    with looking(experiment, project, workspace) as (record, slug):
        rows = [row for row in record.epochs(slug) if row.extra.get("scores")]
    items = _items(rows)[:limit]
    if not items:
        say([], "No item was measured yet.", as_json=as_json)
        return
    every = [score for one in items for score in one["scores"].values()]
    low, high = min(every), max(every)
    lines = table(
        ("item", "mean", "now", "".join(_head(row) for row in rows)),
        [
            (one["item"], one["mean"], one["last"],
             "".join(_shade(one["scores"].get(row.epoch), low, high) for row in rows))
            for one in items
        ],
    )  # fmt: skip
    key = f"{_SHADES[0]} {low:g} … {_SHADES[-1]} {high:g}; one column an epoch, s is the seed"
    say(items, [*lines, key], as_json=as_json)


def _items(rows: list[EpochRow]) -> list[dict[str, Any]]:
    """Each item with its scores by epoch, the one with the lowest mean first."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        for item, score in row.extra["scores"].items():
            found[item][row.epoch] = float(score)
    listed = [
        {
            "item": item,
            "mean": math.fsum(scores.values()) / len(scores),
            "last": scores[max(scores)],
            "scores": scores,
        }
        for item, scores in found.items()
    ]
    return sorted(listed, key=lambda one: (one["mean"], one["item"]))


def _head(row: EpochRow) -> str:
    return "s" if row.epoch < 0 else str(row.epoch % 10)


def _shade(score: float | None, low: float, high: float) -> str:
    if score is None:
        return " "
    part = (score - low) / (high - low) if high > low else 1.0
    return _SHADES[min(int(part * len(_SHADES)), len(_SHADES) - 1)]


@app.command()
def nodes(
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """The parameters: how often feedback named each, how often it was changed, and how often that was kept."""
    with looking(experiment, project, workspace) as (record, slug):
        value = _nodes(record, slug)
    rows = [(one["parameter"], one["named"], one["changed"], one["accepted"], one["newest"][:70]) for one in value]
    head = ("parameter", "named", "changed", "accepted", "newest feedback")
    say(value, table(head, rows) if rows else "Nothing was trained yet.", as_json=as_json)


def _nodes(record: Record, slug: str) -> list[dict[str, Any]]:
    named: Counter[str] = Counter()
    newest: dict[str, str] = {}
    for event in record.events(slug, types=[EventType.GRADIENT_READY]):
        name = str(event.data.get("parameter", ""))
        named[name] += 1
        newest[name] = str(event.data.get("text", ""))
    states = {one.id: one.parameters for one in record.commits()}
    changed: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    for row in record.epochs(slug):
        for name in _changed(states.get(row.parent, {}), states.get(row.commit, {})) if row.epoch >= 0 else ():
            changed[name] += 1
            accepted[name] += row.verdict == "accept"
    names = {name for row in record.epochs(slug) for name in states.get(row.commit, {})} | named.keys()
    listed = [
        {"parameter": name, "named": named[name], "changed": changed[name], "accepted": accepted[name],
         "newest": newest.get(name, "")}
        for name in names
    ]  # fmt: skip
    return sorted(listed, key=lambda one: (-int(str(one["named"])), str(one["parameter"])))


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [name for name in after if before and after[name] != before.get(name)]


@app.command("traces")
def failures(
    at: Annotated[str, typer.Option("--at", metavar="STATE", help="Of which state.")] = "last_accepted",
    split: Annotated[str | None, typer.Option("--split", metavar="NAME", help="Only of train, val, ...")] = None,
    limit: Limit = 20,
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """What failed in a state, the same errors and the same feedback together."""
    with looking(experiment, project, workspace) as (record, slug):
        failed = [one for one in traces(record, state(record, slug, at).id, split) if not one.ok]
    found: dict[str, list[str]] = defaultdict(list)
    for one in failed:
        items = found[one.error or one.feedback or "it failed, and nobody said of what"]
        items += [] if one.item in items else [one.item]
    groups = sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))[:limit]
    value = [{"what": what, "count": len(items), "items": items} for what, items in groups]
    rows = [(one["count"], str(one["what"])[:80], ", ".join(groups[at][1][:4])) for at, one in enumerate(value)]
    say(value, table(("", "what", "items"), rows) if rows else "Nothing failed.", as_json=as_json)
