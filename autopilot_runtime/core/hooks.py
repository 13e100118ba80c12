"""Hooks: a user's functions as listeners of the stream. They run in order, off the loop, and cannot break a run."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

from autopilot_runtime.core.bridge import bridge, in_task, in_thread, threads
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.core.stream import Scope, Stream

log = logging.getLogger("autopilot_runtime.hooks")
Handler = Callable[..., Any]
# Handlers of these answer; they are asked one at a time by whoever needs the answer, never as listeners.
DECIDERS = frozenset({EventType.ASK_USER, EventType.PERMISSION_REQUEST})
QUEUE_LIMIT = 50_000
_inside: ContextVar[_Visit | None] = ContextVar("inside a hook of", default=None)


class HookSystem:
    """Registered handlers by event type. The first handler of a type replaces the default one."""

    def __init__(self, stream: Stream, scope: Scope, *, patience: float = 10.0) -> None:
        self.patience = patience
        self.loop: asyncio.AbstractEventLoop | None = None
        self._scope = scope
        self._handlers: dict[EventType, list[Handler]] = {}
        self._defaults: dict[EventType, Handler] = {}
        self._takes: dict[int, frozenset[str] | None] = {}
        self._pump = _Pump(self)
        self._stream = stream
        stream.listen(self._hear)

    def register(self, event: EventType | str, handler: Handler) -> Handler:
        """Call `handler(**fields)` at every such event. Gives the handler back, so it works as a decorator.

        A handler without `**_` gets the fields it names: an event may grow more of them without breaking it.
        """
        if not callable(handler):
            raise TypeError(f"a hook must be callable, not {type(handler).__name__}")
        self._takes[id(handler)] = _parameters(handler)
        self._handlers.setdefault(EventType(event), []).append(handler)
        return handler

    def default(self, event: EventType, handler: Handler) -> None:
        """What answers `event` until somebody registers for it."""
        self._takes[id(handler)] = _parameters(handler)
        self._defaults[event] = handler

    def clear(self, event: EventType | str | None = None) -> None:
        """Remove the handlers of one event type, or of all; the defaults go, too."""
        for table in (self._handlers, self._defaults):
            table.clear() if event is None else table.pop(EventType(event), None)

    def handlers(self, event: EventType) -> list[Handler]:
        """Who would be called, in order."""
        own = self._handlers.get(event)
        if own:
            return list(own)
        return [self._defaults[event]] if event in self._defaults else []

    def fields(self, handler: Handler, event: Event) -> Mapping[str, Any]:
        """What this handler is called with."""
        names = self._takes.get(id(handler))
        return event.data if names is None else {key: event.data[key] for key in event.data if key in names}

    def emit(self, event: EventType | str, **fields: Any) -> Event:
        """Put an event on the stream by hand."""
        return self._scope.emit(EventType(event), **fields)

    @property
    def inside(self) -> bool:
        """Whether the caller is one of these handlers, at work right now; sync or async."""
        visit = _inside.get()
        return visit is not None and visit.hooks is self and visit.lasts

    def _hear(self, event: Event) -> None:
        if event.type not in DECIDERS and (event.type in self._handlers or event.type in self._defaults):
            self._pump.put(event)

    async def drain(self) -> None:
        """Wait until every handler has seen everything emitted so far, or is reported as stuck."""
        if not self.inside:  # a handler that waits for the handlers would wait for itself
            await self._pump.drained()

    async def close(self) -> None:
        """Let every handler see what was emitted, then hear nothing more and let go of them all.

        Handlers often hold the runtime, which holds them: once closed, it is freed without the garbage collector.
        """
        await self.drain()
        self._stream.leave(self._hear)
        self.clear()
        self._takes.clear()

    async def decide(self, event: Event) -> list[Any]:
        """Ask every handler of a deciding event; gives what they returned. What they raise is raised here."""
        await self.drain()
        answers = []
        for handler in self.handlers(event.type):
            slow, fields = inspect.iscoroutinefunction(handler), self.fields(handler, event)
            answer = handler(**fields) if slow else await in_thread(handler, **fields)
            answers.append(await in_task(answer) if inspect.isawaitable(answer) else answer)
        return answers

    def report(self, handler: Handler, event: Event, error: str) -> None:
        """Say that a handler failed; a failing handler of HOOK_ERROR itself is only logged."""
        name = getattr(handler, "__qualname__", repr(handler))
        log.warning("hook %s failed at %s: %s", name, event.type.name, error)
        if event.type is not EventType.HOOK_ERROR:
            self._scope.emit(EventType.HOOK_ERROR, hook=name, event=event.type.value, error=error)


class _Visit:
    """One call of a handler, seen from inside."""

    def __init__(self, hooks: HookSystem) -> None:
        self.hooks = hooks
        self.lasts = True


class _Pump:
    """Calls handlers one event after the other on one thread at a time, and gives up on a stuck one."""

    def __init__(self, hooks: HookSystem) -> None:
        self._owner = weakref.ref(hooks)  # which holds this; a thread at work holds both
        self._lock = threading.Lock()
        self._queue: deque[Event | Future[None]] = deque()
        self._generation = 0
        self._active = False
        self._busy: tuple[float, Handler, Event] | None = None
        self._stuck: dict[int, Handler] = {}  # by id: a handler need not be hashable
        self._dropped = 0

    @property
    def _hooks(self) -> HookSystem:
        hooks = self._owner()
        assert hooks is not None  # whoever calls this was called by it
        return hooks

    def put(self, item: Event | Future[None]) -> None:
        with self._lock:
            if len(self._queue) >= QUEUE_LIMIT and isinstance(item, Event):
                self._dropped += 1
                return
            self._queue.append(item)
            if self._active:
                return
            self._active = True
            generation = self._generation
        self._start(generation)

    def _start(self, generation: int) -> None:
        hooks = self._hooks
        threads().start(lambda: self._serve(hooks, generation))

    def _serve(self, hooks: HookSystem, generation: int) -> None:
        while True:
            with self._lock:
                if generation != self._generation:
                    return
                if not self._queue:
                    self._active = False
                    return
                item = self._queue.popleft()
            if isinstance(item, Future):
                item.set_result(None)
            else:
                self._deliver(hooks, item, generation)

    def _deliver(self, hooks: HookSystem, event: Event, generation: int) -> None:
        for handler in hooks.handlers(event.type):
            if generation != self._generation or id(handler) in self._stuck:
                continue
            self._busy = (time.monotonic(), handler, event)
            visit = _Visit(hooks)
            token = _inside.set(visit)
            try:
                self._call(hooks, handler, event)
            except BaseException as error:
                hooks.report(handler, event, f"{type(error).__name__}: {error}")
            finally:
                visit.lasts = False  # for tasks that the handler has left behind
                _inside.reset(token)
            if generation == self._generation:
                self._busy = None

    def _call(self, hooks: HookSystem, handler: Handler, event: Event) -> None:
        result = handler(**hooks.fields(handler, event))
        if not inspect.iscoroutinefunction(handler) and not inspect.isawaitable(result):
            return
        loop = hooks.loop
        target = loop if loop is not None and loop.is_running() else bridge().loop
        asyncio.run_coroutine_threadsafe(_awaited(result), target).result()

    async def drained(self) -> None:
        marker: Future[None] = Future()
        self.put(marker)
        waiting = asyncio.wrap_future(marker)
        while not waiting.done():
            await asyncio.wait([waiting], timeout=0.05 if self._overdue() else self._left())
            if not waiting.done():
                self._give_up()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            log.warning("hooks were too slow: %d events were not delivered", dropped)

    def _left(self) -> float:
        busy = self._busy
        return max(0.05, self._hooks.patience - (time.monotonic() - busy[0])) if busy else 0.05

    def _overdue(self) -> bool:
        busy = self._busy
        return busy is not None and time.monotonic() - busy[0] >= self._hooks.patience

    def _give_up(self) -> None:
        """Leave a stuck handler to its thread, never call it again, and go on with the next event."""
        with self._lock:
            busy = self._busy
            if busy is None or time.monotonic() - busy[0] < self._hooks.patience:
                return
            self._generation += 1
            self._stuck[id(busy[1])] = busy[1]
            self._busy = None
            generation = self._generation
        silence = f"has not returned for {self._hooks.patience:g} s; it is not called again"
        self._hooks.report(busy[1], busy[2], silence)
        self._start(generation)


def _parameters(handler: Handler) -> frozenset[str] | None:
    """The names a handler can be given; None when it takes all, or does not tell."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return None
    return frozenset(one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY))


