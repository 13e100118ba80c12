"""The end of a runtime, also of one that nobody closed."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autopilot_runtime.core.calm import arrive, leave

if TYPE_CHECKING:
    from autopilot_runtime.shell.pool import TerminalPool


def when_gone(runtime: object, terminals: Sequence[TerminalPool]) -> weakref.finalize[..., Any]:
    """What is done when it is collected, or the process ends; call it when it is closed."""
    return weakref.finalize(runtime, _gone, arrive(), terminals)


def _gone(number: int, terminals: Sequence[TerminalPool]) -> None:
    leave(number)
    kill_all(terminals)


def kill_all(pools: Sequence[TerminalPool]) -> None:
    """Kill what these terminals run."""
    for pool in pools:
        pool.kill()
