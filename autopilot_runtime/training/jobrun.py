"""One job in its own process: bounds itself, does the work, sends back what came of it, and ends."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import pickle
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Awaitable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from autopilot_runtime.confine.kernel import die_with_parent
from autopilot_runtime.confine.limits import ResourceLimits, apply
from autopilot_runtime.training import jobfolder
from autopilot_runtime.training.joborder import Order, Outcome, raised
from autopilot_runtime.training.jobscript import load_main

READY = b"ready"
_TRACE = 20_000  # characters; the last ones say what it was
_CAUSE = 64_000  # bytes


def run(orders: int, results: int, parent: int, scratch: str) -> NoReturn:
    """Called in the fork; waits for an order, and never returns."""
    code = 1
    try:
        _settle(parent)
        ordered, line = Connection(orders, writable=False), Connection(results, readable=False)
        # Mostly there is but one: whoever watches this process ends it.
        while True:
            order: Order = pickle.loads(ordered.recv_bytes())
            line.send_bytes(pickle.dumps(_outcome(order, line, scratch)))
    except EOFError:
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _settle(parent: int) -> None:
    os.setpgid(0, 0)
    if sys.platform == "linux":
        die_with_parent()
        if os.getppid() != parent:
            os._exit(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()  # Python's own randomness begins anew after a fork by itself, numpy's does not


def _outcome(order: Order, line: Connection, scratch: str) -> Outcome:
    try:
        value = _work(order, line, scratch)
    except MemoryError as error:
        limit = "" if order.memory_mb is None else f" than the {order.memory_mb} MB it may use"
        return _failed(error, Outcome("memory", text=f"{order.label}() needed more memory{limit}"))
    except BaseException as error:
        return _failed(error, Outcome("raised", text=raised(order.label, error)))
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # whatever the job has put in their place
                stream.flush()
    try:
        packed = _pack(value)
    except Exception as error:
        text = f"{order.label}() gave a {type(value).__name__} that cannot be sent back: {error}; give plain values"
        return _failed(error, Outcome("result", text=text))
    if len(packed) > order.most:
        text = (
            f"{order.label}() gave {len(packed):,} bytes, more than {order.most:,}: give less, or raise `result_mb`"
        )
        return Outcome("result", text=text)
    return Outcome(value=packed, text=f"{order.label}()")


def _work(order: Order, line: Connection, scratch: str) -> Any:
    with contextlib.suppress(OSError):  # on another machine there may be no such folder
        os.chdir(order.folder)
    before = set(sys.modules)
    if order.main is not None:
        load_main(order.main)
    work, args, kwargs = pickle.loads(order.work)
    needed = [name for name in list(sys.modules) if name not in before]
    if order.files is not None:
        kwargs["worktree"] = _worktree(order.files, scratch)
    line.send_bytes(READY + " ".join(needed).encode())
    if order.memory_mb is not None:
        apply(ResourceLimits(data=order.memory_mb << 20))
    if order.cpu_s is not None:
        # Only the first limit says why it ends a process; the second is for one that does not listen.
        most = math.ceil(order.cpu_s)
        resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))
    value = work(*args, **kwargs)
    if inspect.isawaitable(value):
        import asyncio  # only here: a process that runs no coroutine starts faster without

        return asyncio.run(_awaited(value))
    return value


def _pack(value: Any) -> bytes:
    """As bytes; a value of a class that was itself sent along from a script, too."""
    try:
        return pickle.dumps(value)
    except Exception:
        sent: Any = sys.modules.get("ray.cloudpickle")
        if sent is None:
            raise
        packed: bytes = sent.dumps(value)
        return packed


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _worktree(files: str | bytes, scratch: str) -> str:
    folder = f"{tempfile.mkdtemp(dir=scratch)}/worktree"
    if isinstance(files, bytes):
        jobfolder.unpack_folder(files, folder)
    else:
        jobfolder.copy_folder(files, folder)
    return folder


def _failed(error: BaseException, outcome: Outcome) -> Outcome:
    """The same, with the traceback of the user's own code, and the exception where it can be packed."""
    where = error.__traceback__
    while where is not None and where.tb_frame.f_code.co_filename == __file__:
        where = where.tb_next
    trace = "".join(traceback.format_exception(type(error), error, where))[-_TRACE:]
    cause = b""
    with contextlib.suppress(Exception):
        cause = pickle.dumps(error)
    return replace(outcome, trace=trace, cause=cause if len(cause) <= _CAUSE else b"")
