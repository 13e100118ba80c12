"""Python's garbage collector, calmed while many runtimes live in one process: it must not stall their event loop.

A full round of it looks at every object of the process while nothing else can run: with hundreds of runtimes at work,
a fifth of a second. What a runtime makes is freed without it (no reference cycles are left behind), so rounds can be
rare, and those in between short. The collector stays on: cycles of others are found as before, only later.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import sys

MANY = 32  # runtimes that are open at the same time
CALM_ENV = "AUTOPILOT_CALM_GC"  # "0": leave the collector as it is
# How many rounds of the generation below go before one of the middle, and before a full one: those of the middle are
# a quarter as long as by default, and a full one comes after seventeen times as much.
_MIDDLE, _FULL = 2, 700
# What Python comes with. Whoever has set something else knows better; the collector of 3.14 has no full rounds of
# this kind (its third number is 0), and without the GIL there are no generations.
_DEFAULTS = ((700, 10, 10), (2_000, 10, 10))

log = logging.getLogger("autopilot_runtime.calm")
_numbers = itertools.count()
_open: set[int] = set()  # no lock: a finalizer may come in the middle of anything
_before: tuple[int, int, int] | None = None  # the thresholds while they are ours


def arrive() -> int:
    """One more runtime is open; gives the number under which it will `leave`."""
    number = next(_numbers)
    _open.add(number)
    if len(_open) >= MANY and _before is None:
        _calm()
    return number


def leave(number: int) -> None:
    """That runtime is closed, or gone."""
    _open.discard(number)
    if len(_open) < MANY // 2 and _before is not None:
        _restore()


def _calm() -> None:
    global _before
    found = gc.get_threshold()
    generational = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
    if not generational or not gc.isenabled() or found not in _DEFAULTS or os.environ.get(CALM_ENV) == "0":
        return
    _before = found
    gc.set_threshold(found[0], _MIDDLE, _FULL)
    log.debug("%d runtimes are open: gc.set_threshold%r, was %r", len(_open), gc.get_threshold(), found)


def _restore() -> None:
    global _before
    before, _before = _before, None
    if before is not None and gc.get_threshold() == (before[0], _MIDDLE, _FULL):  # else somebody has set them since
        gc.set_threshold(*before)
        log.debug("%d runtimes are open: gc.set_threshold%r again", len(_open), before)
