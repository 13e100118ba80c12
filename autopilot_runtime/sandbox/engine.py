"""Which engine is opened."""

from __future__ import annotations

import contextlib
import importlib
from typing import Literal

from autopilot_runtime.confine.level import level
from autopilot_runtime.core.errors import SandboxUnavailable
from autopilot_runtime.core.protocols import Sandbox

Kind = Literal["auto", "python", "monty"]


def open_sandbox(kind: Kind = "auto") -> Sandbox:
    """A sandbox; `auto` is `python` where it can be confined, else `monty`. Raises SandboxUnavailable."""
    here = level()
    if kind == "python" or (kind == "auto" and here.workers):
        if not here.workers:
            lacks = "; ".join(here.missing)
            raise SandboxUnavailable(f"control: python cannot be confined here ({lacks}). Use control: monty.")
        return _engine("python", "PythonSandbox")
    try:
        return _engine("monty", "MontySandbox")
    except ImportError as error:
        why = f"python cannot be confined here ({'; '.join(here.missing)}) and monty" if kind == "auto" else "monty"
        text = f"No sandbox for control blocks: {why} is not installed: pip install 'autopilot-runtime[monty]'"
        raise SandboxUnavailable(text) from error


def get_ready(kind: Kind = "auto") -> None:
    """Import what `open_sandbox` will need: when a runtime is made, not when its first run keeps a loop waiting."""
    with contextlib.suppress(SandboxUnavailable):  # told by the run that needs it
        open_sandbox(kind)


def _engine(module: str, name: str) -> Sandbox:
    # Late: the engines use this file, and monty is an optional dependency.
    sandbox: Sandbox = getattr(importlib.import_module(f"autopilot_runtime.sandbox.{module}"), name)()
    return sandbox
