"""`autopilot ai`: let the generator and the judge that a project has wired make data and judge results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.cli.train import given
from autopilot_runtime.cli.train.look import state
from autopilot_runtime.cli.train.mutate import acting
from autopilot_runtime.cli.train.own import own
from autopilot_runtime.cli.train.place import Project, Workspace
from autopilot_runtime.cli.train.say import say, table
from autopilot_runtime.cli.train.traces import traces
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training.dataset import ListDataset
from autopilot_runtime.training.showing import shortened, shown_item

app = typer.Typer(no_args_is_help=True, help="Generate data and judge results with an agent.")
_WIRED = {
    "generator": "GeneratorAgent(RuntimeAgent(...), 'what the items are')",
    "judge": "JudgeAgent(RuntimeAgent(...))",
}


def _own(here: Project, what: str) -> Any:
    """What the project's own command has wired."""
    found = own(here.name, what)
    if found is None:
        file = here.folder / "cli.py"
        raise SetupError(
            f"Project {here.name!r} has wired no {what} for this command. In __init__ of {file}:\n"
            f"    self.{what} = {_WIRED[what]}\n"
            f"and call that file instead of autopilot: python {file} ai ..."
        )
    return found


@app.command()
def generate(
    count: Annotated[int, typer.Argument(metavar="N", min=1, help="How many items there are to be.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE.jsonl", help="A new file; datasets/generated.jsonl if not given."),
    ] = None,
    examples: Annotated[
        Path | None, typer.Option("--examples", metavar="FILE.jsonl", help="Items to show as what is meant.")
    ] = None,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Make items, each checked and none twice, and write them into a file, one a line."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        act.about(here)
        generator = _own(here, "generator")
        path = (out or here.folder / "datasets" / "generated.jsonl").resolve()
        if path.exists():
            raise SetupError(f"There is a file {path} already: name another one with --out.")
        models: ListDataset[Any] = ListDataset.from_jsonl(examples) if examples is not None else ListDataset()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            made = _method(generator, "generate")(count, examples=models)
        except BaseException:
            _save_part(generator, path.with_suffix(".part.jsonl"))
            raise
        ListDataset(made).to_jsonl(path)
        some = [f"  {' '.join(shortened(shown_item(one), 200).split())}" for one in made[:3]]
        register = f"autopilot dataset register NAME {path} --context '...'"
        say({"file": str(path), "items": len(made)}, [f"{len(made)} items in {path}:", *some, f"Next: {register}"],
            as_json=as_json)  # fmt: skip


def _save_part(generator: Any, path: Path) -> None:
    """What was made until then was paid for."""
    items = getattr(generator, "items", None)
    if items:
        ListDataset(items).to_jsonl(path)
        print(f"note: the {len(items)} items that were made are in {path}", file=sys.stderr)


def _method(wired: Any, name: str) -> Any:
    found = getattr(wired, name, None)
    if not callable(found):
        raise SetupError(f"{type(wired).__name__} has no {name}(): wire an agent of that kind, or write the method.")
    return found


@app.command()
def judge(
    results: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE.jsonl]",
            help="Lines with `output` and, if there is one, `target`; what is on record if not given.",
        ),
    ] = None,
    at: Annotated[
        str, typer.Option("--at", metavar="STATE", help="What is on record of this state.")
    ] = "last_accepted",
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="And of this split.")] = "val",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.jsonl", help="Also write the verdicts there.")
    ] = None,
    experiment: given.Experiment = None,
    context: given.Context = None,
    project: given.Project = None,
    workspace: given.Workspace = None,
    as_json: given.AsJson = False,
    expose: given.Expose = False,
) -> None:
    """Judge results, one after the other. Exit code 1 when a verdict could not be had."""
    with acting(context, expose=expose) as act:
        here = Workspace.found(workspace).project(project)
        act.about(here)
        agent = _own(here, "judge")
        names, outputs, targets = (
            _of_file(results) if results is not None else _of_record(here, experiment, at, split)
        )
        said = _method(agent, "judge_all")(outputs, targets)
        value = [
            {"item": name, "success": one.success, "metrics": dict(one.metrics), "feedback": one.feedback,
             "error": one.error_message}
            for name, one in zip(names, said, strict=True)
        ]  # fmt: skip
        if out is not None:
            ListDataset(value).to_jsonl(out)
        rows = [
            (one["item"], "pass" if one["success"] else "FAIL", one["metrics"].get("score"),
             (one["error"] or one["feedback"])[:80])
            for one in value
        ]  # fmt: skip
        passed = f"{sum(bool(one['success']) for one in value)} of {len(value)} pass"
        say(value, [*table(("item", "", "score", "said"), rows), passed], as_json=as_json)
        if any(one["error"] for one in value):
            raise typer.Exit(ExitCode.FAILED)


def _of_file(path: Path) -> tuple[list[str], list[Any], list[Any] | None]:
    items: ListDataset[Any] = ListDataset.from_jsonl(path)
    lacking = next((at for at, one in enumerate(items, 1) if "output" not in one.fields), None)
    if lacking is not None:
        raise SetupError(f"{path}: item {lacking} has no field `output`.")
    targets = [one.fields.get("target") for one in items]
    return [one.id for one in items], [one["output"] for one in items], targets


def _of_record(
    here: Project, experiment: str | None, at: str, split: str
) -> tuple[list[str], list[Any], list[Any] | None]:
    slug = here.slug(experiment)
    with here.record() as record:
        record.experiment(slug)
        found = [one for one in traces(record, state(record, slug, at).id, split) if not one.error]
    if not found:
        raise SetupError(f"Nothing is on record of {at} on {split!r}. Give a file of results instead.")
    outputs = [one.output or {"success": one.ok, "feedback": one.feedback, **one.metrics} for one in found]
    return [one.item for one in found], outputs, None
