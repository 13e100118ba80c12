"""The flags that several commands share, each written once."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from autopilot_runtime.cli.place import DB_ENV

_LIMITS, _RIGHTS = "Limits", "Permissions"


class OutputChoice(StrEnum):
    """What stdout carries."""

    text = "text"
    json = "json"
    jsonl = "jsonl"


class PermissionChoice(StrEnum):
    """How permissions are decided where no rule does."""

    ask = "ask"
    accept_edits = "accept-edits"
    plan = "plan"
    deny = "deny"
    bypass = "bypass"


def _agents(incomplete: str) -> list[str]:
    """Shell completion: agents we ship, and YAML files."""
    from autopilot_runtime.core.shelf import shelf

    shipped = sorted(file.stem for file in shelf("agentfiles").glob("*.yaml"))
    folder = Path(incomplete).parent
    files = [str(file) for file in sorted(folder.glob("*.y*ml")) if file.is_file()]
    return [name for name in [*shipped, *files] if name.startswith(incomplete)]


Agent = Annotated[
    str,
    typer.Argument(
        help="A shipped agent (coder) or the path of an agent file.", metavar="AGENT", autocompletion=_agents
    ),
]
MaybeAgent = Annotated[
    str | None,
    typer.Argument(
        help="A shipped agent (coder) or the path of an agent file.", metavar="AGENT", autocompletion=_agents
    ),
]
MaybeTask = Annotated[
    str | None,
    typer.Argument(
        help="What to do. - reads it from standard input. With --resume and --continue both may be left out.",
        metavar="TASK",
    ),
]
Model = Annotated[str | None, typer.Option("--model", help="Use this model instead: provider/name.")]
MaxSteps = Annotated[int | None, typer.Option(help="Steps it may take.", rich_help_panel=_LIMITS, min=1)]
MaxCost = Annotated[float | None, typer.Option(help="Dollars it may cost.", rich_help_panel=_LIMITS)]
MaxTokens = Annotated[int | None, typer.Option(help="Tokens it may use.", rich_help_panel=_LIMITS, min=1)]
Timeout = Annotated[float | None, typer.Option(help="Seconds it may take.", rich_help_panel=_LIMITS)]
Mode = Annotated[
    PermissionChoice | None,
    typer.Option(
        "--permission-mode",
        help="plan: only read. deny: refuse instead of asking. bypass: allow what no rule denies.",
        rich_help_panel=_RIGHTS,
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RULE", help="Allow without asking, such as 'execute(pytest *)'. Repeatable.", rich_help_panel=_RIGHTS
    ),
]
Deny = Annotated[
    list[str] | None,
    typer.Option(metavar="RULE", help="Refuse, such as 'write_file(.env)'. Repeatable.", rich_help_panel=_RIGHTS),
]
WorkDir = Annotated[Path | None, typer.Option(metavar="DIR", help="The folder it works in.", rich_help_panel=_RIGHTS)]
_KEPT = "Conversation"


def session_ids(incomplete: str) -> list[str]:
    """Shell completion: the sessions of the usual place. A shell that completes is told of no errors."""
    import contextlib

    from autopilot_runtime.cli.place import Place
    from autopilot_runtime.core.errors import AutopilotError

    with contextlib.suppress(AutopilotError):
        known = [str(one["session_id"]) for one in Place(db_url=os.environ.get(DB_ENV)).sessions()]
        return [name for name in known if name.startswith(incomplete)]
    return []


Session = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Keep the conversation under this name, and go on with it next time.",
        autocompletion=session_ids,
        rich_help_panel=_KEPT,
    ),
]
SessionId = Annotated[
    str, typer.Argument(metavar="ID", help="Which; the beginning is enough.", autocompletion=session_ids)
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="[ID]",
        help="Go on with this session: with a TASK, or with the run that was interrupted. Without ID: pick one.",
        autocompletion=session_ids,
        rich_help_panel=_KEPT,
    ),
]
Newest = Annotated[
    bool,
    typer.Option("--continue", help="Go on with the newest session of AGENT in this folder.", rich_help_panel=_KEPT),
]
NoSave = Annotated[bool, typer.Option("--no-save", help="Keep neither conversation nor log.", rich_help_panel=_KEPT)]
SessionDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where sessions are kept.", rich_help_panel=_KEPT)
]
DbUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The database sessions are kept in instead.", envvar=DB_ENV, rich_help_panel=_KEPT
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Bare = Annotated[
    bool, typer.Option("--bare", help="Without AGENTS.md, skills and MCP servers.", rich_help_panel=_RIGHTS)
]


def rights(mode: PermissionChoice | None, allow: list[str] | None, deny: list[str] | None) -> dict[str, Any]:
    """The fields of a request that say what may be done."""
    return {
        "permission_mode": mode.value if mode else None,
        "allow": tuple(allow or ()),
        "deny": tuple(deny or ()),
    }
