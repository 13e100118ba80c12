"""The table of commands about what was kept: `sessions ...`, `log`, `answer`. Like `app.py`, it imports late."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from autopilot_runtime.cli import options as given
from autopilot_runtime.cli.place import Place

_EXAMPLES = """Examples:

autopilot sessions list --here

autopilot sessions show coder-2026 --full | less -R

autopilot sessions export coder-20261128-141500-a1b2 -o talk.md

autopilot sessions fork coder-20261128-141500-a1b2 --at 6

autopilot sessions delete old-one --yes

An ID may be shortened, as long as only one session begins so."""
_LOG_EXAMPLES = """Examples:

autopilot log -n 5

autopilot log 'failing test' --status failed --since 2d

autopilot log run_0193f2

autopilot log --sql 'select agent, sum(cost_usd) from runs group by agent'

The file is plain SQLite: datasette "$(autopilot log --path)" opens it. AUTOPILOT_NO_LOG=1 keeps none."""
_ANSWER_EXAMPLES = """Examples:

autopilot answer coder-20261128-141500-a1b2 yes

autopilot answer coder-2026 q_0193f2 "Use the other file"

autopilot answer coder-2026 always --no-resume"""

sessions = typer.Typer(
    help="Find, read, branch and delete kept conversations.", epilog=_EXAMPLES, no_args_is_help=True
)


class Form(StrEnum):
    """What an export looks like."""

    md = "md"
    json = "json"
    jsonl = "jsonl"


def _place(session_dir: Path | None, db_url: str | None) -> Place:
    return Place(session_dir, db_url)


@sessions.command("list")
def list_(
    as_json: given.AsJson = False,
    every: Annotated[bool, typer.Option("--all", help="All of them, not the newest 20.")] = False,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this agent.")] = None,
    here: Annotated[bool, typer.Option("--here", help="Only those begun in this folder, or at work in it.")] = False,
    session_dir: given.SessionDir = None,
    db_url: given.DbUrl = None,
) -> None:
    """Show the kept conversations, newest first."""
    from autopilot_runtime.cli.sessions import list_command

    raise typer.Exit(list_command(_place(session_dir, db_url), as_json=as_json, every=every, agent=agent, here=here))


@sessions.command()
def show(
    session: given.SessionId,
    as_json: given.AsJson = False,
    full: Annotated[bool, typer.Option("--full", help="Do not shorten results.")] = False,
    session_dir: given.SessionDir = None,
    db_url: given.DbUrl = None,
) -> None:
    """Read a conversation."""
    from autopilot_runtime.cli.transcript import show_command

    raise typer.Exit(show_command(_place(session_dir, db_url), session, as_json=as_json, full=full))


@sessions.command()
def export(
    session: given.SessionId,
    form: Annotated[Form, typer.Option("--format", help="md to read; json and jsonl for programs.")] = Form.md,
    to: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Into this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    session_dir: given.SessionDir = None,
    db_url: given.DbUrl = None,
) -> None:
    """Write a whole conversation. Nothing is shortened; secrets were masked when it was kept."""
    from autopilot_runtime.cli.transcript import export_command

    raise typer.Exit(export_command(_place(session_dir, db_url), session, form=form.value, to=to, force=force))


@sessions.command()
def fork(
    session: given.SessionId,
    at: Annotated[int | None, typer.Option("--at", metavar="N", help="Only its first N messages.", min=0)] = None,
    new: Annotated[str | None, typer.Option("--id", metavar="NEW", help="The id of the copy.")] = None,
    session_dir: given.SessionDir = None,
    db_url: given.DbUrl = None,
) -> None:
    """Copy a conversation, to go on with it another way. Prints the new id."""
    from autopilot_runtime.cli.sessions import fork_command

    raise typer.Exit(fork_command(_place(session_dir, db_url), session, at=at, new=new))


@sessions.command()
def delete(
    session: Annotated[list[str], typer.Argument(metavar="ID...", help="Which.", autocompletion=given.session_ids)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    session_dir: given.SessionDir = None,
    db_url: given.DbUrl = None,
) -> None:
    """Delete conversations for good. One at work is refused."""
    from autopilot_runtime.cli.sessions import delete_command

    raise typer.Exit(delete_command(_place(session_dir, db_url), session, yes=yes))


@sessions.command()
def undo(
    session: given.SessionId,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Which run; else the last.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also where a file was changed since.")] = False,
    as_json: given.AsJson = False,
    session_dir: given.SessionDir = None,
    db_url: given.DbUrl = None,
) -> None:
    """Take back what a run changed in files."""
    from autopilot_runtime.cli.sessions import undo_command

    raise typer.Exit(undo_command(_place(session_dir, db_url), session, run=run, force=force, as_json=as_json))


def log(
    query: Annotated[
        str, typer.Argument(metavar="[QUERY]", help="Words of its task, answer or calls; or the id of one run.")
    ] = "",
    count: Annotated[int, typer.Option("-n", help="How many; 0 is all.", min=0)] = 20,
    status: Annotated[str | None, typer.Option(help="completed, failed, interrupted, ...")] = None,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only this agent.")] = None,
    session: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this session.", autocompletion=given.session_ids)
    ] = None,
    since: Annotated[str | None, typer.Option(help="2d, 36h, 20min, or a date.")] = None,
    here: Annotated[bool, typer.Option("--here", help="Only runs in this folder and below.")] = False,
    as_json: given.AsJson = False,
    sql: Annotated[str | None, typer.Option(metavar="SELECT", help="Ask the tables runs, events and words.")] = None,
    path: Annotated[bool, typer.Option("--path", help="Print where the file is.")] = False,
) -> None:
    """Show what ran, how it ended, and what it cost."""
    from autopilot_runtime.cli.log import log_command
    from autopilot_runtime.cli.logquery import Wish

    wish = Wish(query, status=status, agent=agent, session=session, since=since, here=here, limit=count)
    raise typer.Exit(log_command(wish, as_json=as_json, sql=sql, path_only=path))


def answer(
    session: given.SessionId,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[REQUEST_ID] VALUE",
            help="The answer; to a permission yes, no, always, or a reason to refuse. "
            "Where several requests wait, the id comes first.",
        ),
    ],
    agent: Annotated[str, typer.Option(metavar="AGENT", help="The agent, if the session does not know it.")] = "",
    no_resume: Annotated[bool, typer.Option("--no-resume", help="Only answer; go on later.")] = False,
    output: Annotated[given.OutputChoice, typer.Option(help="text, json or jsonl.")] = given.OutputChoice.text,
    session_dir: given.SessionDir = None,
    db_url: given.DbUrl = None,
) -> None:
    """Answer what a suspended run waits for, and let it go on."""
    from autopilot_runtime.cli.request import Answer, Request
    from autopilot_runtime.cli.run import run_command

    if len(words) > 2:
        raise typer.BadParameter("one VALUE, in quotes if it has several words", param_hint="VALUE")
    said = Answer(words[-1], words[0] if len(words) == 2 else None, go_on=not no_resume)
    request = Request(agent, output=output.value, resume=session, answer=said, place=_place(session_dir, db_url))
    raise typer.Exit(run_command(request))


def add_to(app: typer.Typer, *, work: str, look: str) -> None:
    """Put these commands beside the others."""
    app.command(rich_help_panel=work, epilog=_ANSWER_EXAMPLES)(answer)
    app.add_typer(sessions, name="sessions", rich_help_panel=look)
    app.command(rich_help_panel=look, epilog=_LOG_EXAMPLES)(log)
