"""The stream: one order for everybody, and listeners that cannot break it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import pytest

from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.core.hooks import HookSystem, on_stream
from autopilot_runtime.core.secret import Redactor
from autopilot_runtime.core.stream import Scope, Stream


def make(patience: float = 30.0) -> tuple[Stream, Scope, HookSystem]:
    stream = Stream(clock=lambda: 1.5)
    scope = Scope(stream, "session").child(run_id="run")
    return stream, scope, HookSystem(stream, scope, patience=patience)


def test_events_are_numbered_from_one_and_hang_under_their_span() -> None:
    stream, scope, _ = make()
    child = scope.child()
    first, second = scope.emit(EventType.START, task="x"), child.emit(EventType.STEP, step=1, max_steps=2)
    assert (first.seq, second.seq, stream.seq) == (1, 2, 2)
    assert second.parent == first.span and second.span != first.span
    assert (second.run_id, second.session_id, second.ts) == ("run", "session", 1.5)


def test_an_event_survives_the_way_through_a_dict() -> None:
    _, scope, _ = make()
    event = scope.emit(EventType.TOOL_CALL, tool="read_file", args={"path": "a"}, label="Reading a")
    assert Event.from_dict(event.to_dict()) == event
    assert event.tool == "read_file" and event.data["label"] == "Reading a"
    with pytest.raises(AttributeError, match="TOOL_CALL has no field 'nope'"):
        _ = event.nope


def test_a_payload_cannot_overwrite_the_head_of_an_event() -> None:
    _, scope, _ = make()
    with pytest.raises(ValueError, match="span"):
        scope.stream.emit(EventType.START, scope, {"span": "forged"})


async def test_handlers_see_the_order_of_the_numbers_whatever_thread_emits() -> None:
    stream, scope, hooks = make()
    seen: list[int] = []
    hooks.register(EventType.STREAM, lambda text, **_: seen.append(int(text)))
    hooks.register(EventType.THOUGHT, lambda text, **_: seen.append(int(text)))
    lock = threading.Lock()
    count = iter(range(10_000))

    def send(kind: EventType) -> None:
        for _ in range(250):
            with lock:
                scope.emit(kind, text=str(next(count)))

    workers = [threading.Thread(target=send, args=(k,)) for k in (EventType.STREAM, EventType.THOUGHT) * 2]
    [w.start() for w in workers]
    [w.join() for w in workers]
    await hooks.drain()
    assert seen == list(range(1000))
    assert [e.seq for e in stream.since(0)] == list(range(1, 1001))


async def test_a_raising_handler_becomes_an_event_and_the_others_go_on() -> None:
    stream, scope, hooks = make()
    seen: list[str] = []

    def broken(**_: object) -> None:
        raise RuntimeError("boom")

    hooks.register(EventType.STREAM, broken)
    hooks.register(EventType.STREAM, lambda text, **_: seen.append(text))
    scope.emit(EventType.STREAM, text="a")
    await hooks.drain()
    errors = [e for e in stream.since(0) if e.type is EventType.HOOK_ERROR]
    assert seen == ["a"]
    assert "broken" in errors[0].hook and errors[0].error == "RuntimeError: boom"


async def test_a_raising_handler_of_hook_errors_does_not_start_a_loop() -> None:
    stream, scope, hooks = make()

    def broken(**_: object) -> None:
        raise RuntimeError("boom")

    hooks.register(EventType.HOOK_ERROR, broken)
    hooks.register(EventType.STREAM, broken)
    scope.emit(EventType.STREAM, text="a")
    await hooks.drain()
    assert [e.type for e in stream.since(0)] == [EventType.STREAM, EventType.HOOK_ERROR]


async def test_a_stuck_handler_is_reported_and_left_behind() -> None:
    stream, scope, hooks = make(patience=0.1)
    seen: list[str] = []
    release = threading.Event()
    hooks.register(EventType.STREAM, lambda **_: release.wait(20))
    hooks.register(EventType.THOUGHT, lambda text, **_: seen.append(text))
    scope.emit(EventType.STREAM, text="a")
    scope.emit(EventType.THOUGHT, text="b")
    await asyncio.wait_for(hooks.drain(), 5)
    release.set()
    errors = [e for e in stream.since(0) if e.type is EventType.HOOK_ERROR]
    assert len(errors) == 1 and "has not returned for 0.1 s" in errors[0].error
    assert seen == ["b"]


async def test_async_handlers_run_on_the_runtimes_loop_in_order() -> None:
    _, scope, hooks = make()
    hooks.loop = asyncio.get_running_loop()
    seen: list[tuple[str, bool]] = []

    async def slow(text: str, **_: object) -> None:
        await asyncio.sleep(0)
        seen.append((text, asyncio.get_running_loop() is hooks.loop))

    hooks.register(EventType.STREAM, slow)
    for text in "abc":
        scope.emit(EventType.STREAM, text=text)
    await hooks.drain()
    assert seen == [("a", True), ("b", True), ("c", True)]


async def test_the_first_handler_replaces_the_default_and_clear_removes_both() -> None:
    _, scope, hooks = make()
    seen: list[str] = []
    hooks.default(EventType.STREAM, lambda **_: seen.append("default"))
    scope.emit(EventType.STREAM, text="a")
    await hooks.drain()

    class Runtime:
        pass

    runtime = Runtime()
    runtime.hooks = hooks  # type: ignore[attr-defined]

    @on_stream(runtime)
    def own(text: str, **_: object) -> None:
        seen.append("own")

    scope.emit(EventType.STREAM, text="a")
    await hooks.drain()
    hooks.clear(EventType.STREAM)
    scope.emit(EventType.STREAM, text="a")
    await hooks.drain()
    assert seen == ["default", "own"]
    assert callable(own)


async def test_deciding_events_are_asked_not_told() -> None:
    _, scope, hooks = make()
    calls: list[str] = []

    def sync(tool: str, **_: object) -> bool:
        calls.append(tool)
        return True

    async def later(tool: str, **_: object) -> bool:
        calls.append(tool)
        return False

    hooks.register(EventType.PERMISSION_REQUEST, sync)
    hooks.register(EventType.PERMISSION_REQUEST, later)
    event = scope.emit(EventType.PERMISSION_REQUEST, tool="execute", description="d")
    await hooks.drain()
    assert calls == []
    assert await hooks.decide(event) == [True, False]
    assert calls == ["execute", "execute"]


async def test_a_feed_replays_then_goes_on_live_without_a_gap() -> None:
    stream, scope, _ = make()
    for n in range(3):
        scope.emit(EventType.STREAM, text=str(n))
    feed = stream.open(since=1)
    reader = asyncio.create_task(_collect(feed))
    await asyncio.sleep(0)
    await asyncio.to_thread(scope.emit, EventType.STREAM, text="3")
    feed.close()
    assert await asyncio.wait_for(reader, 5) == ["1", "2", "3"]


async def _collect(feed: object) -> list[str]:
    return [event.text async for event in feed]  # type: ignore[attr-defined]


def test_a_feed_can_be_read_from_a_plain_thread() -> None:
    stream, scope, _ = make()
    feed = stream.open()
    threading.Thread(target=lambda: scope.emit(EventType.FINISH, summary="done")).start()
    event = feed.get(timeout=5)
    assert event is not None and event.summary == "done"
    feed.close()
    assert feed.get() is None


async def test_a_handler_gets_the_fields_it_names_and_need_not_be_hashable() -> None:
    _, scope, hooks = make()
    told: list[object] = []

    @dataclass
    class Collector:
        seen: list[str]

        def __call__(self, text: str) -> None:
            self.seen.append(text)

        def only(self, window: str, *, text: str = "") -> None:
            self.seen.append(window + text)

    collector = Collector([])
    on_stream_of = [
        lambda text: told.append([text]),
        lambda: told.append("nothing"),
        lambda **all_: told.append(all_),
    ]
    for handler in (collector, collector.only, *on_stream_of):
        hooks.register(EventType.STREAM, handler)
    hooks.register(EventType.PERMISSION_REQUEST, lambda tool: tool == "execute")
    hooks.register(EventType.HOOK_ERROR, lambda error: told.append({"error": error}))
    scope.emit(EventType.STREAM, text="a", window="w")
    await hooks.drain()
    assert collector.seen == ["a", "wa"]
    assert told == [["a"], "nothing", {"text": "a", "window": "w"}]
    asked = scope.emit(EventType.PERMISSION_REQUEST, tool="execute", description="ls", request_id="q_1")
    assert await hooks.decide(asked) == [True]


def test_a_decorator_without_its_runtime_is_an_error_not_a_deaf_hook() -> None:
    with pytest.raises(TypeError, match=r"write @on_stream\(runtime\)"):

        @on_stream
        def show(text: str) -> None: ...


def test_what_a_sub_agent_does_keeps_its_type_and_what_it_says_is_wrapped() -> None:
    _, scope, _ = make()
    helper = scope.of("helper")
    deed = helper.child().emit(EventType.TOOL_CALL, tool="t", args={}, label="x")
    word = helper.of("other").emit(EventType.STREAM, text="hello", window="prose")
    assert (deed.type, deed.agent, deed.parent) == (EventType.TOOL_CALL, "helper", scope.span)
    assert word.type is EventType.DELEGATED and word.span == scope.span
    told = {"agent": "helper/other", "event": "stream", "data": {"text": "hello", "window": "prose"}}
    assert word.data == told and Event.from_dict(word.to_dict()) == word
    assert "agent" not in scope.emit(EventType.TOOL_CALL, tool="t", args={}, label="x").data


def test_the_words_of_a_sub_agent_are_masked_like_all_others() -> None:
    stream, scope, _ = make()
    stream.redactor = Redactor(["hunter2-and-more"])
    event = scope.of("helper").emit(EventType.FINISH, summary="it is hunter2-and-more")
    assert event.data["data"] == {"summary": "it is [secret masked]"}
