"""The append-only file beside a session document: steps of the run in progress, and the lock of its one writer."""

from __future__ import annotations

import os
import sys
import time
import weakref
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import SessionConflict, SessionError
from autopilot_runtime.core.files import sync_folder
from autopilot_runtime.session.record import VERSION, damaged, family, from_json, to_json

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Beyond any content: a Windows lock is mandatory for the bytes it covers, and readers must not be shut out.
_LOCKED_BYTE = 2**31 - 2
_PATIENCE = 0.5


@dataclass(frozen=True, slots=True)
class Steps:
    """What a journal holds. `base` is the revision of the document it continues; `size` its whole lines, in bytes."""

    base: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    started_at: float = 0.0
    updated_at: float = 0.0
    size: int = 0
    session_id: str = ""
    agent_name: str = ""
    parent: str | None = None


def read(path: Path) -> Steps | None:
    """What is in the journal, without a torn last line; None when there is nothing whole in it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse(data, str(path))


def parse(data: bytes, place: str) -> Steps | None:
    """The whole lines of a journal. Only the last may be torn: every line was synced before the next was begun."""
    entries: list[dict[str, Any]] = []
    begin = 0
    while (end := data.find(b"\n", begin)) >= 0:
        entry = _entry(data[begin:end], f"{place} (from byte {begin})")
        if entry is None:
            if data.find(b"\n", end + 1) >= 0:
                raise damaged(place, begin, "the checksum of a line does not match, and whole lines follow it")
            break
        entries.append(entry)
        begin = end + 1
    if not entries:
        return None
    head, steps = entries[0], entries[1:]
    if head.get("version", 0) > VERSION:
        raise SessionError(f"{place}: written by a newer release (journal version {head['version']!r}).")
    messages = [message for step in steps for message in step.get("messages", [])]
    extra: dict[str, Any] = {}
    for step in steps:
        extra.update(step.get("extra", {}))
    last = steps[-1] if steps else head
    return Steps(
        base=str(head.get("base", "")),
        messages=messages,
        extra=extra,
        started_at=float(head.get("at", 0)),
        updated_at=float(last.get("at", 0)),
        size=begin,
        session_id=str(head.get("session_id", "")),
        agent_name=str(head.get("agent_name", "")),
        parent=family(head.get("parent")).get("parent"),
    )


def _entry(line: bytes, place: str) -> dict[str, Any] | None:
    if line[8:9] != b" " or line[:8] != b"%08x" % zlib.crc32(line[9:]):
        return None
    value = from_json(line[9:], place)
    return value if isinstance(value, dict) else None


def line(value: dict[str, Any]) -> bytes:
    """One journal line: checksum, JSON, newline (JSON holds none itself)."""
    body = to_json(value, what="step")
    return b"%08x %b\n" % (zlib.crc32(body), body)


class Journal:
    """An open journal: while this exists, nobody else writes to the session."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = _open_locked(path)
        self._close = weakref.finalize(self, _let_go, self._fd, os.getpid())
        self.size = os.fstat(self._fd).st_size
        self._named = False

    def cut(self, size: int) -> None:
        """Drop what lies behind the last whole line."""
        if self.size != size:
            os.ftruncate(self._fd, size)
            self.size = size

    def add(self, *entries: dict[str, Any], durable: bool = True) -> None:
        """Append lines; they are on disk when this returns. On an error the journal is as it was before.

        With `durable=False` they are in the system's hands: they outlive this process, not a power cut.
        """
        data = b"".join(line(entry) for entry in entries)
        try:
            os.lseek(self._fd, self.size, os.SEEK_SET)
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            if durable:
                os.fsync(self._fd)
            if durable and not self._named:
                sync_folder(self.path.parent)
                self._named = True
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        self.size += len(data)

    def remove(self) -> None:
        """Delete the file and let go of the lock."""
        if sys.platform == "win32":  # an open file cannot be deleted there
            os.ftruncate(self._fd, 0)
            self.release()
        self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let go of the lock; what is written stays. A journal without a line leaves no file."""
        if not self._close.alive:
            return
        if self.size == 0 and sys.platform != "win32":
            self.path.unlink(missing_ok=True)
        self._close()


def _open_locked(path: Path) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            _lock(fd, path)
            if _is_still(path, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its writer removed it between our open and our lock


def _lock(fd: int, path: Path) -> None:
    """Lock it, or say who has it. A process that is killed may leave a child for a moment, and with it the lock."""
    until = time.monotonic() + _PATIENCE
    while not _is_locked(fd):
        if time.monotonic() > until:
            raise SessionConflict(
                f"Somebody else is writing to this session ({path} is locked). Nothing was written. "
                "Wait until the other run ends, or use another session_id."
            )
        time.sleep(0.02)


def _is_locked(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_still(path: Path, fd: int) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(fd)
    return (named.st_ino, named.st_dev) == (held.st_ino, held.st_dev)


def _let_go(fd: int, owner: int) -> None:
    # A forked child shares the lock: it must not open it, and its copy must not keep it closed.
    if sys.platform != "win32" and os.getpid() == owner:
        fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)
