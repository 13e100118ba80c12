"""`autopilot report`: a plot here, and everything as one HTML file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.look import looking
from autopilot_runtime.cli.train.say import say
from autopilot_runtime.cli.tty import look
from autopilot_runtime.core.files import write_atomic
from autopilot_runtime.training.page import report_html
from autopilot_runtime.training.plottext import progress_text
from autopilot_runtime.training.record import Record
from autopilot_runtime.training.story import read_story

app = typer.Typer()


@app.command()
def report(
    experiment: Annotated[
        str | None, typer.Argument(metavar="[SLUG]", help="Which; the active one if not given.")
    ] = None,
    html: Annotated[Path, typer.Option("--html", "-o", metavar="FILE", help="Where the page goes.")] = Path(
        "report.html"
    ),
    no_html: Annotated[bool, typer.Option("--no-html", help="Only the plot here.")] = False,
    metric: Annotated[str, typer.Option("--metric", help="Plot this one.")] = "",
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """Plot the training here, and write a page with the plot, every candidate, its gates and diff, the journal."""
    with looking(experiment, project, workspace) as (record, slug):
        story = read_story(record, slug, metric=metric)
        where = None if no_html else write_report(record, slug, html, metric=metric)
        width = min(shutil.get_terminal_size().columns, 120)
        plot = progress_text(story, width=width, colour=look().out_colour)
    value = {"experiment": slug, "html": None if where is None else str(where), "metric": story.metric}
    say(value, [] if as_json else [plot, *([f"The whole story: {where}"] if where else [])], as_json=as_json)


def write_report(record: Record, slug: str, path: Path, *, metric: str = "") -> Path:
    """Write the page; gives where it is."""
    write_atomic(path.resolve(), report_html(record, slug, metric=metric).encode(), mode=0o644)
    return path.resolve()
