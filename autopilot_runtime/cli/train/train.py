"""`autopilot train train.py:module`: run the loop of what a Python file describes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.optimize import Epochs
from autopilot_runtime.cli.train.recipe import load_recipe

app = typer.Typer()
_HELP = """Train what a Python file describes, and keep every candidate with its figures.

The file holds a module (an instance, a class, or a function that makes one) and, beside it, what else there is:
train and val data, a policy, a budget, a monitor. The experiment is kept in .autopilot/ beside the file; a run that
was stopped goes on."""


@app.command(help=_HELP)
def train(
    project: Annotated[str, typer.Argument(metavar="FILE.py[:NAME]", help="The file, and the module in it.")],
    epochs: Epochs = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", "-e", metavar="SLUG", help="Its name; the file's if not given.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin a new experiment instead of going on.")] = False,
    calls: Annotated[int | None, typer.Option("--max-calls", min=1, help="At most so many evaluations.")] = None,
    usd: Annotated[float | None, typer.Option("--max-cost-usd", min=0, help="At most so many dollars.")] = None,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="At most so many seconds.")] = None,
    fast_dev_run: Annotated[
        bool, typer.Option("--fast-dev-run", help="One batch of everything; keeps nothing.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Also write the report there.")
    ] = None,
    context: given.Context = None,
    as_json: given.AsJson = False,
) -> None:
    """See _HELP."""
    from autopilot_runtime.cli.train.fitting import fit
    from autopilot_runtime.training.experiment import FOLDER, Experiment

    recipe = load_recipe(project)
    file = Path(project.rpartition(":")[0] if not project.endswith(".py") else project).resolve()
    limits = {
        name: value for name, value in (("calls", calls), ("usd", usd), ("seconds", timeout)) if value is not None
    }
    slug = experiment or file.stem
    if fresh:
        slug = _free(file.parent / FOLDER, slug)
    one = Experiment(slug, path=file.parent / FOLDER, why=context or "")
    settings = {"budget": _budget(limits)} if limits else {}
    if fast_dev_run:
        settings["fast_dev_run"] = 1
    code = fit(recipe, one, epochs=epochs, resume=not fresh, as_json=as_json, **settings)
    if report is not None:
        from autopilot_runtime.cli.train.report import write_report

        with Experiment(slug, path=file.parent / FOLDER).record as record:
            write_report(record, slug, report)
    raise typer.Exit(code)


def _budget(limits: dict[str, float]) -> object:
    from autopilot_runtime.training.budget import Budget

    return Budget.of(limits)


def _free(folder: Path, slug: str) -> str:
    """The name with the first number behind it that is not taken."""
    from autopilot_runtime.training.experiment import FILE
    from autopilot_runtime.training.record import Record

    if not (folder / FILE).is_file():
        return slug
    with Record.open(folder / FILE) as record:
        taken = {row.slug for row in record.experiments()}
    return next(name for name in (slug, *(f"{slug}-{at}" for at in range(2, 10_000))) if name not in taken)
