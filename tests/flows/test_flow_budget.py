"""Budgets as a user meets them: said to the model, held before a call, over a session and its sub-agents."""

from __future__ import annotations

import re

from autopilot_runtime import EventType
from tests.fake_provider import Reply
from tests.flows.stage import Stage, act, finish

USAGE = {"input_tokens": 200, "output_tokens": 50, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
PRICED = {"model": {"price": {"input": 10.0, "output": 100.0}}}


def costing(text: str) -> Reply:
    """A reply of 200 tokens in and 50 out: 0.7 cents."""
    return Reply(text, usage=USAGE)


async def test_the_model_is_told_what_is_left(stage: Stage) -> None:
    limits = {"max_tokens_total": 10_000, "max_cost_usd": 2.0, "timeout_s": 600}
    stage.open(costing(act("1")), costing(finish()), runtime=limits, **PRICED)
    assert await stage.run() == "All done."
    assert "$0.00 of $2.00 ($2.00 left) · 0 of 10,000 tokens (10,000 left) · 0 of 600 s" in stage.heard(0)
    assert "$0.01 of $2.00 ($1.99 left) · 250 of 10,000 tokens (9,750 left)" in stage.heard(1)


async def test_a_reply_may_be_no_longer_than_what_is_left(stage: Stage) -> None:
    stage.open(script=lambda _: costing(act("1")), runtime={"max_tokens_total": 1_500, "max_steps": 50})
    assert await stage.run() is None
    assert stage.status == "budget"
    caps = [request.json["max_tokens"] for request in stage.fake.requests]
    assert caps[1] <= 1_250 and caps == sorted(caps, reverse=True)
    assert all(request.json["max_tokens"] >= 16 for request in stage.fake.requests)


async def test_dollars_are_held_before_the_call_that_would_cross_them(stage: Stage) -> None:
    stage.open(script=lambda _: costing(act("1")), runtime={"max_cost_usd": 0.02, "max_steps": 50}, **PRICED)
    assert await stage.run() is None
    assert stage.status == "budget"
    assert stage.rt.last.cost_usd <= 0.02
    assert stage.rt.last.cost_usd > 0.007
    [event] = stage.of(EventType.BUDGET_EXCEEDED)
    assert event.what == "max_cost_usd"


async def test_what_was_done_before_the_limit_is_kept(stage: Stage) -> None:
    stage.open(
        script=lambda _: costing(act('write_file("a.txt", mode="a")', "x")),
        runtime={"max_tokens_total": 1_000, "max_steps": 50},
    )
    assert await stage.run() is None
    assert stage.rt.last.files_changed == ("a.txt",)
    assert stage.rt.last.steps == len(stage.fake.requests)
    assert (stage.work / "a.txt").read_text() == "x\n" * stage.rt.last.steps


async def test_a_session_has_limits_of_its_own_over_restarts(stage: Stage) -> None:
    limits = {"runtime": {"per_session": {"max_tokens_total": 700}, "max_steps": 50}}
    kept = {"session": "file", "session_id": "s", "session_dir": stage.folder / "sessions"}
    stage.open(costing(finish("one")), options=kept, **limits)
    assert await stage.run() == "one"
    await stage.close()
    stage._opened.clear()
    stage._fakes.clear()
    stage.open(script=lambda _: costing(act("1")), options=kept, **limits)
    assert await stage.run() is None
    assert stage.status == "budget"
    [event] = stage.of(EventType.BUDGET_EXCEEDED)
    assert event.what == "per_session.max_tokens_total"
    assert len(stage.fake.requests) == 1
    assert re.search(r"250 of 700 tokens \(450 left\)", stage.heard(0))


async def test_after_a_spent_budget_resume_gives_the_run_as_much_again(stage: Stage) -> None:
    stage.open(
        costing(act("1")),
        costing(finish("more")),
        runtime={"max_tokens_total": 400, "max_steps": 50},
    )
    assert await stage.run() is None
    assert stage.status == "budget"
    assert await stage.do(stage.rt.resume) == "more"
    assert stage.rt.last.usage.input_total == 400
