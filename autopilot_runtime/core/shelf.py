"""Where the things we ship beside the package are: agents, tool packs, what the demo shows."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from autopilot_runtime.core.errors import SetupError

Kind = Literal["agentfiles", "tools", "sessions", "examples"]
_PACKAGE = Path(__file__).resolve().parents[1]


def shelf(kind: Kind) -> Path:
    """The folder of one kind, found from where the package lies and never from the current folder."""
    installed = _PACKAGE.parent / "autopilot_runtime_shelf" / kind
    if installed.is_dir():
        return installed
    # Beside an installed package anybody may have put a `tools`; only a checkout has our project file, too.
    checkout = _PACKAGE.parent / kind
    if checkout.is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file():
        return checkout
    raise SetupError(
        f"The shipped {kind} are missing: looked at {installed} and {checkout}. Install the package again."
    )
