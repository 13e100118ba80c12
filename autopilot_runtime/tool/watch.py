"""Notices what others did to the files the agent knows: looked at when a step ends, compared when the next begins."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from autopilot_runtime.block.patch import split_lines
from autopilot_runtime.core.errors import PathRefused, ToolError
from autopilot_runtime.tool.edit import changed
from autopilot_runtime.tool.known import Seen, stamp_of
from autopilot_runtime.tool.visible import visible
from autopilot_runtime.tool.workspace import NoSuchFile, Workspace

MAX_LINES_OF_A_FILE = 30
MAX_LINES = 100
MAX_FILES = 50
_MAX_KEPT = 32 << 20
_MAX_READ = 64 << 20  # bytes that are read in one look; nobody should have to wait for a file that grew to a gigabyte


@dataclass(frozen=True, slots=True)
class Notice:
    """What others did to one file. A content is None where it is not known, or not told any more."""

    path: str
    kind: Literal["modified", "created", "deleted"]
    before: bytes | None = None
    after: bytes | None = None


class Watch:
    """The files of one workspace between two steps: those that the agent read, wrote, or looked for in vain.

    Nothing runs meanwhile. A file costs a look at its stamp; it is read only when that has changed, and a file that
    has other times or rights but the same content has not changed.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._last: dict[str, Seen | None] = {}  # None: there is no file
        self._room = 0
        self._told: list[Notice] = []  # by whoever made the change

    def forget(self) -> None:
        """Another conversation begins: no file is known."""
        self._last, self._told = {}, []

    def settle(self) -> None:
        """A step has ended: whatever was done until now, by tools or commands, was the agent's own doing."""
        self._room = _MAX_READ
        known, last = self._workspace.known, self._last
        now = {real: self._look(real, last.get(real), known.get(real)) for real in dict.fromkeys((*known, *last))}
        for real in known.missed:
            # What the agent looked for and then made itself by a command is not watched.
            if real not in now and not os.path.lexists(real):
                now[real] = None
        self._last = _bounded(now)

    def expect(self, paths: Iterable[str]) -> None:
        """These files were changed on behalf of a person: say so, also of those that are not watched."""
        for path in paths:
            if not os.path.isdir(self._workspace.root / path):  # noqa: PTH112
                there = os.path.lexists(self._workspace.root / path)
                self._told.append(Notice(path, "modified" if there else "deleted"))

    def changes(self) -> list[Notice]:
        """What others changed, deleted or created since the step ended; each told once."""
        found = self._looked_at()
        known = {one.path for one in found}
        told, self._told = [one for one in self._told if one.path not in known], []
        return [*found, *told]

    def _looked_at(self) -> list[Notice]:
        self._room = _MAX_READ
        found: list[Notice] = []
        for real, before in self._last.items():
            after = self._last[real] = self._look(real, before)
            if not _same(before, after):
                found.append(self._notice(real, before, after, brief=len(found) >= MAX_FILES))
        return found

    def _notice(self, real: str, before: Seen | None, after: Seen | None, *, brief: bool) -> Notice:
        shown = real.removeprefix(f"{self._workspace.root}{os.sep}").replace(os.sep, "/")
        if after is None:
            return Notice(shown, "deleted")
        kind: Literal["modified", "created"] = "created" if before is None else "modified"
        if brief:
            return Notice(shown, kind)
        return Notice(shown, kind, before.content if before is not None else None, after.content)

    def _look(self, real: str, *before: Seen | None) -> Seen | None:
        """The file as it is now; read only when it is none of those it was."""
        try:
            info = os.lstat(real)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            return before[0]  # nobody can look there now, so nothing can be said
        stamp = stamp_of(info)
        for one in before:
            if one is not None and one.stamp == stamp and not one.fresh:
                return one
        return self._read(real, info)

    def _read(self, real: str, info: os.stat_result) -> Seen | None:
        unread = Seen(None, stamp_of(info))
        try:
            target = Path(real).stat() if stat.S_ISLNK(info.st_mode) else info
        except OSError:
            return None  # a link that leads nowhere
        if not stat.S_ISREG(target.st_mode):
            return None
        if target.st_size > self._room:
            return unread
        self._room -= target.st_size
        try:
            return self._workspace.peek(real)
        except (PathRefused, NoSuchFile):
            return None  # a link to what is outside, or it has just gone
        except ToolError:
            return unread


def _bounded(files: dict[str, Seen | None]) -> dict[str, Seen | None]:
    """The same with no more contents than may be kept; of the others it is told that they changed, but not where."""
    room = _MAX_KEPT
    for real, entry in files.items():
        if entry is not None and entry.content is not None:
            room -= len(entry.content)
            if room < 0:
                files[real] = replace(entry, content=None)
    return files


def _same(before: Seen | None, after: Seen | None) -> bool:
    if before is None or after is None or before is after:
        return before is after
    if before.digest and after.digest:
        return before.digest == after.digest
    return before.stamp.written == after.stamp.written


def describe(notices: Sequence[Notice]) -> str:
    """The changes for the model, a line or two for each file; "" for none."""
    room = MAX_LINES
    out: list[str] = []
    for notice in notices[:MAX_FILES]:
        name = visible(notice.path, limit=300)
        if notice.kind == "modified":
            told, used = _lines(notice, min(room, MAX_LINES_OF_A_FILE))
            room -= used
            out += [f"Modified: {name}", *([f"Changed lines: {told}"] if told else [])]
        elif notice.kind == "created":
            out.append(f"Created: {name}{_size(notice)}")
        else:
            out.append(f"Deleted: {name}")
    if len(notices) > MAX_FILES:
        out.append(f"... and {len(notices) - MAX_FILES} more files")
    return "\n".join(out)


def _size(notice: Notice) -> str:
    if notice.after is None:
        return ""
    count = len(split_lines(notice.after))
    return f" ({count} line{'' if count == 1 else 's'})"


def _lines(notice: Notice, room: int) -> tuple[str, int]:
    """`1-4, 47`, at most `room` lines of them, and how many those are."""
    if notice.before is None or notice.after is None:
        return "", 0
    if room == 0:
        return "...", 0
    told: list[str] = []
    used = 0
    for first, last in changed(split_lines(notice.before), split_lines(notice.after), around=0):
        end = min(last, first + room - used - 1)
        if end >= first:
            told.append(str(first) if first == end else f"{first}-{end}")
            used += end - first + 1
        if end < last:
            told.append("...")
            break
    return ", ".join(told), used
