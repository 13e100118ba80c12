"""The table of commands: names, flags and help. What a command does is imported when it is called."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from autopilot_runtime.cli import commands
from autopilot_runtime.cli import options as given
from autopilot_runtime.cli.exitcode import MEANING
from autopilot_runtime.cli.options import OutputChoice
from autopilot_runtime.cli.place import Place
from autopilot_runtime.cli.release import release
from autopilot_runtime.cli.train.table import WithTraining

_WORK, _SETUP, _LOOK = "Work", "Set up", "Look"
_CODES = "\n\n".join(f"{int(code):>3} {text}" for code, text in MEANING.items())
_EXAMPLES = """Examples:

autopilot demo

autopilot init && autopilot run agent.yaml "Add a --verbose flag"

autopilot run coder "Fix the failing test" --allow "execute(pytest *)"

autopilot run --continue coder "Now the same for dates.py"

git diff | autopilot run reviewer - --output json | jq -r .result"""
_RUN_EXAMPLES = f"""Examples:

autopilot run coder "Fix the failing test in tests/test_dates.py"

autopilot run agent.yaml - < task.md

autopilot run coder "Update the docs" --permission-mode accept-edits --max-cost-usd 0.50

autopilot run --continue coder "Now document it"

autopilot run --resume coder-20261128-141500-a1b2

autopilot run coder "List the TODOs" --output jsonl | jq -r 'select(.type == "tool.started") | .label'

Exit codes:

{_CODES}"""

app = typer.Typer(
    name="autopilot",
    help="Run agents: an agent file and a task become work in a folder.",
    epilog=f"{_EXAMPLES}\n\nExit codes:\n\n{_CODES}",
    no_args_is_help=True,
    cls=WithTraining,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"autopilot {release()}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Run agents: an agent file and a task become work in a folder."""


@app.command(rich_help_panel=_WORK, epilog=_RUN_EXAMPLES)
def run(
    ctx: typer.Context,
    agent: given.MaybeAgent = None,
    task: given.MaybeTask = None,
    output: Annotated[
        OutputChoice, typer.Option(help="text for people; json: one final object; jsonl: every event.")
    ] = OutputChoice.text,
    stream: Annotated[
        bool | None, typer.Option("--stream/--no-stream", help="Show text while it comes. On a terminal: yes.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent; call nothing.")] = False,
    model: given.Model = None,
    max_steps: given.MaxSteps = None,
    max_cost_usd: given.MaxCost = None,
    max_tokens: given.MaxTokens = None,
    timeout: given.Timeout = None,
    permission_mode: given.Mode = None,
    allow: given.Allow = None,
    deny: given.Deny = None,
    work_dir: given.WorkDir = None,
    session: given.Session = None,
    resume: given.Resume = None,
    newest: given.Newest = False,
    no_save: given.NoSave = False,
    session_dir: given.SessionDir = None,
    db_url: given.DbUrl = None,
    bare: given.Bare = False,
) -> None:
    """Work on one task, then exit. Asks before what needs permission; without a terminal, that is refused."""
    from autopilot_runtime.cli.request import Request

    if resume is None and not newest and (agent is None or task is None):
        # Only who goes on with a session may leave them out.
        ctx.fail(f"Missing argument '{'AGENT' if agent is None else 'TASK'}'.")
    request = Request(
        agent or "",
        task or "",
        output=output.value,
        stream=stream,
        model=model,
        max_steps=max_steps,
        max_cost_usd=max_cost_usd,
        max_tokens=max_tokens,
        timeout=timeout,
        **given.rights(permission_mode, allow, deny),
        work_dir=work_dir,
        session=session,
        bare=bare,
        save=not no_save,
        place=Place(session_dir, db_url),
        resume=resume,
        newest=newest,
    )
    if dry_run:
        from autopilot_runtime.cli.dryrun import dry_run as show

        raise typer.Exit(show(request))
    from autopilot_runtime.cli.run import run_command

    raise typer.Exit(run_command(request))


