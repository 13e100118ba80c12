"""The session store as a run uses it: awaited, whole, off the loop where the store waits for a disk or a server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from autopilot_runtime.core.bridge import in_thread
from autopilot_runtime.core.errors import SessionError
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import SessionStore
from autopilot_runtime.core.turn import turn

# Work on a store that has been done (None), can be awaited, or is waited for by another thread (see `waited`).
Pending = Awaitable[None] | concurrent.futures.Future[None] | None


class Keeper:
    """One store. What was begun is finished before a cancellation is raised: memory and store never part."""

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self.awaited = inspect.iscoroutinefunction(getattr(store, "open", None))
        self._blocking = bool(getattr(store, "blocking", False))
        self._light = "durable" in _params(store.append)
        self._saves_extra = "extra" in _params(store.save)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.opened = not self.awaited
        self.in_use = False  # by a run, which lets go of the session when it ends
        # Told when a store that had to be awaited was read: what was made before that knew nothing of it.
        self.when_read: Callable[[], None] = nothing
        self._begun: set[asyncio.Task[None]] = set()  # begun for callers who need not await it
        self._turn: asyncio.Lock | None = None

    def load(self) -> list[dict[str, Any]]:
        """The messages; none before a store that must be awaited was opened."""
        return self.store.load() if self.opened else []

    def extra(self) -> Mapping[str, Any]:
        """The state beside the messages; likewise."""
        return self.store.extra() if self.opened else {}

    async def open(self) -> None:
        """Read a store that must be awaited for that, and see what was begun on it to its end."""
        self._loop = asyncio.get_running_loop()
        await self._read()
        if self._begun:
            await asyncio.wait(self._begun)  # what failed is raised where it is awaited

    async def _read(self) -> None:
        self._turn = self._turn or asyncio.Lock()
        async with self._turn:
            if not self.opened:
                await self._whole(self.store.open)  # type: ignore[attr-defined]
                self.opened = True
                self.when_read()

    async def acquire(self) -> None:
        """Be the only writer, or raise `SessionConflict`."""
        await self._whole(self.store.acquire)

    async def append(
        self, messages: Sequence[Message], *, extra: Mapping[str, Any] | None = None, durable: bool = True
    ) -> None:
        """Keep messages and state; `durable=False` promises less, where the store knows the difference."""
        if (cut := await self.kept(messages, extra=extra, durable=durable)) is not None:
            raise cut

    async def kept(
        self, messages: Sequence[Message], *, extra: Mapping[str, Any] | None = None, durable: bool = True
    ) -> asyncio.CancelledError | None:
        """The same for who has to remember what was kept before a cancellation is raised; gives that."""
        light: dict[str, Any] = {} if durable or not self._light else {"durable": False}
        return await self._end(self.store.append, [one.to_dict() for one in messages], extra=extra or None, **light)

    async def save(self, messages: Sequence[Message], *, extra: Mapping[str, Any] | None = None) -> None:
        """A run has ended: put everything together, and let go of the session."""
        whole = list(messages)

        def plain() -> list[dict[str, Any]]:  # as dicts only when, and on the thread on which, they are written
            return [one.to_dict() for one in whole]

        finish = getattr(self.store, "finish", None)
        if finish is not None:  # all of it was appended: there may be nothing to write again
            await self._whole(finish, extra=extra, messages=plain)
            return
        if extra and not self._saves_extra:
            await self.append([], extra=extra)
            extra = None
        given: dict[str, Any] = {"extra": extra} if extra else {}
        await self._whole(lambda: self.store.save(plain(), **given))

    def put(self, extra: Mapping[str, Any], *, let_go: bool) -> Pending:
        """Keep state from any thread. Kept when this returns, or else when what it gives back was awaited.

        `let_go`: no run is in progress, so nobody else will let go of the session.
        """
        if not self.awaited:
            self.store.append([], extra=extra)
            if let_go:
                self.store.close()
            return None
        return self._from_anywhere(lambda: self._put(extra, let_go=let_go))

    async def _put(self, extra: Mapping[str, Any], *, let_go: bool) -> None:
        await self.append([], extra=extra)
        if let_go:
            await self._whole(self.store.close)

    def when_open(self, work: Callable[[], Pending]) -> Pending:
        """Work that has to know what is stored: done now, or as soon as the store was read."""
        return work() if self.opened else self._from_anywhere(lambda: self._after_reading(work))

    async def _after_reading(self, work: Callable[[], Pending]) -> None:
        await self._read()
        pending = work()
        if pending is not None:
            assert not isinstance(pending, concurrent.futures.Future)  # for this is the loop
            await pending

    def reset(self, then: Callable[[], None]) -> Pending:
        """Delete the session, `then` do that: done when this returns, or when what it gives back was awaited."""
        if not self.awaited:
            self.store.reset()
            then()
            return None
        return self._from_anywhere(lambda: self._reset(then))

    async def _reset(self, then: Callable[[], None]) -> None:
        await self._whole(self.store.reset)
        self.opened = True
        then()

    async def close(self) -> None:
        """Let go of the session for good."""
        if self._begun:
            await asyncio.wait(self._begun)
        if self.opened:
            await self._whole(self.store.close)

    def _from_anywhere(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Pending:
        """Work for the loop of the store: to be waited for from another thread, else a task that can be awaited."""
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        gone = self._loop is None or self._loop.is_closed()
        if here is not None and (gone or self._loop is here):
            self._loop = here
            return self._begin(work)
        if self._loop is None or gone:
            raise SessionError("This session lives on an async engine: call this from its event loop.")

        async def on_the_loop() -> None:
            await self._begin(work)

        return asyncio.run_coroutine_threadsafe(on_the_loop(), self._loop)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work())
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    async def _whole(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Do it to the end, also when the caller is cancelled meanwhile; the cancellation is raised then."""
        if (cut := await self._end(work, *args, **kwargs)) is not None:
            raise cut

    async def _end(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.CancelledError | None:
        if self.awaited:
            task = asyncio.ensure_future(work(*args, **kwargs))
        elif self._blocking:
            task = asyncio.ensure_future(in_thread(work, *args, **kwargs))
        else:
            work(*args, **kwargs)
            return None
        cut: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cut = error
        try:
            await turn()  # a disk that was busy lets many go on in the same instant
        except asyncio.CancelledError as error:
            cut = error
        task.result()
        return cut


def waited(pending: Pending) -> Awaitable[None] | None:
    """The same for a caller who is on another thread than the store: it waits here, holding no lock."""
    if isinstance(pending, concurrent.futures.Future):
        pending.result()
        return None
    return pending


def nothing() -> None:
    """Nothing is to be done."""


def _params(method: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return inspect.signature(method).parameters
    except (TypeError, ValueError):
        return {}
