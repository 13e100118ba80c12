"""The file of a record comes into being whole: so one that is empty has lost what it held, and is not begun anew."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.core.files import sync_folder
from autopilot_runtime.store.objects import Store
from autopilot_runtime.training.recordschema import prepare

_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def open_store(path: str | os.PathLike[str], *, durable: bool, clock: Callable[[], float] = time.time) -> Store:
    """The store in this file with the tables of a record, made where it is not there."""
    file = Path(path)
    if not file.exists():
        _make(file)
    elif file.is_file() and file.stat().st_size == 0:
        raise StoreError(
            f"The record {file} is empty, and ours never are: what it held was lost. Put a copy of it back, or "
            "remove the file to begin a new one."
        )
    try:
        store = Store(file, durable=durable, clock=clock)
    except StoreError as error:
        if getattr(error.__cause__, "sqlite_errorname", "") in _DAMAGED:
            raise StoreError(f"{error} What can be read of it: training.salvage({str(file)!r}, to).") from error
        raise
    try:
        prepare(store)
    except BaseException:
        store.close()
        raise
    return store


def _make(file: Path) -> None:
    """Make it beside its place and give it its name; when another process was quicker, that one's stands."""
    temp = file.with_name(f".{file.name[:80]}.{os.getpid()}.{os.urandom(4).hex()}.new")
    try:
        with Store(temp) as store:
            prepare(store)
        # Where there are no second names, or somebody was quicker, it is made or found in its place.
        with contextlib.suppress(OSError):
            os.link(temp, file)
            sync_folder(file.parent)
    finally:
        for ending in ("", "-wal", "-shm"):
            Path(f"{temp}{ending}").unlink(missing_ok=True)
