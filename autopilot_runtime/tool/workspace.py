"""All file access of tools: inside the workspace, ordinary files only, and never over somebody else's work."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import IO

from autopilot_runtime.block.diff import unified_diff
from autopilot_runtime.block.patch import shown_line, split_lines
from autopilot_runtime.core.errors import EditConflict, PathRefused, ToolError
from autopilot_runtime.tool.edit import Edits, maker, summary, told
from autopilot_runtime.tool.folder import Folder, open_folder
from autopilot_runtime.tool.known import Known, Seen, seen
from autopilot_runtime.tool.listing import folder_hint, missing_hint
from autopilot_runtime.tool.place import Place, check_names, folded, locate
from autopilot_runtime.tool.protect import protection
from autopilot_runtime.tool.quota import Mode, StepQuota
from autopilot_runtime.tool.scan import CHUNK, KEPT_WHOLE, digest_of, scan, utf16_name
from autopilot_runtime.tool.swap import explained, free_bytes, open_regular, replace, sweep
from autopilot_runtime.tool.window import Window, check_range, window

# Edits hold a file in memory a few times over.
MAX_WHOLE_BYTES = 64 << 20
MAX_READ_BYTES = 4 << 20
_CONFLICT_LINES = 120


@dataclass(frozen=True, slots=True)
class Change:
    """One file that was written. `before` is None for a new file, `after` for a deleted one."""

    path: str
    before: bytes | None
    after: bytes | None

    @property
    def kind(self) -> str:
        """`created`, `modified` or `deleted`."""
        return "created" if self.before is None else "deleted" if self.after is None else "modified"

    @property
    def diff(self) -> str:
        """A unified diff, bounded."""
        return unified_diff(self.before or b"", self.after or b"", self.path)

    @property
    def summary(self) -> str:
        """`wrote a.py (12 lines)`."""
        return summary(self.path, self.before, self.after)

    @property
    def told(self) -> str:
        """The same, with the changed lines as they are numbered now."""
        return self.summary if not self.before or self.after is None else told(self.path, self.before, self.after)


@dataclass(frozen=True, slots=True)
class Draft:
    """A write that was prepared and not yet made: exactly these bytes in the place of exactly those."""

    place: Place
    mode: Mode
    before: bytes | None
    after: bytes
    info: os.stat_result | None

    @property
    def change(self) -> Change:
        """What committing it will change."""
        return Change(self.place.shown, self.before, self.after)

    def record(self) -> dict[str, str | None]:
        """What `Workspace.was_made` needs to see afterwards whether it was made. Plain JSON."""
        change, place = self.change, self.place
        outside = os.path.isabs(place.shown)  # noqa: PTH117
        return {
            # Within the workspace, as it may be at another place by then.
            "path": place.real if outside else os.path.join(*place.folders, place.name),  # noqa: PTH118
            "shown": self.place.shown,
            "before": None if self.before is None else digest_of(self.before).hex(),
            "after": digest_of(self.after).hex(),
            "summary": change.summary,
            "told": change.summary if self.mode in ("w", "a") else change.told,
        }


class NoSuchFile(ToolError, FileNotFoundError):
    """There is nothing at a path. Code that expects a `FileNotFoundError` gets one."""


class Workspace:
    """The folder an agent works in. `protected` are files that no tool may write: the agent's own."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        unsafe: bool = False,
        protected: Iterable[str | os.PathLike[str]] = (),
        on_change: Callable[[Change], None] | None = None,
    ) -> None:
        self.root = Path(os.path.realpath(root))
        self.unsafe = unsafe
        self.known = Known()
        self.quota = StepQuota()
        self.changes: list[Change] = []
        # Called when a write is on the disk but for its name; what it raises stops the write.
        self.on_change = on_change
        # Called before that, with the folders that were made for it: what was there can be kept.
        self.before_write: Callable[[Draft, Sequence[str]], None] | None = None
        self._made: list[str] = []
        self._refused = {folded(os.path.realpath(path)) for path in protected}
        self._lock = threading.RLock()

    def begin_step(self) -> None:
        """A new step: the limits on writes start again."""
        self.quota.begin_step()

    def forget(self) -> None:
        """Know nothing of any file any more (the conversation that knew was reset)."""
        self.known = Known()

    def drain(self) -> list[Change]:
        """The changes since the last call, oldest first."""
        with self._lock:
            done, self.changes = self.changes, []
        return done

    # ------------------------------------------------------------ paths

    def locate(self, path: str) -> Place:
        """Where `path` really leads; `PathRefused` when that is outside."""
        place = locate(str(self.root), path, unsafe=self.unsafe)
        known = self.known.alias(place.real)
        return place if known == place.real else locate(str(self.root), known, unsafe=self.unsafe)

    def identity(self, path: str) -> str:
        """One spelling for every spelling of the same file: relative to the workspace, with `/`."""
        return self.locate(path).shown

    def spellings(self, path: str) -> tuple[str, ...]:
        """The identity, and the path as it was given when that goes through a link: rules know either."""
        identity = self.identity(path)
        given = os.path.normpath(os.path.join(self.root, path))  # noqa: PTH118
        inside = given.removeprefix(str(self.root) + os.sep).replace(os.sep, "/")
        return (identity,) if inside in (given, identity) else (identity, inside)

    def is_same(self, path: str, other: str) -> bool:
        """Whether two paths mean one file."""
        try:
            return self.locate(path).real == self.locate(other).real
        except PathRefused:
            return False

    def protection(self, path: str) -> str:
        """Why a person must be asked before this file is written, whatever the rules say; "" when nobody must."""
        return next(filter(None, (protection(one.split("/")) for one in self.spellings(path))), "")

    def _check_writable(self, place: Place, given: str) -> None:
        check_names(place, given)
        names = [place.real, *map(str, Path(place.real).parents)]
        if not self._refused.isdisjoint(map(folded, names)):
            raise PathRefused(f"{place.shown} belongs to the agent's own configuration; only a person changes it.")

    # ------------------------------------------------------------ reading

    def read(self, path: str, start: int = 1, end: int | None = None, *, limit: int = MAX_READ_BYTES) -> Window:
        """Lines `start` to `end` of a file of any size. The file counts as read from now on."""
        check_range(start, end)
        place = self.locate(path)
        with self._opened(place) as file:
            info = os.fstat(file.fileno())
            found = scan(file, start=start, end=end, limit=limit)
        codec = utf16_name(found.head)
        if codec is not None:
            text = self.read_bytes(path).decode(codec, "backslashreplace").encode("utf-8", "backslashreplace")
            wide = window(place.shown, scan(io.BytesIO(text), start=start, end=end, limit=limit), start)
            return replaced(wide, note=f"{codec.upper()}; it cannot be edited by lines")
        self.known.set(place.real, seen(info, found.digest, found.whole))
        return window(place.shown, found, start)

    def read_bytes(self, path: str, *, limit: int = MAX_WHOLE_BYTES) -> bytes:
        """The whole content of a file. It counts as read from now on."""
        place = self.locate(path)
        with self._opened(place) as file:
            info = os.fstat(file.fileno())
            data = _whole(file, place.shown, limit)
        self.known.set(place.real, _entry(info, data))
        return data

    def peek(self, path: str) -> Seen:
        """A file as it is now, without counting as read."""
        place = self.locate(path)
        with self._opened(place) as file:
            found = scan(file, limit=0)
            return seen(os.fstat(file.fileno()), found.digest, found.whole)

    def was_made(self, record: Mapping[str, str | None]) -> bool | None:
        """Whether a write of which nobody knows how it ended was made; None when the file shows neither."""
        path = str(record["path"])
        try:
            place = self.locate(path)
            with contextlib.suppress(FileNotFoundError), self._folder(place) as folder:
                sweep(folder, place.name)
            digest = self.peek(path).digest
        except NoSuchFile:
            digest = None
        except (ToolError, OSError):
            return None
        now = digest.hex() if digest else None
        return True if now == record["after"] else False if now == record["before"] else None

    def _load(self, place: Place) -> tuple[bytes | None, os.stat_result | None]:
        try:
            with self._opened(place) as file:
                return _whole(file, place.shown, MAX_WHOLE_BYTES), os.fstat(file.fileno())
        except NoSuchFile:
            return None, None

    @contextlib.contextmanager
    def _opened(self, place: Place) -> Iterator[IO[bytes]]:
        """An ordinary file to read from; every error is one the model can use."""
        try:
            with self._folder(place) as folder:
                info = folder.stat(place.name)
                if info is not None and stat.S_ISDIR(info.st_mode):
                    raise PathRefused(folder_hint(place.real, place.shown))
                with os.fdopen(open_regular(folder, place.name, place.shown), "rb", buffering=0) as file:
                    yield file
        except FileNotFoundError:
            self.known.miss(place.real)
            raise NoSuchFile(missing_hint(str(self.root), place.real, place.shown)) from None
        except OSError as error:
            raise explained(error, place.shown, "read") from error

    def _folder(self, place: Place, *, create: bool = False) -> Folder:
        if not place.name:
            raise PathRefused(folder_hint(place.real, place.shown))
        return open_folder(place.anchor, place.folders, create=create)

    # ------------------------------------------------------------ writing

    def draft(
        self, path: str, mode: Mode = "w", contents: Sequence[str] = (), *, edits: Edits = (), after_line: int = 0
    ) -> Draft:
        """Prepare a write: one content, or one for each range of `edits`. Changes nothing until `commit`."""
        place = self.locate(path)
        self._check_writable(place, path)
        self.quota.check(place.real, mode, place.shown)
        make = maker(mode, contents, edits, after_line)
        before, info = self._load(place)
        self._check_fresh(place, mode, before, info, edits)
        if before is None and mode not in ("w", "a"):
            raise ToolError(missing_hint(str(self.root), place.real, place.shown) + " Mode 'w' makes a new file.")
        after = make(before)
        if len(after) > MAX_WHOLE_BYTES:
            raise ToolError(f"{place.shown} would have {len(after):,} bytes; the limit is {MAX_WHOLE_BYTES:,}.")
        return Draft(place, mode, before, after, info)

    def commit(self, draft: Draft) -> Change:
        """Make a prepared write. If the file is not what it was when it was prepared: `EditConflict`, no change."""
        place, change = draft.place, draft.change
        with self._lock:
            self.quota.check(place.real, draft.mode, place.shown)
            if place.anchor == str(self.root):
                self.root.mkdir(parents=True, exist_ok=True)
            self._made += _missing_folders(place)
            try:
                with self._folder(place, create=True) as folder:
                    info = self._replace(folder, draft, change)
            except OSError as error:
                raise explained(error, place.shown, "write", free=free_bytes(place.anchor)) from error
            self.quota.count(place.real, draft.mode)
            self.known.set(place.real, _entry(info, draft.after))
            if draft.before != draft.after:  # else nothing is different now
                self.changes.append(change)
        return change

    def _replace(self, folder: Folder, draft: Draft, change: Change) -> os.stat_result:
        place = draft.place
        if draft.info is not None and folder.stat(place.name) is not None and not folder.writable(place.name):
            raise ToolError(
                f"Cannot write {place.shown}: it is read-only (mode {draft.info.st_mode & 0o7777:04o}). "
                "If it should be written, change its mode first."
            )

        def ready() -> None:
            if self.before_write is not None:
                self.before_write(draft, self._made)
            self._made = []
            if self.on_change is not None:
                self.on_change(change)

        return replace(
            folder,
            place.name,
            draft.after,
            old=draft.info,
            digest=None if draft.before is None else digest_of(draft.before),
            shown=place.shown,
            ready=ready,
        )

    def _check_fresh(
        self,
        place: Place,
        mode: Mode,
        before: bytes | None,
        info: os.stat_result | None,
        edits: Edits,
    ) -> None:
        """Whether the agent's picture of the file is the file. What was never read cannot be out of date."""
        entry = self.known.get(place.real)
        if entry is None or mode == "a":
            return
        if before is None or info is None:
            self.known.forget(place.real)
            if mode == "w":
                return
            raise EditConflict(
                f"{place.shown} was deleted since you last read or wrote it. Nothing was written. "
                "If it should exist again, write it whole with mode 'w'."
            )
        if entry.digest is not None and entry.digest != digest_of(before):
            raise EditConflict(self._conflict(place, entry, before, info, edits))

    def _conflict(self, place: Place, entry: Seen, now: bytes, info: os.stat_result, edits: Edits) -> str:
        text = f"{place.shown} was changed by somebody else since you last read or wrote it. Nothing was written."
        diff = ""
        if entry.content is not None:
            diff = unified_diff(entry.content, now, place.shown, max_lines=_CONFLICT_LINES)
        for start, end in edits[:3]:
            text += f"\nLines {start}-{end} are now:\n{_numbered(now, start, end)}"
        if not diff or diff.count("\n") > _CONFLICT_LINES:
            return f"{text}\nRead it again before you change it.\n{diff}".rstrip()
        # The whole difference is in the message, so from here on the agent knows the file as it is.
        self.known.set(place.real, _entry(info, now))
        return f"{text}\nWhat changed:\n{diff}Keep that change: repeat the call with the line numbers of now."


