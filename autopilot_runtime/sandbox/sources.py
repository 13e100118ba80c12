"""The clocks and the chance of a worker, replaced by ones whose every reading is noted or given back.

Runs in the worker, once, before any block; the standard library only. What a block gets looks and behaves like what
it stands for: types stay the very types, functions are not bound by classes, copies and pickles are the thing itself.

Not seen: what C code asks by itself (SQL's `random()` and `CURRENT_TIMESTAMP` in sqlite3), the local time zone,
process numbers and addresses (`id`, the order of a set of plain objects).
"""

from __future__ import annotations

import _thread
import asyncio.base_events
import concurrent.futures._base
import ctypes
import datetime
import functools
import gc
import hashlib
import operator
import os
import random
import sys
import time
import timeit
import uuid
from collections.abc import Callable
from types import ModuleType
from typing import Any

from autopilot_runtime.sandbox.reads import Pace, Reads

_SEED = 32
_urandom = os.urandom
_expand = hashlib.shake_256
_index = operator.index
_utc = datetime.UTC
# The module as it is before: what is on nobody's way to a value keeps these.
_bare = ModuleType("time")
_bare.__dict__.update(vars(time))


def install(reads: Reads) -> None:
    """Put the replacements where blocks will find them."""
    _clocks(reads)
    _conversions(reads)
    _dates(reads)
    _entropy(reads)
    _generators(reads)
    _waiting(reads)


class Face:
    """A replacement of a built-in function, as a block sees it."""

    def __init__(self, like: Callable[..., Any], call: Callable[..., Any]) -> None:
        self._call = call
        self.__name__ = self.__qualname__ = like.__name__
        self.__module__, self.__doc__ = like.__module__, like.__doc__

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __reduce__(self) -> str:
        return self.__name__

    def __repr__(self) -> str:
        return f"<built-in function {self.__name__}>"


class Clock(Face):
    """A clock: no arguments, and quick, since blocks loop on it."""

    def __init__(
        self, like: Callable[..., Any], reads: Reads, *, live: Callable[[], Any], again: Callable[[Any], None] | None
    ) -> None:
        super().__init__(like, live)
        self._read, self._source, self._again = reads.read, f"time.{like.__name__}", again

    def __call__(self) -> Any:
        return self._read(self._source, self._call, again=self._again)


def _clocks(reads: Reads) -> None:
    for wall in (_bare.time, _bare.time_ns):
        _put(time, Clock(wall, reads, live=wall, again=None))
    for name in ("monotonic", "perf_counter", "process_time", "thread_time"):
        ns = getattr(_bare, f"{name}_ns")
        pace = Pace(ns)
        _put(time, Clock(getattr(_bare, name), reads, live=pace.seconds, again=pace.from_seconds))
        _put(time, Clock(ns, reads, live=pace.ns, again=pace.from_ns))
    for numbered in (_bare.clock_gettime, _bare.clock_gettime_ns):
        _put(time, Face(numbered, functools.partial(_numbered, reads, numbered)))


def _numbered(reads: Reads, bare: Callable[[int], Any], clock: int) -> Any:
    which = _index(clock)
    bare(which)  # a clock there is not is an error, and no read
    return reads.read(f"time.{bare.__name__}({which})"[:60], lambda: bare(which))


def _conversions(reads: Reads) -> None:
    """What turns a time into something else, and takes the present when it is given none."""
    local = _bare.localtime

    def of_seconds(bare: Callable[..., Any], *args: Any) -> Any:
        return bare(reads.read(f"time.{bare.__name__}", _bare.time)) if args in ((), (None,)) else bare(*args)

    def asctime(*args: Any) -> Any:
        return _bare.asctime(*args or (local(reads.read("time.asctime", _bare.time)),))

    def strftime(*args: Any) -> Any:
        if len(args) != 1:
            return _bare.strftime(*args)
        return _bare.strftime(args[0], local(reads.read("time.strftime", _bare.time)))

    for bare in (local, _bare.gmtime, _bare.ctime):
        _put(time, Face(bare, functools.partial(of_seconds, bare)))
    _put(time, Face(_bare.asctime, asctime))
    _put(time, Face(_bare.strftime, strftime))