@app.command(rich_help_panel=_WORK)
def chat(
    agent: given.Agent,
    model: given.Model = None,
    max_steps: given.MaxSteps = None,
    max_cost_usd: given.MaxCost = None,
    permission_mode: given.Mode = None,
    allow: given.Allow = None,
    deny: given.Deny = None,
    work_dir: given.WorkDir = None,
    session: given.Session = None,
    no_save: given.NoSave = False,
    session_dir: given.SessionDir = None,
    db_url: given.DbUrl = None,
    bare: given.Bare = False,
) -> None:
    """Talk with an agent, task after task. /help shows its commands."""
    from autopilot_runtime.cli.chat import chat_command
    from autopilot_runtime.cli.request import Request

    request = Request(
        agent,
        model=model,
        max_steps=max_steps,
        max_cost_usd=max_cost_usd,
        **given.rights(permission_mode, allow, deny),
        work_dir=work_dir,
        session=session,
        bare=bare,
        save=not no_save,
        place=Place(session_dir, db_url),
    )
    raise typer.Exit(chat_command(request))


@app.command(rich_help_panel=_SETUP)
def init(
    folder: Annotated[Path, typer.Argument(help="The project.", metavar="[DIR]")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace an agent.yaml that is there.")] = False,
) -> None:
    """Write an agent.yaml for a project, with the model whose key is there."""
    from autopilot_runtime.cli.init import init_command

    raise typer.Exit(init_command(folder, force=force))


@app.command(rich_help_panel=_SETUP)
def doctor(
    agent: Annotated[str | None, typer.Argument(help="Check what this agent needs, too.", metavar="[AGENT]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    online: Annotated[bool, typer.Option("--online", help="Connect to the model's address, too.")] = False,
) -> None:
    """Check keys, certificates, sandbox, terminal and tools; each fault with its fix."""
    from autopilot_runtime.cli.doctor import doctor_command

    raise typer.Exit(doctor_command(agent, as_json=as_json, online=online))


@app.command(rich_help_panel=_SETUP)
def lint(agent: given.Agent) -> None:
    """Check an agent file; every fault with its place."""
    from autopilot_runtime.cli.dryrun import lint as check

    raise typer.Exit(check(agent))


@app.command(rich_help_panel=_SETUP)
def schema() -> None:
    """Print the JSON Schema of agent files, for editors."""
    import json

    from autopilot_runtime.runtime.agentfile import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command(rich_help_panel=_LOOK)
def replay(
    recording: Annotated[
        Path, typer.Argument(help="A cassette, the output of --output jsonl, or a folder.", metavar="FILE")
    ],
    speed: Annotated[float, typer.Option(help="2 is twice as fast, 0 does not wait.", min=0)] = 1.0,
) -> None:
    """Show a recorded run as it happened. Needs no key, calls nothing, changes nothing."""
    from autopilot_runtime.cli.replay import replay_command

    raise typer.Exit(replay_command(recording, speed=speed))


@app.command(rich_help_panel=_LOOK)
def undo(
    run: Annotated[
        str | None, typer.Argument(help="Which run; the newest if none is named.", metavar="[RUN]")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List what can be undone; change nothing.")] = False,
    work_dir: given.WorkDir = None,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="AGENT", help="The folder of this agent, instead of this one.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also over what somebody else changed since.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Put the files that a run changed back as they were before it. An undo can be undone."""
    from autopilot_runtime.cli import undo as undoing

    folder = undoing.folder_of(work_dir, agent)
    if show:
        raise typer.Exit(undoing.list_command(work_dir=folder, as_json=as_json))
    raise typer.Exit(undoing.undo_command(run, work_dir=folder, force=force, as_json=as_json))


commands.add_to(app, work=_WORK, look=_LOOK)

if find_spec("autopilot_runtime.cli.demo") is not None:

    @app.command(rich_help_panel=_LOOK)
    def demo(
        folder: Annotated[Path, typer.Argument(help="Where to make it.", metavar="[DIR]")] = Path("autopilot-demo"),
    ) -> None:
        """See an agent work (a recorded model, real tools), then a training. Needs no key and no network."""
        from autopilot_runtime.cli.demo import demo_command  # type: ignore[import-not-found, unused-ignore]

        raise typer.Exit(demo_command(folder))