def _missing_folders(place: Place) -> list[str]:
    """The folders of a place that are not there yet, outermost first."""
    missing: list[str] = []
    above = os.path.dirname(place.real)  # noqa: PTH120
    while len(above) > len(place.anchor) and not os.path.lexists(above):
        missing.insert(0, above)
        above = os.path.dirname(above)  # noqa: PTH120
    return missing


def _whole(file: IO[bytes], shown: str, limit: int) -> bytes:
    size = os.fstat(file.fileno()).st_size
    if size > limit:
        raise ToolError(
            f"{shown} has {size:,} bytes; file tools take whole files up to {limit:,}. "
            "Read a window of it, or change it with a command."
        )
    data = bytearray()
    # A raw file may give less than it was asked for, and one that grows meanwhile more than it said.
    while len(data) <= limit and (chunk := file.read(CHUNK)):
        data += chunk
    return bytes(data)


def _entry(info: os.stat_result, data: bytes) -> Seen:
    return seen(info, digest_of(data), data if len(data) <= KEPT_WHOLE else None)


def _numbered(data: bytes, start: int, end: int) -> str:
    lines = split_lines(data)
    first, last = max(1, start - 3), min(len(lines), end + 3, start + 40)
    return "\n".join(f"{n:>5} | {shown_line(lines[n - 1])}" for n in range(first, last + 1)) or "(no such lines)"
