"""Hundreds of runtimes in one process: what each of them costs those beside it."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from autopilot_runtime import AgentFile, AsyncRuntime, ScriptedProvider
from autopilot_runtime.core.hooks import on_finish
from autopilot_runtime.core.message import Message
from tests.flows.stage import act, finish

ROOT = Path(__file__).resolve().parents[2]
MANY = 40


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.txt").write_text("hello\n")
    (tmp_path / "prompt.md").write_text("Be brief.\n")
    spec = {
        "name": "Many",
        "system_prompt": "prompt.md",
        "model": {"provider": "scripted", "name": "scripted"},
        "runtime": {"work_dir": "work"},
        "tools": ["read_file", "write_file"],
    }
    path = tmp_path / "agent.yaml"
    path.write_text(json.dumps({"agent": spec}))
    return path


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Until the story ends, what is freed is freed because nobody holds it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def opened(agent: Path, number: int, steps: int = 10) -> AsyncRuntime:
    """A runtime with a session on disk, whose model looks at a file until it is done."""
    replies = [*[act('print(read_file("a.txt"))')] * (steps - 1), finish()]
    runtime = AsyncRuntime(
        agent, "file", f"s-{number}", agent.parent / "sessions", provider=ScriptedProvider(replies)
    )
    runtime.hooks.clear()
    return runtime


async def settled() -> int:
    """What is alive when what the loop still holds of the past is gone."""
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()
    return len(gc.get_objects())


async def test_an_idle_runtime_is_few_objects_for_the_collector(agent: Path) -> None:
    first = opened(agent, -1)
    before = await settled()
    many = [opened(agent, number) for number in range(MANY)]
    assert (await settled() - before) / MANY <= 100
    for one in (first, *many):
        await one.close()


async def test_a_finished_run_leaves_its_conversation_and_its_events_and_little_more(agent: Path) -> None:
    first, second = opened(agent, 1), opened(agent, 2)
    assert await first.run("Go") == "All done."
    before = await settled()
    assert await second.run("Go") == "All done."
    kept = len(second.messages) + second._kit.stream.seq
    assert await settled() - before <= kept + 90
    await first.close()
    await second.close()


@pytest.mark.usefixtures("uncollected")
async def test_the_steps_of_a_run_leave_nothing_that_only_the_collector_could_free(agent: Path) -> None:
    runtime = opened(agent, 1, steps=20)
    assert await runtime.run("Go") == "All done."
    assert gc.collect() <= 20  # less than one for each step
    await runtime.close()


def _listen(runtime: AsyncRuntime, heard: list[str]) -> None:
    @on_finish(runtime)
    def said(summary: str) -> None:
        heard.append(f"{summary} of {runtime.session.session_id}")  # a handler that holds what holds it


@pytest.mark.usefixtures("uncollected")
async def test_a_closed_runtime_is_gone_at_once(agent: Path) -> None:
    runtime = opened(agent, 1)
    heard: list[str] = []

    _listen(runtime, heard)
    assert await runtime.run("Go") == "All done."
    await runtime.close()
    assert heard == ["All done. of s-1"]
    parts = [weakref.ref(part) for part in (runtime, runtime._kit, runtime._kit.stream, runtime._kit.ledger)]
    del runtime
    await asyncio.sleep(0)
    assert [ref() for ref in parts] == [None] * 4


async def test_runtimes_of_one_file_hold_one_of_it_until_it_says_something_else(agent: Path) -> None:
    one, two = opened(agent, 1), opened(agent, 2)
    assert one.agent is two.agent
    assert one._kit.stream.redactor is two._kit.stream.redactor
    (agent.parent / "prompt.md").write_text("Be long.\n")
    three, four = opened(agent, 3), AgentFile.load(agent, {"runtime.max_steps": 1})
    assert "Be brief." in one.system_prompt and "Be long." in three.system_prompt
    assert four.runtime.max_steps == 1 != three.agent.runtime.max_steps
    for runtime in (one, two, three):
        await runtime.close()


async def test_what_a_tool_does_to_its_config_stays_with_its_runtime(agent: Path) -> None:
    (agent.parent / "own.py").write_text(
        "from autopilot_runtime import ToolContext, tool\n\n\n@tool\ndef more(ctx: ToolContext) -> int:\n"
        '    """Grow."""\n    ctx.config["seen"].append(1)\n    return len(ctx.config["seen"])\n'
    )
    spec = json.loads(agent.read_text())
    spec["agent"]["tools"] = [{"name": "./own.py", "config": {"seen": []}}]
    agent.write_text(json.dumps(spec))
    script = [act('print("seen", more())'), finish()]
    both = [AsyncRuntime(agent, provider=ScriptedProvider(script)) for _ in range(2)]
    assert both[0].agent is both[1].agent
    for runtime in both:
        runtime.hooks.clear()
        await runtime.run("Go")
        assert "seen 1" in runtime.messages[2]["content"]
    for runtime in both:
        await runtime.close()


async def test_runtimes_that_wake_in_the_same_instant_leave_the_loop_to_others(agent: Path) -> None:
    answer, waiting = asyncio.Event(), asyncio.Semaphore(0)

    async def think(messages: list[Message]) -> str:
        waiting.release()
        await answer.wait()
        return finish()

    many = [AsyncRuntime(agent, provider=ScriptedProvider(think)) for _ in range(MANY)]
    for one in many:
        one.hooks.clear()
    runs = [asyncio.create_task(one.run("Go")) for one in many]
    for _ in many:
        await waiting.acquire()
    heard = [0]
    answer.set()  # all models answer at once
    while heard[-1] < MANY:
        await asyncio.sleep(0)
        heard.append(sum(any(m["role"] == "assistant" for m in one.messages) for one in many))
    # Not in one round, nor in a few: whoever else lives on the loop had a look in between.
    assert len(set(heard)) > MANY / 4
    assert await asyncio.gather(*runs) == ["All done."] * MANY
    for one in many:
        await one.close()


def test_the_first_run_imports_nothing_more() -> None:
    script = """
import asyncio, sys, tempfile
from pathlib import Path
from autopilot_runtime import AsyncRuntime, ScriptedProvider

AGENT = "agent: {name: A, model: {provider: scripted, name: s}, runtime: {work_dir: .}, tools: [read_file]}"

async def main(folder):
    (folder / "agent.yaml").write_text(AGENT)
    model = ScriptedProvider(["```codepilot\\nprint(1)\\n```\\n", "```completion\\nx\\n```"])
    async with AsyncRuntime(folder / "agent.yaml", provider=model) as rt:
        rt.hooks.clear()
        before = set(sys.modules)
        assert await rt.run("Go") == "x"
        print([name for name in sys.modules if name not in before and name.startswith("autopilot_runtime")])

with tempfile.TemporaryDirectory() as name:
    asyncio.run(main(Path(name)))
"""
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (found.stdout, found.stderr) == ("[]\n", "")
