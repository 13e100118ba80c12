"""What a Monty block asks of the system, clock and chance: answered here, and read as any block reads.

Every reading is a question to the host in this engine, so a loop on the clock is slow. What it cannot ask needs no
record: sets keep the order in which they were filled, hashes and `id` are the same in every worker, `process_time`
is always zero, and there are no threads.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import time
from typing import Any

from autopilot_runtime.sandbox.reads import Diverged, Pace, Reads

# Given to the interpreter when a worker is taken: ask, do not look yourself.
POLICY = {"datetime": "call_host", "random_start": "call_host"}
_STEADY = frozenset({"time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"})
_SEED = 32
_MOST_BYTES = 1_000_000
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def answer(name: str, args: tuple[Any, ...], *, reads: Reads, pace: Pace) -> dict[str, Any] | None:
    """The answer to a question about clock or chance; None when it is about something else. Raises Diverged."""
    try:
        if name == "time.time":
            return {"return_value": _seconds(str(args[0])[:60] if args else name, reads, pace)}
        if name in ("datetime.now", "date.today"):
            return _date(name, args[0] if args else None, reads)
        if name == "os.urandom" and args:
            return _bytes(args[0], reads)
    except (TypeError, ValueError, OverflowError) as error:
        # Only a record can hold what is no time and no bytes; the clock gives none.
        raise Diverged(f"what {name} gave when the block was recorded cannot be read ({error}).") from error
    return None


def _seconds(source: str, reads: Reads, pace: Pace) -> float:
    """Every clock of the `time` module is asked for by one name, with the function that asks."""
    if source in _STEADY:
        return float(reads.read(source, pace.seconds, again=pace.from_seconds))
    return float(reads.read(source, time.time))


def _date(name: str, zone: Any, reads: Reads) -> dict[str, Any]:
    if zone is not None and type(zone) is not datetime.timezone:
        return {"exc_type": "TypeError", "message": "tzinfo argument must be None or a timezone"}
    micros = reads.read(name, lambda: time.time_ns() // 1000)
    now = _EPOCH + datetime.timedelta(microseconds=micros)
    if name == "date.today":
        return {"return_value": now.date()}
    return {"return_value": now.astimezone(zone) if zone is not None else now.replace(tzinfo=None)}


def _bytes(size: Any, reads: Reads) -> dict[str, Any]:
    """A generator without a seed asks for 2496 bytes: 32 are noted, and more are made of these."""
    if type(size) is not int or size < 0:
        return {"exc_type": "ValueError", "message": "negative argument not allowed"}
    if size > _MOST_BYTES:
        return {"exc_type": "MemoryError", "message": f"os.urandom() gives at most {_MOST_BYTES} bytes"}
    seed = bytes.fromhex(reads.read(f"os.urandom({size})", lambda: os.urandom(min(size, _SEED)).hex()))
    return {"return_value": seed if size <= _SEED else hashlib.shake_256(seed).digest(size)}
