"""A session in a database: what it knows, who writes, and what is done when the database does not answer.

Written once, as coroutines; the blocking session runs them to their end without a loop.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from autopilot_runtime.core.errors import SessionConflict, SessionError
from autopilot_runtime.core.ids import new_id
from autopilot_runtime.session import sqlread, sqlwrite, writer
from autopilot_runtime.session.fork import foreign, fork_id
from autopilot_runtime.session.record import from_json
from autopilot_runtime.session.sqldoor import Door
from autopilot_runtime.session.sqlfault import passes, reason
from autopilot_runtime.session.sqlread import Known, ascii_json
from autopilot_runtime.session.sqlschema import prepare
from autopilot_runtime.session.sqlwrite import Change, Name
from autopilot_runtime.session.writer import Writer

T = TypeVar("T")

# The engines of this process whose tables were looked at: once is enough.
_READY: WeakSet[Engine] = WeakSet()


class SqlStore:
    """One session behind a door. `known` is the state its next write continues; None until something was read."""

    def __init__(self, name: Name, door: Door, *, clock: Callable[[], float], patience: float) -> None:
        self.name = name
        self.door = door
        self.known: Known | None = None
        self._clock = clock
        self._patience = patience
        self._writer: Writer | None = None
        self._owner = os.getpid()
        # A write that failed although it may have taken effect: looked into before the next one.
        self._doubt: Change | None = None
        self.prepared = False

    def beside(self, name: Name) -> SqlStore:
        """Another session in the same place."""
        return SqlStore(name, self.door.again(), clock=self._clock, patience=self._patience)

    # ------------------------------------------------------------ reading

    async def prepare(self) -> None:
        """Make or upgrade the tables, and see that they can be written to."""
        engine = self.door.engine
        if engine not in _READY:
            await self._run(prepare)
            _READY.add(engine)
        self.prepared = True

    async def load(self) -> list[dict[str, Any]]:
        """The messages; from now on what is stored is known."""
        key, place = self.name.key, self.door.place
        row, known, messages = await self._run(lambda c: sqlread.whole(c, key, place), snapshot=True)
        self._learn(row, known)
        return messages

    async def look(self) -> Known:
        """What is known, read when nothing was."""
        if self.known is None:
            key, place = self.name.key, self.door.place
            self._learn(*await self._run(lambda c: sqlread.state(c, key, place), snapshot=True))
        assert self.known is not None
        return self.known

    def _learn(self, row: Any, known: Known) -> None:
        parent = self.name.parent
        if row is not None and parent is not None and row["parent"] != sqlread.digest(parent):
            raise foreign(self.name.session_id, parent)
        if row is not None and row["created"] is None and not (self._writer and self._writer.token == row["writer"]):
            known = Known()  # somebody has reserved the name, and written nothing
        self.known, self._doubt = known, None

    async def metadata(self) -> dict[str, Any] | None:
        """Everything but messages and extra state; None when nothing was written yet."""
        row = await self._run(lambda c: sqlread.head(c, self.name.key))
        return None if row is None or row["created"] is None else sqlread.summary(row)

    async def listed(self, *, nested: bool) -> list[dict[str, Any]]:
        """The metadata of every session in the database, newest first."""
        return await self._run(lambda c: sqlread.listed(c, nested=nested))

    # ------------------------------------------------------------ writing

    async def acquire(self) -> Writer:
        """Be the one writer, or raise."""
        if self._owner != os.getpid():  # after a fork the lease is still the parent's
            self._writer, self._owner = None, os.getpid()
        if self._writer is not None:
            return self._writer
        known, new, now = await self.look(), writer.enter(), self._clock()
        try:
            self.known = await self._run(lambda c: sqlwrite.take(c, self.name, known, writer=new, now=now))
        except BaseException:
            writer.leave(new)
            raise
        self._writer = new
        return new

    async def append(
        self, messages: Sequence[Mapping[str, Any]], *, extra: Mapping[str, Any] | None, durable: bool
    ) -> None:
        """Add what one step produced, in one transaction."""
        await self._change(_encoded(messages), extra, durable=durable)

    async def save(self, messages: Sequence[Mapping[str, Any]], *, extra: Mapping[str, Any] | None) -> None:
        """Make the stored messages these, and write no more."""
        await self._change(_encoded(messages), extra, whole=True)

    async def finish(self, *, extra: Mapping[str, Any] | None) -> None:
        """A run has ended, and all of it was appended: write no more."""
        await self._change([], extra, last=True)

    async def _change(
        self,
        messages: list[str],
        extra: Mapping[str, Any] | None,
        *,
        durable: bool = True,
        whole: bool = False,
        last: bool = False,
    ) -> None:
        texts = {key: _text(value) for key, value in (extra or {}).items()}
        await self._settle()
        mine = await self.acquire()
        known = await self.look()
        change = Change(new_id("r"), self._clock(), messages, texts, durable=durable, whole=whole, last=last or whole)
        try:
            await self._run(lambda c: sqlwrite.change(c, self.name, known, change, token=mine.token))
        except SessionConflict:
            self._leave()
            raise
        except BaseException:
            self._doubt = change
            raise
        self._follow(known, change)

    def _follow(self, known: Known, change: Change) -> None:
        known.count = len(change.messages) + (0 if change.whole else known.count)
        known.revision = change.revision
        for key, value in change.extra.items():
            if value is None:
                known.extra.pop(key, None)
            else:
                known.extra[key] = from_json(value.encode(), "extra state")
        if change.last:
            self._leave()

    async def _settle(self) -> None:
        """Find out what became of a write that failed. What its caller was told did not happen is taken back."""
        doubt, known = self._doubt, self.known
        if doubt is None or known is None:
            return
        before = {key: _text(known.extra.get(key)) for key in doubt.extra}
        happened = await self._run(lambda c: sqlwrite.take_back(c, self.name, known, doubt, before))
        if happened and doubt.last:
            self._follow(known, doubt)
        self._doubt = None

    async def reset(self) -> None:
        """Delete the session and those nested in it."""
        token = self._writer.token if self._writer and self._owner == os.getpid() else None
        now = self._clock()
        await self._run(lambda c: sqlwrite.remove(c, self.name, token=token, now=now))
        self._leave()
        self.known, self._doubt = None, None

    async def close(self) -> None:
        """Write no more. What was appended stays."""
        mine, known = self._writer, self.known
        if mine is not None and known is not None and known.number is not None and self._owner == os.getpid():
            number = known.number
            # Asked once: a lease that stays behind ends with this process.
            with contextlib.suppress(SQLAlchemyError, OSError, sqlite3.Error):
                await self.door.run(lambda c: sqlwrite.give_back(c, number, mine.token))
            if known.revision == mine.token:  # the row was only reserved, and has gone
                self.known = Known()
        self._leave()
        self.door.close()

    def _leave(self) -> None:
        if self._writer is not None:
            writer.leave(self._writer)
            self._writer = None

    async def fork(self, at: int | None, session_id: str | None) -> SqlStore:
        """A new, independent session of the first `at` messages."""
        head = await self.metadata() or {}
        target = Name(fork_id(self.name.session_id, session_id), head.get("agent_name") or self.name.agent_name)
        revision, now = new_id("r"), self._clock()
        await self._run(lambda c: sqlwrite.copy(c, self.name, target, at=at, revision=revision, now=now))
        return self.beside(target)

    # ------------------------------------------------------------ patience

    async def _run(self, work: Callable[[Connection], T], *, snapshot: bool = False) -> T:
        """Do it; what may pass is tried again, for as long as the patience lasts."""
        limit, delay = time.monotonic() + self._patience, 0.02
        while True:
            try:
                return await self.door.run(work, snapshot=snapshot)
            except Exception as error:
                if isinstance(error, SessionError) or not _of_the_database(error):
                    raise
                left = limit - time.monotonic()
                if not passes(error) or left <= 0:
                    raise self._told(error) from error
                await self.door.pause(min(delay * random.uniform(0.75, 1.0), left))
                delay = min(2 * delay, 1.0)

    def _told(self, error: BaseException) -> SessionError:
        words = reason(error)
        if len(self.door.secret) > 2:
            words = words.replace(self.door.secret, "***")
        tried = f" It was tried for {self._patience:g} seconds." if passes(error) else ""
        return SessionError(
            f"The session {self.name.session_id[:80]!r} in {self.door.place} cannot be read or written: {words}."
            f"{tried} What was saved before is intact; the same call can be made again."
        )


def _of_the_database(error: Exception) -> bool:
    return passes(error) or isinstance(error, SQLAlchemyError | OSError | sqlite3.Error)


def _encoded(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    return [ascii_json(dict(message), what="message") for message in messages]


def _text(value: Any) -> str | None:
    return None if value is None else ascii_json(value, what="extra state")