def _dates(reads: Reads) -> None:
    """`datetime` itself must stay what it is (isinstance, pickles, subclasses): its methods are replaced in place."""
    convert = vars(datetime.datetime)["fromtimestamp"]

    def micros() -> int:
        return int(_bare.time_ns()) // 1000

    def now(cls: Any, tz: Any = None) -> Any:
        """Returns new datetime object representing current time local to tz."""
        return convert.__get__(None, cls)(reads.read("datetime.now", micros) / 1e6, tz)

    def utcnow(cls: Any) -> Any:
        """Return a new datetime representing UTC day and time."""
        return convert.__get__(None, cls)(reads.read("datetime.utcnow", micros) / 1e6, _utc).replace(tzinfo=None)

    def today(cls: Any) -> Any:
        """Current date or datetime: same as self.__class__.fromtimestamp(time.time())."""
        return cls.fromtimestamp(reads.read("date.today", _bare.time))

    for kind, method in ((datetime.datetime, now), (datetime.datetime, utcnow), (datetime.date, today)):
        method.__qualname__ = f"{kind.__name__}.{method.__name__}"
        method.__module__ = "datetime"
        (names,) = (found for found in gc.get_referents(vars(kind)) if type(found) is dict)
        names[method.__name__] = classmethod(method)
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


def _entropy(reads: Reads) -> None:
    """Bytes from the system: at most 32 are noted; more are made of these, which is as good."""

    def drawn(source: str, size: int) -> bytes:
        if size < 0:
            return _urandom(size)  # which says what is wrong with it
        seed = bytes.fromhex(reads.read(f"{source}({size})"[:60], lambda: _urandom(min(size, _SEED)).hex()))
        return seed if size <= _SEED else _expand(seed).digest(size)

    def urandom(size: int) -> bytes:
        return drawn("os.urandom", _index(size))

    def getrandom(size: int, flags: int = 0) -> bytes:
        return drawn("os.getrandom", _index(size))

    _put(os, Face(_urandom, urandom))
    _put(os, Face(os.getrandom, getrandom))
    setattr(random, "_urandom", os.urandom)  # noqa: B010  (SystemRandom, and `secrets` with it)
    # uuid1 then goes by the clock and by chance, not by what a C library knows of this machine.
    setattr(uuid, "_generate_time_safe", None)  # noqa: B010


def _generators(reads: Reads) -> None:
    """Without a seed, one is read: by `Random()` and `seed()` at once, by the module's functions at first use."""
    bare = random.Random.seed

    def entropy() -> str:
        return _urandom(_SEED).hex()

    @functools.wraps(bare)
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        bare(self, int(reads.read("random.seed", entropy), 16) if a is None else a, version)

    setattr(random.Random, "seed", seed)  # noqa: B010
    shared = vars(random)["_inst"]
    functions = {n: v for n, v in vars(random).items() if v is shared or getattr(v, "__self__", None) is shared}
    functions["seed"] = shared.seed  # the one just replaced
    begun: list[bool] = []

    def hide() -> None:
        """Names that are not there are asked for: so the first use is known, and later ones cost nothing."""
        if len(vars(random)) != size:
            for name in functions:
                vars(random).pop(name, None)

    def find(name: str) -> Any:
        if name not in functions:
            raise AttributeError(f"module 'random' has no attribute {name!r}")
        if not begun:
            bare(shared, int(reads.read("random", entropy), 16))
            begun.append(True)
        for other, function in functions.items():
            vars(random).setdefault(other, function)  # what the block has put there stays
        return functions[name]

    vars(random).update(__getattr__=find, __dir__=lambda: [*vars(random), *functions])
    for name in functions:
        del vars(random)[name]
    size = len(vars(random))
    reads.prepare = hide


def _waiting(reads: Reads) -> None:
    """Waiting while replaying is waste; the clock of a wait is nobody's to see and is not noted."""
    sleep, monotonic = _bare.sleep, time.monotonic

    def pause(seconds: Any) -> None:
        # Threads wait for each other by sleeping: their order is kept.
        if not (reads.replaying and _thread._count() == 0 and isinstance(seconds, (int, float)) and seconds >= 0):
            sleep(seconds)

    def loop_time(self: Any) -> float:
        """Return the time according to the event loop's clock."""
        caller = sys._getframe(1).f_globals.get("__name__", "")
        # How often a loop wakes up depends on more than its block.
        own = isinstance(caller, str) and caller.startswith("asyncio.")
        return _bare.monotonic() if own else monotonic()

    _put(time, Face(sleep, pause))
    setattr(asyncio.base_events.BaseEventLoop, "time", loop_time)  # noqa: B010
    vars(concurrent.futures._base)["time"] = _bare
    # It took the clock as a default when it was imported, and shows what it reads.
    timeit.default_timer = time.perf_counter
    for function in (timeit.Timer.__init__, timeit.timeit, timeit.repeat):
        given = function.__defaults__ or ()
        function.__defaults__ = tuple(time.perf_counter if one is _bare.perf_counter else one for one in given)


def _put(module: ModuleType, face: Face) -> None:
    face.__module__ = module.__name__
    setattr(module, face.__name__, face)
