"""`autopilot status`: how the experiment stands."""

from __future__ import annotations

from dataclasses import asdict

import typer

from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.look import looking
from autopilot_runtime.cli.train.say import figures, say, when

app = typer.Typer()


@app.command()
def status(
    experiment: given.Experiment = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
) -> None:
    """How the experiment stands: epoch, metrics, what was decided last, and why it stopped."""
    with looking(experiment, project, workspace) as (record, slug):
        row, epochs, holder = record.experiment(slug), record.epochs(slug), record.holder(slug)
        refs = record.refs(slug)
    kept = [one for one in epochs if one.verdict in ("seed", "accept")]
    last = epochs[-1] if epochs else None
    value = {
        **asdict(row),
        "epoch": last.epoch if last else None,
        "verdict": last.verdict if last else None,
        "stop_reason": row.reason,
        "metrics": dict(kept[-1].metrics) if kept else {},
        "spent": dict(last.spent) if last else {},
        "refs": refs,
        "holder": str(holder) if holder else None,
    }
    lines = [f"{slug}  {row.status}" + (f"  {row.reason}" if row.reason else ""), f"changed   {when(row.changed)}"]
    if last:
        counts = ", ".join(
            f"{sum(one.verdict == name for one in epochs)} {name}" for name in ("accept", "discard", "rollback")
        )
        lines += [f"epoch     {last.epoch}  {last.verdict}: {last.reason}", f"verdicts  {counts}",
                  f"accepted  {figures(value['metrics'])}", f"spent     {figures(_spent(last.spent))}"]  # fmt: skip
    else:
        lines.append("nothing trained yet: autopilot optimize train --context 'why'")
    say(value, lines, as_json=as_json)


def _spent(spent: object) -> dict[str, float]:
    return {name: value for name, value in dict(spent).items() if value}  # type: ignore[call-overload]
