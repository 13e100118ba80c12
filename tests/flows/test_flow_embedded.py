"""A runtime as a part of somebody else's program: providers of one's own, what it costs, where it may be called."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from autopilot_runtime import AsyncRuntime, AutopilotError, EventType, Provider, Runtime, ScriptedProvider
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Delta, Text
from tests.fake_provider import FakeModel, Reply
from tests.flows.stage import Stage, act, finish


class Talker:
    """A provider as a user would write one; it misbehaves as it is told."""

    name = "own"
    model = "own-1"

    def __init__(self, replies: Sequence[str | Exception]) -> None:
        self._replies: Iterator[str | Exception] = iter(replies)

    async def stream(
        self, messages: Sequence[Message], *, system: str, max_tokens: int | None = None
    ) -> AsyncIterator[Delta]:
        reply = next(self._replies)
        if isinstance(reply, Exception):
            raise reply
        yield Text(reply)

    async def close(self) -> None:
        """Nothing to close."""


async def test_a_provider_of_ones_own_is_enough(stage: Stage) -> None:
    own = Talker([act("print(2 + 2)"), finish("four")])
    assert isinstance(own, Provider)
    stage.open(options={"provider": own})
    assert await stage.run() == "four"


async def test_a_provider_that_raises_ends_the_run_and_not_the_session(stage: Stage) -> None:
    stage.open(options={"provider": Talker([KeyError("my bug"), finish("recovered")])})
    assert await stage.run() is None
    assert stage.status == "failed"
    assert "my bug" in stage.of(EventType.RUNTIME_ERROR)[0].error
    with pytest.raises(KeyError):
        stage.rt.last.raise_for_status()
    assert await stage.do(stage.rt.resume) == "recovered"


async def test_the_repr_names_the_agent_and_no_secret(stage: Stage) -> None:
    rt = stage.open(finish())
    assert "Flow" in repr(rt)
    assert "anthropic/claude-test" in repr(rt)
    assert type(rt).__name__ in repr(rt)


def test_a_thousand_steps_cost_the_same_at_the_end_as_at_the_start(tmp_path: Path) -> None:
    steps = 1_000
    one = Stage("sync", tmp_path)
    agent = one.agent(url="http://127.0.0.1:9", runtime={"max_steps": steps + 1})
    script = ScriptedProvider([*[act("1")] * steps, finish("end")])
    at: list[float] = []
    with Runtime(agent, provider=script) as rt:
        rt.hooks.clear()
        rt._async._kit.stream.listen(lambda e: at.append(time.process_time()) if e.type is EventType.STEP else None)
        assert rt.run("Go") == "end"
        assert len(rt.messages) == 2 * steps + 2
    tenth = steps // 10
    early, late = at[2 * tenth] - at[tenth], at[-1] - at[-1 - tenth]
    assert late < 2 * early + 0.1, f"{tenth} steps: {early:.3f} s of CPU early, {late:.3f} s late"


async def test_a_slow_stream_is_not_cut(stage: Stage) -> None:
    text = finish("slow but sure")
    stage.open(Reply(text, chunk=8, pause=0.15), model={"timeout": 0.5})
    assert await stage.run() == "slow but sure"
    assert len(stage.fake.requests) == 1


def test_a_sync_call_on_the_runtimes_own_loop_is_refused(tmp_path: Path) -> None:
    one = Stage("sync", tmp_path)
    seen: list[str] = []
    with FakeModel([finish("ok")]) as fake, Runtime(one.agent(url=fake.url)) as rt:

        async def hook(**_: Any) -> None:
            try:
                rt.close()
            except AutopilotError as error:
                seen.append(str(error))

        rt.hooks.register(EventType.STEP, hook)
        assert rt.run("Go") == "ok"
    assert "loop thread" in seen[0]


def test_a_runtime_costs_nothing_before_its_first_run(tmp_path: Path) -> None:
    one = Stage("sync", tmp_path)
    before = set(_children())
    with Runtime(one.agent(url="http://127.0.0.1:9", tools=["execute"])) as rt:
        assert set(_children()) == before
        assert rt.messages == []
    assert AsyncRuntime(one.agent(url="http://127.0.0.1:9")).last is None


def _children() -> list[str]:
    return [path.read_text() for path in Path("/proc/self/task").glob("*/children")]


async def test_an_engine_alone_says_where_the_session_is_kept(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("agent: {name: A, model: {provider: scripted, name: x}}")
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/s.db")
    for held in (0, 2):
        model = ScriptedProvider(["Hello."])
        async with AsyncRuntime(tmp_path / "agent.yaml", session_id="s", db=engine, provider=model) as runtime:
            await runtime.run("Hi")
            assert len(runtime.messages) == held + 2
            if held:
                await runtime.reset()
                assert runtime.messages == [] and not await runtime.session.exists()  # type: ignore[misc]
    await engine.dispose()
