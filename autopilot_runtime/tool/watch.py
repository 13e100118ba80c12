"""Notices what others did to the files the agent knows: looked at when a step ends, compared when the next begins."""

from __future__ import annotations

import os
from collections.abc import Sequence

from autopilot_runtime.block.patch import split_lines
from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.tool.edit import changed
from autopilot_runtime.tool.known import Seen, stamp_of
from autopilot_runtime.tool.visible import visible
from autopilot_runtime.tool.workspace import Change, Workspace

MAX_LINES_OF_A_FILE = 30
MAX_LINES = 100
MAX_FILES = 50


class Watch:
    """The files of one workspace between two steps. Nothing runs meanwhile; a touched file is not a changed one."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._settled: dict[str, Seen | None] = {}

    def settle(self) -> None:
        """A step has ended: whatever was done until now, by tools or commands, was the agent's own doing."""
        gone: dict[str, Seen | None] = {real: None for real, entry in self._settled.items() if entry is None}
        known = {real: self._look(real, entry) for real in self._workspace.known if (entry := self._known(real))}
        self._settled = gone | known

    def changes(self) -> list[Change]:
        """What others changed, deleted or brought back since the step ended; each told once."""
        found = []
        for real, before in self._settled.items():
            after = self._look(real, before)
            if _same(before, after):
                continue
            self._settled[real] = after
            shown = real.removeprefix(f"{self._workspace.root}{os.sep}").replace(os.sep, "/")
            found.append(Change(shown, _content(before), _content(after)))
        return found

    def _known(self, real: str) -> Seen | None:
        return self._workspace.known.get(real)

    def _look(self, real: str, before: Seen | None) -> Seen | None:
        """The file as it is now; read only when it may have changed."""
        try:
            info = os.lstat(real)
        except OSError:
            return None
        if before is not None and not before.fresh and stamp_of(info) == before.stamp:
            return before
        try:
            return self._workspace.peek(real)
        except ToolError:
            return None  # no ordinary file any more


def _content(entry: Seen | None) -> bytes | None:
    return None if entry is None else entry.content or b""


def _same(before: Seen | None, after: Seen | None) -> bool:
    if before is None or after is None:
        return before is after
    return before.digest == after.digest if before.digest and after.digest else before.stamp == after.stamp


def describe(changes: Sequence[Change]) -> str:
    """The changes for the model, a line or two for each file; "" for none."""
    room = MAX_LINES
    out: list[str] = []
    for change in changes[:MAX_FILES]:
        name = visible(change.path, limit=300)
        if change.kind == "modified":
            told, used = _lines(change, min(room, MAX_LINES_OF_A_FILE))
            room -= used
            out += [f"Modified: {name}", *([f"Changed lines: {told}"] if told else [])]
        elif change.kind == "created":
            count = len(split_lines(change.after or b""))
            size = f" ({count} line{'' if count == 1 else 's'})" if count else ""
            out.append(f"Created: {name}{size}")
        else:
            out.append(f"Deleted: {name}")
    if len(changes) > MAX_FILES:
        out.append(f"... and {len(changes) - MAX_FILES} more files")
    return "\n".join(out)


def _lines(change: Change, room: int) -> tuple[str, int]:
    """`1-4, 47`, at most `room` lines of them, and how many those are."""
    if not change.before or not change.after:
        return "", 0
    new = split_lines(change.after)
    told: list[str] = []
    used = 0
    for first, last in changed(split_lines(change.before), new, around=0):
        if used >= room:
            told.append("...")
            break
        end = min(last, first + room - used - 1)
        used += end - first + 1
        told.append(str(first) if first == end else f"{first}-{end}")
    return ", ".join(told), used
