"""Sessions as files: one JSON document per session, and a journal that makes each step durable at once."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import SessionConflict, SessionError
from autopilot_runtime.core.files import write_atomic
from autopilot_runtime.core.ids import new_id
from autopilot_runtime.session import journal as journals
from autopilot_runtime.session.fork import already, cut, foreign, fork_id, kept, nested_id
from autopilot_runtime.session.journal import Journal
from autopilot_runtime.session.name import file_stem, old_file_name
from autopilot_runtime.session.record import VERSION, Record, as_messages, copied, encode, family, merged, update
from autopilot_runtime.session.stored import Mark, document, joined, listed, mark_of, metadata

_LONG = 4_000_000  # bytes of a document that is not written anew after every run
_SHARE = 8  # but when the journal is an eighth of it


class FileSession:
    """The session `session_id` in a folder (default `~/.autopilot/sessions`). Reading never locks; one writes.

    The lock is taken by the first `append` (or `acquire`) and let go by `save`, `reset` or `close`. Who writes
    after somebody else did, without having loaded that, gets a `SessionConflict`.
    """

    blocking = True

    def __init__(
        self,
        session_id: str,
        agent_name: str,
        session_dir: Path | str | None = None,
        *,
        clock: Callable[[], float] = time.time,
        parent: str | None = None,
    ) -> None:
        self.session_id = session_id
        self.agent_name = agent_name
        self.parent = parent
        self.folder = Path(session_dir).expanduser() if session_dir is not None else default_folder()
        stem = file_stem(session_id)
        self.path = self.folder / f"{stem}.json"
        self.journal_path = self.folder / f"{stem}.journal"
        self._clock = clock
        self._guard = threading.RLock()
        self._journal: Journal | None = None
        self._known: Record | None = None  # what was loaded, without its messages
        self._mark: Mark = None
        self._steps_size = 0
        self._source = self.path

    @property
    def places(self) -> tuple[Path, ...]:
        """The files and folders that are this session's own, wherever they are."""
        return self.folder, self.path, self.journal_path, self._backup(), self._source

    # ------------------------------------------------------------ reading

    def load(self) -> list[dict[str, Any]]:
        """The messages: the document's, then those of a run that did not end."""
        with self._guard, _told(self.path):
            return self._read().messages

    def extra(self) -> dict[str, Any]:
        """The runtime's own state, as a copy."""
        with self._guard, _told(self.path):
            extra: dict[str, Any] = copied((self._known or self._read()).extra)
            return extra

    def exists(self) -> bool:
        """Whether anything of this session is on disk."""
        with _told(self.path):
            return self._place().exists() or journals.read(self.journal_path) is not None

    def metadata(self) -> dict[str, Any] | None:
        """Everything but messages and extra state, with the number of messages; None when there is no session."""
        with _told(self.path):
            steps = journals.read(self.journal_path)
            return metadata(self._place(), steps) if steps or self._place().exists() else None

    def list_sessions(self, *, nested: bool = False) -> list[dict[str, Any]]:
        """The metadata of every session in the folder, newest first; a damaged one carries an `error`.

        With `nested` also those of sub-agents, which name their `parent`.
        """
        found = [one for one in self._listed() if nested or "parent" not in one]
        return sorted(found, key=lambda one: (-one["updated_at"], one["session_id"]))

    def _listed(self, mark: str = "") -> list[dict[str, Any]]:
        with _told(self.folder):
            if not self.folder.is_dir():
                return []
            files = [path for path in self.folder.iterdir() if path.suffix in (".json", ".journal")]
        stems = {path.with_suffix("") for path in files if mark in path.name}
        return [one for stem in stems if (one := listed(stem)) is not None]

    def _read(self) -> Record:
        # The journal first: should its writer fold it meanwhile, the document read next has it all.
        steps = journals.read(self.journal_path)
        self._source = self._place()
        stored, self._mark = document(self._source)
        whole = joined(stored, steps, self.journal_path)
        self._steps_size = (
            steps.size if steps is not None and steps.base == (stored.revision if stored else "") else 0
        )
        if whole is None:
            whole = Record(self.session_id, self.agent_name, 0.0, 0.0, parent=self.parent)
        if self.parent is not None and whole.parent != self.parent:
            raise foreign(self.session_id, self.parent)
        self._known = replace(whole, messages=[])
        return whole

    def _place(self) -> Path:
        """The document's path; that of an older writer while only that one is there."""
        old = old_file_name(self.session_id)
        if old is None or self.path.exists() or not (self.folder / old).is_file():
            return self.path
        record, _ = document(self.folder / old)
        return self.folder / old if record is not None and record.session_id == self.session_id else self.path

    # ------------------------------------------------------------ writing

    def acquire(self) -> None:
        """Become the one writer, or raise `SessionConflict`. `append` and `save` do it when it was not done."""
        with self._guard, _told(self.path):
            if self._journal is not None:
                return
            if self._known is None:
                self._read()
            make_folder(self.folder)
            journal = Journal(self.journal_path)
            try:
                if journal.size:
                    self._sweep()
                self._agree(journal)
            except BaseException:
                journal.release()
                raise
            self._journal = journal

    def _agree(self, journal: Journal) -> None:
        mark, steps = mark_of(self._source), journals.read(self.journal_path)
        stale = steps is not None and self._known is not None and steps.base != self._known.revision
        size = 0 if steps is None or stale else steps.size
        if mark != self._mark or size != self._steps_size or (self._source != self.path and self.path.exists()):
            raise SessionConflict(
                f"Session {self.session_id[:80]!r} was written by somebody else since it was loaded "
                f"({self._source}). Nothing was overwritten; load it again."
            )
        journal.cut(size)

    def _sweep(self) -> None:
        """Remove what a writer that was killed in the middle of a save left beside the document."""
        for left in self.folder.glob(f".{self.path.name[:80]}.*.tmp"):
            left.unlink(missing_ok=True)

    def append(
        self, messages: Sequence[Mapping[str, Any]], *, extra: Mapping[str, Any] | None = None, durable: bool = True
    ) -> None:
        """Add what one step produced; it is on disk when this returns. Keys of `extra` replace, a None removes."""
        with self._guard, _told(self.journal_path):
            self.acquire()
            assert self._journal is not None and self._known is not None
            now = self._clock()
            entries: list[dict[str, Any]] = [{"at": now, "messages": as_messages(messages)}]
            if extra:
                entries[0]["extra"] = dict(extra)
            if self._journal.size == 0:
                head = {"version": VERSION, "session_id": self.session_id, "agent_name": self.agent_name}
                head |= family(self._known.parent)
                entries.insert(0, {**head, "base": self._known.revision, "at": now})
            self._journal.add(*entries, durable=durable)
            self._steps_size = self._journal.size
            # In place, so that a step costs what is new, however much there is already.
            update(self._known.extra, extra)
            self._known = replace(self._known, created_at=self._known.created_at or now, updated_at=now)

    def save(self, messages: list[dict[str, Any]], *, extra: Mapping[str, Any] | None = None) -> None:
        """Write the whole document, fold the journal into it, and stop being the writer."""
        with self._guard, _told(self.path):
            self.acquire()
            assert self._journal is not None and self._known is not None
            now = self._clock()
            known = self._known
            record = replace(
                known,
                session_id=self.session_id,
                agent_name=self.agent_name,
                created_at=known.created_at or now,
                updated_at=now,
                messages=as_messages(messages),
                extra=merged(known.extra, copied(dict(extra or {}))),
                revision=new_id("r"),
                previous=known.revision,
                version=VERSION,
            )
            data = encode(record)
            self._keep_older(known)
            write_atomic(self.path, data)
            if self._source != self.path:
                self._source.unlink()
            self._source, self._mark, self._steps_size = self.path, mark_of(self.path), 0
            self._known = replace(record, messages=[])
            self._journal.remove()
            self._journal = None

    def finish(self, *, extra: Mapping[str, Any] | None = None, messages: Callable[[], list[dict[str, Any]]]) -> None:
        """In place of `save`, when all of `messages` was appended. Stops being the writer.

        A long document is not written anew for a few new lines: they stay in the journal until there are more.
        """
        with self._guard, _told(self.path):
            self.acquire()
            assert self._journal is not None
            written = self._mark[2] if self._mark is not None else 0
            if written < _LONG or self._journal.size * _SHARE >= written:
                self.save(messages(), extra=extra)
                return
            self.append([], extra=extra)
            self.close()

    def _keep_older(self, known: Record) -> None:
        if self._mark is not None and known.version < VERSION:
            write_atomic(self._backup(), self._source.read_bytes())

    def _backup(self) -> Path:
        return self.path.with_name(f"{self.path.name}.v0.bak")

    def reset(self) -> None:
        """Delete the session and those nested in it. Somebody reading meanwhile sees it whole or not at all."""
        with self._guard, _told(self.path):
            if self._journal is None and self._known is None and not self.folder.is_dir():
                return
            make_folder(self.folder)
            journal = self._journal or Journal(self.journal_path)
            try:
                # An id with a `/` is never plain, so the names of nested ones all hold this mark.
                for one in self._listed("~"):
                    if one.get("parent") == self.session_id:
                        self._another(one["session_id"], parent=self.session_id).reset()
            except BaseException:
                if journal is not self._journal:
                    journal.release()
                raise
            journal.cut(0)
            for path in (self.path, self._place(), self._backup()):
                path.unlink(missing_ok=True)
            journal.remove()
            self._journal, self._known, self._mark, self._steps_size = None, None, None, 0

    def fork(self, at: int | None = None, session_id: str | None = None) -> FileSession:
        """A new, independent session with the first `at` messages (default: all)."""
        made = self._another(fork_id(self.session_id, session_id))
        whole = self._another(self.session_id)._read()
        made.agent_name = whole.agent_name or self.agent_name
        kept_messages = whole.messages[: cut(len(whole.messages), at)]
        made.acquire()
        try:
            if made.exists():
                raise already(made.session_id)
            made.save(kept_messages, extra=kept(whole.extra))
        finally:
            made.close()
        return made

    def nested(self, name: str) -> FileSession:
        """A session of its own that belongs to this one and goes with it."""
        return self._another(nested_id(self.session_id, name), parent=self.session_id)

    def _another(self, session_id: str, *, parent: str | None = None) -> FileSession:
        return FileSession(session_id, self.agent_name, self.folder, clock=self._clock, parent=parent)

    def close(self) -> None:
        """Stop being the writer; what was appended stays in the journal."""
        with self._guard:
            if self._journal is not None:
                self._journal.release()
                self._journal = None

    def check_writable(self) -> None:
        """Make the folder and see that it can be written to: better now than after an hour of work."""
        with _told(self.folder):
            make_folder(self.folder)
            if not os.access(self.folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
                raise SessionError(f"The session folder {self.folder} is read-only; give session_dir= another place.")


def default_folder() -> Path:
    """`~/.autopilot/sessions`."""
    try:
        return Path.home() / ".autopilot" / "sessions"
    except RuntimeError as error:
        raise SessionError("There is no home folder (HOME is not set); give session_dir=.") from error


def make_folder(folder: Path) -> None:
    """The folder, for its owner alone where it has to be made."""
    for one in (folder.parent, folder):
        if not one.is_dir():
            one.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextlib.contextmanager
def _told(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SessionError(
            f"The session at {place} cannot be read or written: {error.strerror or error}. What was saved is intact."
        ) from error
