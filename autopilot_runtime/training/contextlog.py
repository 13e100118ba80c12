"""The journal of an experiment: every decision with its reason and its source. It is only ever added to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autopilot_runtime.training.record import Record
from autopilot_runtime.training.recordrows import ContextEntry

__all__ = ["ContextEntry", "ContextLog"]


class ContextLog:
    """The journal of one experiment in a record."""

    def __init__(self, record: Record, experiment: str) -> None:
        self._record = record
        self.experiment = experiment

    def append(
        self,
        entry: ContextEntry | str,
        source: str = "user",
        *,
        decision: str = "",
        epoch: int | None = None,
        commit: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> ContextEntry:
        """Add a line; gives it with its time."""
        if not isinstance(entry, ContextEntry):
            entry = ContextEntry(source, entry, decision, epoch, commit, data=dict(data or {}))
        return self._record.add_context(self.experiment, entry)

    add = append

    def entries(
        self, *, source: str | None = None, contains: str | None = None, limit: int | None = None
    ) -> list[ContextEntry]:
        """The lines in order: of one source, with a text in them, or only the newest."""
        return self._record.context(self.experiment, source=source, contains=contains, limit=limit)

    def to_dicts(self) -> list[dict[str, Any]]:
        """All lines, ready for JSON."""
        return [entry.to_dict() for entry in self.entries()]

    def __iter__(self) -> Iterator[ContextEntry]:
        return iter(self.entries())

    def __len__(self) -> int:
        return len(self.entries())
