"""Which engine is opened, and the journaled call: what was done once is not done again."""

from __future__ import annotations

import importlib
from typing import Literal, Protocol

from autopilot_runtime.confine.level import level
from autopilot_runtime.core.errors import ReplayError, SandboxUnavailable
from autopilot_runtime.core.protocols import Call, Caller, Outcome, Sandbox
from autopilot_runtime.sandbox.display import label

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


def _engine(module: str, name: str) -> Sandbox:
    # Late: the engines use this file, and monty is an optional dependency.
    sandbox: Sandbox = getattr(importlib.import_module(f"autopilot_runtime.sandbox.{module}"), name)()
    return sandbox


# ---------------------------------------------------------------- the journaled call


class Journal(Protocol):
    """Where the calls of one block are written down: the intent before the effect, the outcome after it."""

    def intent(self, call: Call) -> Outcome | None:
        """Note that `call` is about to be made; or give the outcome it already had."""
        ...

    def outcome(self, call: Call, outcome: Outcome) -> None:
        """Note what `call` gave. Kept when this returns."""
        ...


class MemoryJournal:
    """A journal in memory: `entries` by (run, step, index) may outlive it and be given to the next one."""

    def __init__(
        self,
        run: str,
        step: int,
        *,
        entries: dict[tuple[str, int, int], tuple[str, Outcome | None]] | None = None,
    ) -> None:
        self.entries = {} if entries is None else entries
        self._run, self._step = run, step

    def intent(self, call: Call) -> Outcome | None:
        """The recorded outcome, or None for a call that is new. A different call at this place is a ReplayError."""
        key = (self._run, self._step, call.index)
        called = label(call.tool, call.args, call.kwargs)
        if key not in self.entries:
            self.entries[key] = (called, None)
            return None
        before, outcome = self.entries[key]
        if before != called:
            raise ReplayError(f"Call {call.index} of step {self._step} was {before}; now it is {called}.")
        return outcome or Outcome(error=f"outcome unknown: {called} was begun, its end was never recorded. Check.")

    def outcome(self, call: Call, outcome: Outcome) -> None:
        """Keep it beside its intent."""
        key = (self._run, self._step, call.index)
        self.entries[key] = (self.entries[key][0], outcome)


def journaled(call: Caller, journal: Journal) -> Caller:
    """The same caller, with every call written down first; a call that has an outcome is not made again."""

    async def made(request: Call) -> Outcome:
        try:
            known = journal.intent(request)
        except ReplayError as error:
            return Outcome(error=str(error), error_type="ReplayError", fatal=True)
        if known is not None:
            return known
        outcome = await call(request)
        journal.outcome(request, outcome)
        return outcome

    return made
