"""Writes how a run goes as TensorBoard reads it."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopilot_runtime.core.errors import MissingExtra
from autopilot_runtime.core.ids import new_id
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.logger import Key, Logger, as_json, entry_fields, fitting

if TYPE_CHECKING:
    from autopilot_runtime.training.contextlog import ContextEntry

_REFUSED, _LONGEST = re.compile(r"[^-/\w.]"), 300
_HEAD = struct.Struct("<QI")  # length of what follows, and its checksum; a checksum is also behind it


class TensorBoardLogger(Logger):
    """Metrics as `val/accuracy` by epoch, settings and the journal as texts.

    Into a folder, or through a writer (of tensorboardX or torch) that the user has open; that one is never closed.
    """

    name = "TensorBoard"

    def __init__(self, log_dir: str | os.PathLike[str] | None = None, *, writer: Any = None) -> None:
        if log_dir is None and writer is None:
            raise TrainingError("TensorBoardLogger takes the folder to write to, or writer=<a SummaryWriter>")
        self._library = _library() if writer is None else None
        # tensorboardX and torch do not agree on the name.
        self.log_dir = Path(log_dir or getattr(writer, "logdir", None) or writer.log_dir)
        self._writer: Any = writer
        self._owned = writer is None
        self._entries = 0
        self._logged: set[Key] = set()  # some of it is not in a file yet: flush() does not wait

    def log_params(self, params: Mapping[str, Any]) -> None:
        self._open().add_text("params", f"```json\n{as_json(dict(params))}\n```", 0)

    def log_metrics(self, metrics: Mapping[str, float], *, step: int, phase: str = "") -> None:
        prefix = f"{phase}/" if phase else ""
        for key, value in metrics.items():
            self._open().add_scalar(fitting(prefix + key, _REFUSED, _LONGEST), float(value), step)
        self._open().flush()
        self._logged.add((phase, step))

    def log_context(self, entry: ContextEntry) -> None:
        self._entries += 1
        self._open().add_text("journal", as_json(entry_fields(entry)), self._entries)

    def finish(self, status: str) -> None:
        self._open().add_text("status", status, 0)
        self._open().flush()
        if self._owned:
            self._writer.close()
            self._writer = None

    def have(self) -> Collection[Key]:
        found = {(tag.partition("/")[0], step) for tag, step, _ in scalars_in(self.log_dir) if "/" in tag}
        return found | self._logged

    def _open(self) -> Any:
        if self._writer is None:
            assert self._library is not None
            # Two that are opened in the same second would have the same name, and the second take the first's place.
            self._writer = self._library.SummaryWriter(str(self.log_dir), filename_suffix=f".{new_id('tb')}")
        return self._writer


def scalars_in(folder: str | os.PathLike[str]) -> list[tuple[str, int, float]]:
    """(tag, step, value) of all numbers in the event files of a folder, file by file."""
    _library()
    written = import_module("tensorboardX.proto.event_pb2").Event
    found: list[tuple[str, int, float]] = []
    for path in sorted(Path(folder).glob("*tfevents*")):
        for data in _records(path.read_bytes()):
            event = written.FromString(data)
            found += [
                (value.tag, event.step, value.simple_value)
                for value in event.summary.value
                if value.HasField("simple_value")
            ]
    return found


def _records(data: bytes) -> Iterator[bytes]:
    """The records of an event file; one that is cut off ends it."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, _ = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + length + 4 > len(data):
            return
        yield data[at : at + length]
        at += length + 4


def _library() -> Any:
    try:
        return import_module("tensorboardX")  # optional, and slow to load
    except ImportError as error:
        raise MissingExtra("TensorBoardLogger", "tensorboardX", "tensorboard") from error
