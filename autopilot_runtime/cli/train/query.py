"""`autopilot query`: experiments and epochs that fit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.look import looking
from autopilot_runtime.cli.train.say import figures, say, table
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training import query as filters

app = typer.Typer()
_MARKS = {">": filters.metric_gt, "<": filters.metric_lt}


@app.command()
def query(
    where: Annotated[
        list[str] | None, typer.Argument(metavar="[METRIC>VALUE]...", help="accuracy>0.9  'loss<0.1'")
    ] = None,
    status: Annotated[str | None, typer.Option("--status", help="completed, failed, running, ...")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="With this tag.")] = None,
    verdict: Annotated[str | None, typer.Option("--verdict", help="Epochs with this verdict.")] = None,
    best: Annotated[
        str | None, typer.Option("--best", metavar="METRIC", help="Only the best by this metric.")
    ] = None,
    epochs: Annotated[bool, typer.Option("--epochs", help="Look for epochs, not experiments.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many.")] = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """Find experiments, or epochs, by status, metric and tag. All conditions must hold."""
    wanted = [_filter(one) for one in where or ()]
    if status is not None:
        wanted.append(filters.status_is(status))
    wanted += [filters.tagged(one) for one in tag or ()]
    if verdict is not None:
        wanted.append(filters.verdict(verdict))
    if best is not None:
        wanted.append(filters.best(best))
    with looking(None, project, workspace) as (record, _):
        asked = filters.Query(record)
        asked = (asked.epochs() if epochs or verdict is not None else asked).where(*wanted)
        found = (asked.limit(limit) if limit else asked).all()
    say([_plain(one) for one in found], _lines(found), as_json=as_json)


def _filter(text: str) -> Any:
    for mark, make in _MARKS.items():
        name, found, value = text.partition(mark)
        if found:
            try:
                return make(name.strip(), float(value))
            except ValueError:
                break
    raise SetupError(f"{text!r} is no condition: give METRIC>VALUE or METRIC<VALUE, in quotes for the shell.")


def _plain(one: Any) -> dict[str, Any]:
    row = getattr(one, "row", one)
    return {**asdict(row), "metrics": dict(getattr(one, "metrics", {}) or {})}


def _lines(found: list[Any]) -> list[str]:
    if not found:
        return ["Nothing fits."]
    rows = []
    for one in found:
        row = _plain(one)
        name = row.get("slug") or f"{row['experiment']} epoch {row['epoch']}"
        rows.append((name, row.get("status") or row.get("verdict"), figures(row["metrics"])))
    return table(("what", "status", "metrics"), rows)
