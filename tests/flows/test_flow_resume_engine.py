"""A runtime on the engine of an application: nothing is read before something is awaited, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from autopilot_runtime import AsyncRuntime, ScriptedProvider
from tests.flows.stage import PATIENCE, act, finish

AGENT = {
    "name": "Embedded",
    "model": {"provider": "scripted", "name": "scripted"},
    "runtime": {"work_dir": "work", "on_unanswered": "suspend", "max_steps": 100},
    "tools": ["read_file", "write_file", "ask_user"],
}
Open = Callable[..., AsyncRuntime]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """What the application owns, and disposes of."""
    made = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'application.db'}")
    yield made
    await made.dispose()


@pytest.fixture
async def opened(tmp_path: Path, engine: AsyncEngine) -> AsyncIterator[Open]:
    """Makes runtimes of one session, each as another process would; the ones before are closed by the test."""
    file = tmp_path / "agent.yaml"
    file.write_text(json.dumps({"agent": AGENT}))
    all_of_them: list[AsyncRuntime] = []

    def make(*replies: str, script: Any = None) -> AsyncRuntime:
        provider = ScriptedProvider(script or list(replies))
        runtime = AsyncRuntime(file, "db", "embedded", db=engine, provider=provider)
        runtime.hooks.clear()
        all_of_them.append(runtime)
        return runtime

    yield make
    for runtime in all_of_them:
        await runtime.close()


def said(runtime: AsyncRuntime) -> str:
    return "\n".join(message["content"] for message in runtime.messages)


async def test_a_session_goes_on_in_another_process(opened: Open, engine: AsyncEngine) -> None:
    first = opened(act("total = 40"), finish("one"))
    assert (first.messages, first.open_requests) == ([], [])  # nothing was read yet
    assert await first.run("First") == "one"
    await first.close()
    second = opened(finish("two"))
    assert await second.run("Second") == "two"
    assert len(second.messages) == 6
    async with engine.connect():
        pass  # it is still the application's


async def test_messages_sent_before_anything_is_read_join_those_that_wait(opened: Open) -> None:
    first = opened()
    await first.send_message("earlier")
    await first.close()
    second = opened(finish())
    await second.send_message("later")
    for number in range(5):
        second.send_message(f"not awaited {number}")  # its owner is the runtime
    await second.run("Go")
    told = said(second)
    places = [told.index(text) for text in ("earlier", "later", *(f"not awaited {n}" for n in range(5)))]
    assert places == sorted(places)
    assert not len(second._kit.inbox)


async def test_messages_nobody_awaited_are_kept_before_it_is_closed(opened: Open) -> None:
    first = opened()
    for number in range(3):
        first.send_message(f"late {number}")
    await first.close()
    second = opened(finish())
    await second.run("Go")
    assert all(f"late {number}" in said(second) for number in range(3))


async def test_the_history_is_there_after_a_message_was_the_first_thing_that_was_awaited(opened: Open) -> None:
    first = opened(finish("one"))
    await first.run("First")
    await first.close()
    second = opened(finish("two"))
    await second.send_message("hello")
    assert len(second.messages) == 2
    assert await second.run("Second") == "two"
    assert [m["role"] for m in second.messages] == ["user", "assistant"] * 2


async def test_an_answer_is_the_first_thing_another_process_does(opened: Open) -> None:
    first = opened(act('print(ask_user("Which?"))'))
    await first.run("Ask")
    [request] = first.open_requests
    await first.close()
    second = opened(finish("This one."))
    assert await second.answer(request["request_id"], "this") == "This one."
    assert "this" in second.messages[-2]["content"]


async def test_after_a_reset_nothing_is_left_in_memory_or_in_the_database(opened: Open) -> None:
    first = opened(finish("one"), finish("two"))
    await first.run("First")
    await first.reset()
    assert first.messages == []
    assert await first.run("Second") == "two"
    assert len(first.messages) == 2
    await first.close()
    second = opened(finish("three"))
    await second.reset()  # before anything was read
    assert await second.run("Third") == "three"
    assert len(second.messages) == 2


async def test_a_run_comes_after_a_reset_nobody_awaited(opened: Open) -> None:
    runtime = opened(finish("one"), finish("two"))
    await runtime.run("First")
    runtime.reset()
    await runtime.run("Second")
    assert len(runtime.messages) == 2


async def test_messages_from_threads_reach_a_run_in_progress_once_each(opened: Open) -> None:
    steps = opened(script=lambda messages: act("1") if len(messages) < 60 else finish())
    started = asyncio.Event()
    loop = asyncio.get_running_loop()
    steps.hooks.register("step", lambda **_: loop.call_soon_threadsafe(started.set))
    run = asyncio.ensure_future(steps.run("Go"))

    def send(who: int) -> None:
        for number in range(25):
            steps.send_message(f"<{who}.{number}>")

    async with asyncio.timeout(PATIENCE):
        await started.wait()
        await asyncio.gather(*(asyncio.to_thread(send, who) for who in range(4)))
        await run
        await steps.run("And the rest")
    told = said(steps)
    assert [told.count(f"<{who}.{number}>") for who in range(4) for number in range(25)] == [1] * 100
