"""Options that training commands share, each spelt and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Context = Annotated[
    str | None,
    typer.Option("--context", metavar="'REASON'", help="Why. Needed for everything that changes something."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]
Workspace = Annotated[
    Path | None,
    typer.Option("--workspace", metavar="DIR", help="The workspace; looked for upwards from here if not given."),
]
Project = Annotated[
    str | None, typer.Option("--project", "-p", metavar="NAME", help="Which project; the active one if not given.")
]
Experiment = Annotated[
    str | None,
    typer.Option("--experiment", "-e", metavar="SLUG", help="Which experiment; the active one if not given."),
]
Expose = Annotated[bool, typer.Option("--expose", help="Print what was written down about this call.")]
