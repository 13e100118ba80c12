"""`autopilot policy`: what the project's policy asks, and what it says of figures."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.place import Workspace
from autopilot_runtime.cli.train.proposal import judged
from autopilot_runtime.cli.train.say import figures, say
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training.experiment import FILE
from autopilot_runtime.training.fault import meant
from autopilot_runtime.training.ranking import standing_metrics
from autopilot_runtime.training.record import EpochRow, Record

app = typer.Typer(no_args_is_help=True, help="Check metrics against the policy, and say what it asks.")
_NONE = "There is no policy: whatever can be measured is accepted. In trainer.py: policy = QualityFirstPolicy('...')"


@app.command()
def explain(project: given.Project = None, workspace: given.Workspace = None, as_json: given.AsJson = False) -> None:
    """The conditions, in words."""
    trainer = Workspace.found(workspace).project(project).recipe().trainer()
    tell = getattr(trainer.policy, "explain", None)
    conditions = list(tell()) if callable(tell) else []
    others = {
        "acceptor": "" if trainer.acceptor is None else type(trainer.acceptor).__name__,
        "stoppers": [type(one).__name__ for one in trainer.stoppers],
        "monitor": trainer.monitor,
    }
    policy = "" if trainer.policy is None else type(trainer.policy).__name__
    lines = [f"{policy}, all of:", *(f"  {one}" for one in conditions)] if policy else [_NONE]
    lines += [f"then    {others['acceptor']} compares it, item by item"] if others["acceptor"] else []
    lines += [f"stops   by {', '.join(others['stoppers'])}"] if others["stoppers"] else []
    lines += [f"best    by {trainer.monitor}"] if trainer.monitor else []
    say({"policy": policy, "conditions": conditions, **others}, lines, as_json=as_json)


@app.command()
def check(
    metrics: Annotated[
        list[str] | None,
        typer.Argument(metavar="[METRIC=VALUE]...", help="accuracy=0.9; the newest epoch's if none is given."),
    ] = None,
    epoch: Annotated[int | None, typer.Option("--epoch", metavar="N", help="Those of this epoch.")] = None,
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """What the policy, as it is now, says of figures. Exit code 3 when it says no."""
    if metrics and epoch is not None:
        raise SetupError("METRIC=VALUE or --epoch N, not both.")
    here = Workspace.found(workspace).project(project)
    found = dict(map(_number, metrics or ()))
    before: dict[str, Any] = {}
    if not metrics or (here.kept / FILE).is_file():
        with here.record() as record:
            slug = here.slug(experiment)
            record.experiment(slug)
            found, before = (found, standing_metrics(record, slug)) if metrics else _of_epoch(record, slug, epoch)
    decision = judged(here.recipe(), found, before)
    gates = [{"gate": one.gate, "passed": one.passed, "warning": one.warning, "reason": one.reason}
             for one in decision.gates]  # fmt: skip
    value = {"verdict": decision.verdict, "reason": decision.reason, "metrics": found, "accepted": before,
             "gates": gates}  # fmt: skip
    lines = [f"{decision.verdict}: {decision.reason}", f"before  {figures(before)}", f"after   {figures(found)}"]
    lines += [f"{_mark(one)}  {one['gate']}: {one['reason']}" for one in gates]
    say(value, lines, as_json=as_json)
    if not decision.accepted:
        raise typer.Exit(ExitCode.REJECTED)


def _mark(gate: dict[str, Any]) -> str:
    return "pass" if gate["passed"] else "warn" if gate["warning"] else "FAIL"


def _number(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise SetupError(f"{text!r} is no figure: give METRIC=VALUE, accuracy=0.9 say.") from None


def _of_epoch(record: Record, slug: str, number: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures of an epoch (the newest), and those of the state that it came from."""
    rows = record.epochs(slug)
    measured = [row for row in rows if row.metrics and row.epoch >= 0]
    wanted: EpochRow | None = (
        next((row for row in rows if row.epoch == number), None)
        if number is not None
        else measured[-1]
        if measured
        else None
    )
    if wanted is None:
        if number is None:
            raise SetupError(f"Nothing was measured in {slug} yet. Give figures: autopilot policy check METRIC=VALUE")
        raise SetupError(
            f"There is no epoch {number} in {slug}.{meant(str(number), [str(row.epoch) for row in rows])}"
        )
    before = next((row for row in rows if row.commit == wanted.parent and row.epoch < wanted.epoch), None)
    return dict(wanted.metrics), dict(before.metrics) if before is not None else {}
