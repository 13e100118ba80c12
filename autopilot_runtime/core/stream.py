"""The one ordered stream of events: whoever wants to know subscribes; a listener cannot steer or break a run."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

from autopilot_runtime.core.event import DEEDS, RESERVED, Event, EventType
from autopilot_runtime.core.ids import new_id
from autopilot_runtime.core.secret import Redactor

KEPT = 20_000
Listener = Callable[[Event], None]
# Text that was masked where it was split into chunks: masking each chunk again would find nothing more. And what
# carries numbers only.
_NOTHING_TO_MASK = frozenset(
    {
        EventType.STREAM,
        EventType.THOUGHT,
        EventType.EPOCH_START,
        EventType.BATCH_START,
        EventType.BATCH_END,
        EventType.LOSS,
        EventType.BACKWARD,
        EventType.EVAL_START,
        EventType.STEP_START,
    }
)


class Stream:
    """Numbers events, keeps the newest, and hands each to every listener in the same order."""

    def __init__(self, *, clock: Callable[[], float] = time.time, kept: int = KEPT) -> None:
        self.redactor = Redactor.of(())
        self._clock = clock
        self._lock = threading.RLock()
        self._seq = 0
        self._kept: deque[Event] = deque(maxlen=kept)
        self._listeners: tuple[Listener, ...] = ()

    @property
    def seq(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._seq

    def mask(self, text: str) -> str:
        """The text without what is a secret now."""
        return self.redactor.mask(text)

    def mask_value(self, value: Any) -> Any:
        """The same for a JSON-like value."""
        return self.redactor.mask_value(value)

    def emit(self, type: EventType, scope: Scope, data: dict[str, Any]) -> Event:
        """Record one happening. Any thread may call this; listeners see the same order as the numbers."""
        if not RESERVED.isdisjoint(data):
            raise ValueError(f"an event's payload cannot carry {sorted(RESERVED & data.keys())}")
        if type not in _NOTHING_TO_MASK:
            data = self.redactor.mask_value(data)
        with self._lock:
            self._seq += 1
            event = Event(
                self._seq, self._clock(), type, scope.run_id, scope.session_id, scope.span, scope.parent, data
            )
            self._kept.append(event)
            for listener in self._listeners:
                listener(event)
        return event

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(event)` for every event from now on; it must return at once. Gives back the stop."""
        with self._lock:
            self._listeners += (listener,)
        return lambda: self.leave(listener)

    def leave(self, listener: Listener) -> None:
        """Call it no more."""
        with self._lock:
            self._listeners = tuple(one for one in self._listeners if one != listener)

    def since(self, seq: int) -> list[Event]:
        """The kept events with a number above `seq`."""
        with self._lock:
            return [event for event in self._kept if event.seq > seq]

    def open(self, since: int | None = None) -> Feed:
        """A feed of events: those after `since` first (None: from now on), then live, each exactly once."""
        with self._lock:
            feed = Feed(self, [] if since is None else self.since(since))
            self._listeners += (feed.put,)
        return feed

    def close(self) -> None:
        """End every feed."""
        for listener in self._listeners:
            feed = getattr(listener, "__self__", None)
            if isinstance(feed, Feed):
                feed.close()

    def shut(self, feed: Feed) -> None:
        """Stop feeding `feed`; what it holds can still be read."""
        self.leave(feed.put)


class Feed:
    """Events waiting for one reader, who may be a thread or a task."""

    def __init__(self, stream: Stream, first: list[Event]) -> None:
        self._stream = stream
        self._events = deque(first)
        self._ready = threading.Condition()
        self._wake: Callable[[], None] | None = None
        self._closed = False

    def put(self, event: Event) -> None:
        """One more event, which wakes the reader."""
        with self._ready:
            self._events.append(event)
            self._ready.notify()
            wake = self._wake
        if wake:
            wake()

    def close(self) -> None:
        """End the feed: the reader gets what is left, then stops."""
        self._stream.shut(self)
        with self._ready:
            self._closed = True
            self._ready.notify_all()
            wake = self._wake
        if wake:
            wake()

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event; None when the feed is closed and empty, or after `timeout` seconds."""
        with self._ready:
            self._ready.wait_for(lambda: self._events or self._closed, timeout)
            return self._events.popleft() if self._events else None

    async def __aiter__(self) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the reader's loop is gone
                loop.call_soon_threadsafe(arrived.set)

        self._wake = wake
        while True:
            arrived.clear()
            closed = self._closed  # before the look: what was put before the end is not left behind
            while self._events:
                yield self._events.popleft()
            if closed:
                return
            await arrived.wait()


@dataclass(frozen=True, slots=True)
class Scope:
    """Where in the tree of causes something happens: what is emitted through it hangs there.

    `agent` is the name of the sub-agent it happens to (`tester/reviewer` when a sub-agent called it), else "".
    """

    stream: Stream
    session_id: str = ""
    run_id: str = ""
    span: str = ""
    parent: str = ""
    agent: str = ""

    def emit(self, type: EventType, **data: Any) -> Event:
        """Record `type` in this span."""
        if self.agent and type in DEEDS:
            data["agent"] = self.agent
        elif self.agent:
            type, data = EventType.DELEGATED, {"agent": self.agent, "event": type.value, "data": data}
        return self.stream.emit(type, self, data)

    def child(self, *, run_id: str = "") -> Scope:
        """A span under this one."""
        return replace(self, run_id=run_id or self.run_id, span=new_id("s"), parent=self.span)

    def of(self, agent: str) -> Scope:
        """The same place, for what a sub-agent called from here does."""
        return replace(self, agent=f"{self.agent}/{agent}" if self.agent else agent)