async def _awaited(value: Any) -> Any:
    return await value


def _decorator(event: EventType) -> Callable[[Any], Callable[[Handler], Handler]]:
    def attach(runtime: Any) -> Callable[[Handler], Handler]:
        if not hasattr(runtime, "hooks"):
            raise TypeError(f"write @on_{event.value}(runtime): the decorator needs the runtime to listen to")

        def register(handler: Handler) -> Handler:
            hooks: HookSystem = runtime.hooks
            return hooks.register(event, handler)

        return register

    attach.__name__ = attach.__qualname__ = f"on_{event.value}"
    attach.__doc__ = f"`@on_{event.value}(runtime)`: call the decorated function at every {event.name}."
    return attach


on_start = _decorator(EventType.START)
on_step = _decorator(EventType.STEP)
on_stream = _decorator(EventType.STREAM)
on_thought = _decorator(EventType.THOUGHT)
on_usage = _decorator(EventType.USAGE)
on_retry = _decorator(EventType.RETRY)
on_tool_call = _decorator(EventType.TOOL_CALL)
on_tool_result = _decorator(EventType.TOOL_RESULT)
on_file_changed = _decorator(EventType.FILE_CHANGED)
on_delegated = _decorator(EventType.DELEGATED)
on_ask_user = _decorator(EventType.ASK_USER)
on_permission_request = _decorator(EventType.PERMISSION_REQUEST)
on_security_error = _decorator(EventType.SECURITY_ERROR)
on_runtime_error = _decorator(EventType.RUNTIME_ERROR)
on_finish = _decorator(EventType.FINISH)
on_max_steps = _decorator(EventType.MAX_STEPS)
on_user_message_queued = _decorator(EventType.USER_MESSAGE_QUEUED)
on_user_message_injected = _decorator(EventType.USER_MESSAGE_INJECTED)
on_session_reset = _decorator(EventType.SESSION_RESET)
