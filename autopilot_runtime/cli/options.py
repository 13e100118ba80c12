"""The flags that several commands share, each written once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
Session = Annotated[
    str | None, typer.Option(metavar="ID", help="Keep the conversation under this name, and go on with it next time.")
]
Bare = Annotated[
    bool, typer.Option("--bare", help="Without AGENTS.md, skills and MCP servers.", rich_help_panel=_RIGHTS)
]
