"""Runs whose session cannot be written for a while, or is slow: nothing is made twice, and memory and store agree."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import AsyncRuntime, ScriptedProvider, SessionError
from autopilot_runtime.core.message import Message
from autopilot_runtime.session.file import FileSession
from tests.flows.stage import PATIENCE, act, finish

STEPS = 3


class Store(FileSession):
    """A session that is asked before each time something is kept."""

    before: Callable[[], object] = staticmethod(lambda: None)

    def append(
        self, messages: Sequence[Mapping[str, Any]], *, extra: Mapping[str, Any] | None = None, durable: bool = True
    ) -> None:
        """Keep it, if it may be."""
        self.before()
        super().append(messages, extra=extra, durable=durable)

    def save(self, messages: list[dict[str, Any]], *, extra: Mapping[str, Any] | None = None) -> None:
        """The same."""
        self.before()
        super().save(messages, extra=extra)


class Story:
    """One session and the marks its agent leaves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marks: list[str] = []
        folder.mkdir(exist_ok=True)
        agent = {
            "name": "Store",
            "model": {"provider": "scripted", "name": "scripted"},
            "runtime": {"work_dir": "work", "on_unanswered": "suspend", "max_steps": 50},
            "tools": ["write_file", "ask_user"],
        }
        (folder / "agent.yaml").write_text(json.dumps({"agent": agent}))

    def store(self) -> Store:
        return Store("s", "Store", self.folder / "sessions")

    def open(self, store: FileSession, script: Any) -> AsyncRuntime:
        runtime = AsyncRuntime(self.folder / "agent.yaml", store, provider=ScriptedProvider(script))
        runtime.hooks.clear()
        runtime.register_tool("mark", self.marks.append)
        return runtime


def script(messages: Sequence[Message]) -> str:
    """Two marks and a line in a file for each step."""
    step = sum(message.role == "assistant" for message in messages)
    code = f'mark("{step}a")\nmark("{step}b")\nwrite_file("f.txt", mode="a")'
    return act(code, f"line {step}") if step < STEPS else finish("end")


def failing(at: int) -> Callable[[], object]:
    """Fail the `at`-th time, and only then."""
    count = 0

    def before() -> None:
        nonlocal count
        count += 1
        if count == at:
            raise SessionError("The disk is full.")

    return before


async def test_wherever_keeping_fails_the_run_ends_and_goes_on_from_there(tmp_path: Path) -> None:
    for at in range(1, 26):
        story = Story(tmp_path / str(at))
        store = story.store()
        store.before = failing(at)  # type: ignore[method-assign]
        async with story.open(store, script) as runtime:
            if at == 1:  # the very task could not be kept: its caller is told
                with pytest.raises(SessionError, match="disk is full"):
                    await runtime.run("Go")
            else:
                assert await runtime.run("Go") in (None, "end")
            assert runtime.last is not None
            if runtime.last.status != "completed":
                assert runtime.last.status == "failed"
                assert await runtime.resume() == "end"
            assert story.marks == [f"{step}{mark}" for step in range(STEPS) for mark in "ab"], at
            assert (story.folder / "work" / "f.txt").read_text() == "line 0\nline 1\nline 2\n", at
            assert "outcome unknown" not in json.dumps(runtime.messages)
            assert story.store().load() == runtime.messages


async def test_a_task_that_could_not_be_kept_leaves_the_suspended_one_as_it_was(tmp_path: Path) -> None:
    story = Story(tmp_path)
    async with story.open(story.store(), [act('mark("a")\nmark(ask_user("Which?"))')]) as first:
        await first.run("Ask")
        [request] = first.open_requests
    store = story.store()
    async with story.open(store, [finish("never")]) as second:
        store.before = failing(1)  # type: ignore[method-assign]
        with pytest.raises(SessionError, match="disk is full"):
            await second.run("Something else")
        assert second.open_requests == [request]
    async with story.open(story.store(), [finish("gone on")]) as third:
        assert await third.answer(request["request_id"], "b") == "gone on"
    assert story.marks == ["a", "b"]


@pytest.mark.parametrize("seed", range(4))
async def test_cancelled_at_any_moment_memory_and_a_slow_store_agree(tmp_path: Path, seed: int) -> None:
    story, chance = Story(tmp_path), random.Random(seed)
    never = threading.Event()  # waiting for it is being slow
    store = story.store()
    store.before = lambda: never.wait(chance.random() * 0.004)  # type: ignore[method-assign]
    async with story.open(store, script) as runtime:
        for _ in range(30):
            run = asyncio.ensure_future(runtime.resume() if runtime.messages else runtime.run("Go"))
            await asyncio.wait([run], timeout=chance.random() * 0.3)
            run.cancel()
            await asyncio.wait([run], timeout=PATIENCE)
            kept = story.store()
            assert kept.load() == runtime.messages
            assert (kept.extra().get("run") or {}) == runtime._kit.ledger.run
            if runtime.last and runtime.last.status == "completed":
                break
        assert runtime.last is not None and runtime.last.status == "completed"
    assert len(set(story.marks)) == len(story.marks)
