"""What crosses to the process of a job and back: an order and an outcome, and why some work cannot cross."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training.executor import Job
from autopilot_runtime.training.fault import EvaluationFailed, Failure
from autopilot_runtime.training.jobscript import main_script


@dataclass(frozen=True, slots=True)
class Order:
    """A job, ready to cross."""

    label: str  # what it is called in messages
    work: bytes  # pickled: function, arguments, keywords
    main: tuple[str, str] | None  # the user's script, when it defines what is needed: ("module" or "path", where)
    folder: str  # the current one of whoever ordered
    files: str | bytes | None  # a folder here, or one that was packed
    timeout_s: float | None
    memory_mb: int | None
    cpu_s: float | None
    most: int  # bytes that the result may have


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: a pickled value, or how it failed."""

    failure: Failure | None = None
    value: bytes = b""
    text: str = ""
    trace: str = ""
    cause: bytes = b""  # the pickled exception, where it can be

    def give(self) -> Any:
        """The value; or raises `EvaluationFailed`."""
        if self.failure is not None:
            raise EvaluationFailed(self.text, kind=self.failure, trace=self.trace) from _cause(self.cause)
        try:
            return pickle.loads(self.value)
        except Exception as error:
            raise EvaluationFailed(f"{self.text} gave what cannot be read here: {error}", kind="result") from error


def label(work: Callable[..., Any]) -> str:
    """How messages call a function."""
    while isinstance(work, functools.partial):
        work = work.func
    return str(getattr(work, "__qualname__", None) or type(work).__qualname__)


def raised(name: str, error: BaseException) -> str:
    """How it is told that a function raised."""
    said = str(error)
    return f"{name}() raised {type(error).__name__}: {said}" if said else f"{name}() raised {type(error).__name__}"


def pack(job: Job, *, dumps: Callable[[Any], bytes] = pickle.dumps) -> bytes:
    """The work as bytes; refuses what cannot cross, with what to change."""
    try:
        return dumps((job.work, job.args, dict(job.kwargs)))
    except Exception as error:
        raise SetupError(f"{label(job.work)}() cannot be sent to another process: {error}. {_advice(job)}") from error


def needs_script(packed: bytes) -> bool:
    """Whether the user's script has to be loaded before these bytes can be read."""
    return b"__main__" in packed and any(arg == "__main__" for _, arg, _ in pickletools.genops(packed))


def script_of(job: Job) -> tuple[str, str]:
    """Where the script is that defines the work."""
    script = main_script()
    if script is None:
        raise SetupError(
            f"{label(job.work)}() is defined in an interactive session, which another process cannot load. "
            "Put it into a module of its own and import it, or use LocalExecutor."
        )
    return script


def order(job: Job, *, most: int, work: bytes | None = None) -> Order:
    """The order of a job. `work`: packed already, by one who needs no script for that."""
    packed = pack(job) if work is None else work
    return Order(
        label=label(job.work),
        work=packed,
        main=script_of(job) if work is None and needs_script(packed) else None,
        folder=str(Path.cwd()),
        files=None if job.files is None else os.path.abspath(job.files),  # noqa: PTH100
        timeout_s=job.timeout_s,
        memory_mb=job.memory_mb,
        cpu_s=job.cpu_s,
        most=most,
    )


def _advice(job: Job) -> str:
    """What to change: the function, or what it is given."""
    with contextlib.suppress(Exception):
        pickle.dumps(job.work)
        return "The function can be, so it is one of its arguments: give plain values, paths or names instead."
    return (
        "Define it at the top level of a module (no lambda, no function within a function, no object that holds a "
        "lock, a connection or an open file), give the rest as arguments; or use LocalExecutor."
    )


def _cause(packed: bytes) -> BaseException | None:
    if packed:
        # A class whose `__init__` wants more than it gave to `Exception` cannot be made again: the text says enough.
        with contextlib.suppress(Exception):
            error = pickle.loads(packed)
            return error if isinstance(error, BaseException) else None
    return None
