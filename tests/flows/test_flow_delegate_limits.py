"""What a sub-agent may use, how it is stopped, what it leaves behind, and several of them at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from typing import Any

import pytest

from autopilot_runtime import EventType
from tests.fake_provider import Broken, Entry, Reply
from tests.flows.crew import ASK_FIRST, CALL, PRICE, WRITE, calling, helper, told
from tests.flows.stage import KEY, Gate, Stage, act, finish
from tests.running import is_running, wait_for

# ---------------------------------------------------------------- limits


async def test_the_least_of_all_step_limits_holds(stage: Stage) -> None:
    endless = helper(stage, script=lambda _: act("1"), runtime={"max_steps": 9})
    code = "print([delegate('helper', 'x', max_steps=n)['steps'] for n in (3, 8, None)])"
    stage.open(
        act(code), act("r = delegate('helper', 'x')\nprint(r['status'])"), finish(), tools=[calling(max_steps=5)]
    )
    await stage.run()
    assert "[3, 5, 5]" in stage.heard(1)
    assert "max_steps" in stage.heard(2)
    assert len(endless.requests) == 3 + 5 + 5 + 5


@pytest.mark.parametrize("limit", ["of the caller", "of the tool", "of the file"])
@pytest.mark.parametrize("what", ["max_cost_usd", "max_tokens_total"])
async def test_a_helper_stops_before_it_costs_more_than_it_may(stage: Stage, limit: str, what: str) -> None:
    most = {"max_cost_usd": 0.02, "max_tokens_total": 1_000}[what]
    file = {"runtime": {what: most}} if limit == "of the file" else {}
    helper(stage, script=lambda _: act("1"), model={"price": PRICE}, **file)
    if limit == "of the tool" and what == "max_tokens_total":
        pytest.skip("a tool has no such setting")
    config = {what: most} if limit == "of the tool" else {}
    stage.open(
        CALL,
        finish("in spite of it"),
        tools=[calling(**config)],
        model={"price": PRICE},
        runtime={what: most} if limit == "of the caller" else {},
    )
    assert await stage.run() == "in spite of it"  # what the caller needs to hear of it was kept back
    assert "'status': 'budget'" in stage.heard() and f"limit {what}" in stage.heard()
    spent = {"max_cost_usd": stage.rt.last.cost_usd, "max_tokens_total": stage.of(EventType.USAGE)[-1].total_tokens}
    assert spent[what] > 0 and (limit != "of the caller" or spent[what] <= most)


async def test_a_model_without_a_price_does_not_free_its_caller_of_its_limit(stage: Stage) -> None:
    helper(stage, finish("at what cost?"), model={"name": "nobody-knows-this-model"})
    calls = [CALL, *[act("1")] * 50]
    stage.open(*calls, tools=[calling()], model={"price": PRICE}, runtime={"max_cost_usd": 0.02, "max_steps": 50})
    await stage.run()
    assert (stage.status, stage.rt.last.cost_usd) == ("budget", None)


@pytest.mark.parametrize("limit", ["of the tool", "of the file"])
async def test_a_helper_that_takes_too_long_is_stopped_and_its_caller_goes_on(stage: Stage, limit: str) -> None:
    fake = helper(stage, Broken("silent"), runtime={"timeout_s": 0.3 if limit == "of the file" else 60.0})
    stage.open(CALL, finish("went on"), tools=[calling(**({"timeout": 0.3} if limit == "of the tool" else {}))])
    assert await stage.run() == "went on"
    assert "'status': 'budget'" in stage.heard() and "timeout_s" in stage.heard()
    assert fake.requests


@pytest.mark.parametrize("tool", ["delegate('helper', 'x')", "delegate_all([('helper', 'x'), ('slow', 'y')])"])
async def test_a_helper_may_take_longer_than_a_tool(stage: Stage, monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    monkeypatch.setattr("autopilot_runtime.runtime.desk.TOOL_SECONDS", 0.2)
    helper(stage, Reply(finish("at last"), chunk=4, pause=0.08))
    helper(stage, Reply(finish("much later"), chunk=2, pause=0.08), name="slow")
    stage.open(act(tool), finish(), tools=[calling("helper", "slow")])
    await stage.run()
    assert "at last" in stage.heard() and ("much later" in stage.heard()) == ("all" in tool)


async def test_agents_call_agents_as_deep_as_the_first_one_says(stage: Stage) -> None:
    deep = "print('below:', delegate('helper', 'deeper')['summary'])"
    fake = helper(stage, act(deep), finish("bottom"), act(deep), finish("middle"), tools=[calling(max_depth=9)])
    fake._replies = [act(deep), act(deep), finish("bottom"), finish("middle")]
    stage.open(act(deep), finish("top"), tools=[calling()])
    assert await stage.run() == "top"
    assert "below: middle" in stage.heard()
    # The second below the top has no such tool: what it tried did not even begin.
    assert "name 'delegate' is not defined" in told(fake, 2)
    assert "below: bottom" in told(fake, 3)
    names = {event.agent for event in stage.of(EventType.DELEGATED)}
    assert names == {"helper", "helper/helper"}


# ---------------------------------------------------------------- endings


WAYS = [("abort", "in a command"), ("abort", "in the model"), ("cancel", "in a command"), ("timeout", "in a command")]


@pytest.mark.parametrize(("way", "where"), WAYS)
async def test_who_stops_the_caller_stops_the_helper_and_its_processes(stage: Stage, way: str, where: str) -> None:
    if way == "cancel" and stage.sync:
        pytest.skip("there is no task to cancel")
    nap = f"sleep 12345.{time.monotonic_ns() % 100_000}"
    begun = Gate()

    def stall(_: Any) -> Entry:
        begun.open()
        return Broken("silent") if where == "in the model" else act(f"execute('main', '{nap}', 300)")

    helper(stage, script=stall, tools=["execute"])
    rt = stage.open(CALL, finish("next"), tools=[calling()], runtime={"timeout_s": 4.0} if way == "timeout" else {})
    work = stage.begin()
    await begun.passed()
    if where == "in a command":
        await asyncio.to_thread(wait_for, nap)
    stopped = time.monotonic()
    if way == "abort":
        rt.abort()
    elif way == "cancel":
        work.cancel()
    with pytest.raises(asyncio.CancelledError) if way == "cancel" else contextlib.nullcontext():
        assert await work is None
    assert time.monotonic() - stopped < 1.0 or way == "timeout"
    assert stage.status == {"timeout": "budget"}.get(way, "aborted")
    assert not is_running(nap)
    assert stage.events[-1].type is EventType.RUN_ENDED
    ended = [event.data["data"]["status"] for event in stage.of(EventType.DELEGATED) if event.event == "run_ended"]
    assert ended == ["aborted"] or (way, ended) == ("timeout", ["budget"])  # whichever clock strikes first
    if way == "abort":
        assert await stage.run() == "next"


async def test_a_helpers_shell_ends_with_its_task(stage: Stage) -> None:
    nap = f"sleep 12345.{time.monotonic_ns() % 100_000}"
    helper(stage, act(f"print(execute('main', '{nap} & echo up')['output'])"), finish("up"), tools=["execute"])
    stage.open(act("print(delegate('helper', 'x'))"), act("1"), finish(), tools=[calling()])
    assert await stage.run() is not None
    assert "'status': 'completed'" in stage.heard(1)
    assert not is_running(nap)


@pytest.mark.parametrize("granted", [True, False])
async def test_a_helpers_shell_is_confined_as_its_callers_would_be(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, granted: bool
) -> None:
    monkeypatch.setenv("LICENCE_TOKEN", "x-1-x")
    code = act("print('there:', len(execute('main', 'printf %s \"$LICENCE_TOKEN\"')['output']))")
    fake = helper(stage, code, finish(), tools=["execute"], runtime={"sandbox": {"env": ["LICENCE_TOKEN"]}})
    sandbox = {"env": ["LICENCE_TOKEN"] if granted else []}
    stage.open(CALL, finish(), tools=[calling()], runtime={"sandbox": sandbox})
    await stage.run()
    assert f"there: {5 if granted else 0}" in told(fake)


# ---------------------------------------------------------------- files


async def test_what_a_helper_changed_is_stale_for_its_caller_and_not_the_doing_of_others(stage: Stage) -> None:
    (stage.work / "a.txt").write_text("one\ntwo\n")
    edit = "write_file('a.txt', mode='edit', start_line={0}, end_line={0})"
    helper(stage, act("read_file('a.txt')\n" + edit.format(1), "ONE\nand a half"), finish("edited"))
    stage.open(
        act("read_file('a.txt')"),
        CALL,
        act(edit.format(2), "TWO"),
        act(edit.format(3), "TWO"),
        finish(),
        tools=["read_file", "write_file", calling()],
    )
    await stage.run()
    assert "a.txt was changed by somebody else since you last read or wrote it" in stage.heard(3)
    assert (stage.work / "a.txt").read_text() == "ONE\nand a half\nTWO\n"
    assert not stage.of(EventType.ENVIRONMENT_CHANGE)
    assert "ENVIRONMENT CHANGE" not in "".join(request.text for request in stage.fake.requests)


async def test_a_helper_works_in_its_callers_folder_whatever_its_file_says(stage: Stage) -> None:
    helper(stage, WRITE, finish(), runtime={"work_dir": "somewhere/else", "unsafe_mode": True})
    stage.open(CALL, finish(), tools=[calling()])
    await stage.run()
    assert (stage.work / "a.txt").exists()
    assert not (stage.folder / "somewhere").exists()


# ---------------------------------------------------------------- at the same time


async def test_several_work_at_the_same_time_and_ask_one_after_the_other(stage: Stage) -> None:
    both = threading.Barrier(2, timeout=20)

    def meet(seen: Any) -> Entry:
        if len(json.loads(seen.body)["messages"]) > 1:
            return finish("written")
        both.wait()
        return act(f"ask_user('Sure?')\nwrite_file('{threading.get_ident()}.txt')", "x")

    helper(stage, script=meet, tools=["ask_user", ASK_FIRST])
    helper(stage, script=meet, tools=["ask_user", ASK_FIRST], name="tester")
    code = "print([r['summary'] for r in delegate_all([('helper', 'a'), ('tester', 'b')])])"
    rt = stage.open(act(code), finish(), tools=[calling("helper", "tester")])
    inside, most = threading.Semaphore(1), [0]

    def gate(**_: Any) -> bool:
        alone = inside.acquire(blocking=False)
        threading.Event().wait(0.05)  # time for the other to come in, if it could
        if alone:
            most[0] += 1
            inside.release()
        return True

    rt.hooks.register(EventType.PERMISSION_REQUEST, gate)
    rt.hooks.register(EventType.ASK_USER, lambda **_: "yes" if gate() else None)
    await stage.run()
    assert "['written', 'written']" in stage.heard()
    assert len(stage.rt.last.files_changed) == 2
    assert most == [4]


async def test_several_share_what_their_caller_has_left(stage: Stage) -> None:
    helper(stage, script=lambda _: act("1"), model={"price": PRICE})
    code = "print([r['status'] for r in delegate_all([('helper', 'a'), ('helper', 'b'), ('helper', 'c')])])"
    most = 0.03
    stage.open(act(code), finish(), tools=[calling()], model={"price": PRICE}, runtime={"max_cost_usd": most})
    await stage.run()
    bills = [event.cost_usd for event in stage.of(EventType.USAGE)]
    assert stage.rt.last.cost_usd < most + 3 * max(bills)  # each may have had one call under way
    assert [e.data["data"]["status"] for e in stage.of(EventType.DELEGATED) if e.event == "run_ended"] == [
        "budget"
    ] * 3


async def test_a_wrong_name_among_several_begins_nothing(stage: Stage) -> None:
    fake = helper(stage)
    stage.open(
        act("delegate_all([('helper', 'a'), ('nobody', 'b')])"), act("delegate_all([])"), finish(), tools=[calling()]
    )
    await stage.run()
    assert "There is no agent 'nobody'. Nothing was begun. The agents are: helper." in stage.heard(1)
    assert "There are no tasks." in stage.heard(2)
    assert not fake.requests


# ---------------------------------------------------------------- the file


async def test_a_shipped_agent_is_called_by_its_name(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = helper(stage, finish("approved"))
    monkeypatch.setenv("ANTHROPIC_BASE_URL", fake.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    tools = [{"name": "delegate", "config": {"agents": {"reviewer": "reviewer"}}}]
    stage.open(act("delegate('reviewer', 'Review it')"), finish(), tools=tools)
    await stage.run()
    assert "reviewer: completed (1 step)\napproved" in stage.heard()
    assert "- reviewer: A code reviewer who reports only what can be shown." in stage.rt.system_prompt


PACK = '''
from autopilot_runtime import ToolContext, tool


@tool(agents=True)
async def second_opinion(ctx: ToolContext, text: str) -> bool:
    """Whether all others agree."""
    found = [await ctx.delegate(name, text, max_steps=1) for name in ctx.agents]
    return all(result.summary == "yes" for result in found)
'''


async def test_a_tool_of_ones_own_calls_agents_in_the_same_way(stage: Stage) -> None:
    helper(stage, finish("yes"), finish("yes"))
    helper(stage, finish("yes"), finish("no"), name="tester")
    (stage.folder / "mine.py").write_text(PACK)
    code = "print([second_opinion('1 + 1 = 2'), second_opinion('1 + 1 = 3')])"
    stage.open(act(code), finish(), tools=[calling("helper", "tester", tool="./mine.py")])
    await stage.run()
    assert "[True, False]" in stage.heard()
    has = "(has read_file, write_file, ask_user)"
    listed = f"Agents:\n    - helper: The helper. {has}\n    - tester: The tester. {has}"
    assert listed in stage.rt.system_prompt
