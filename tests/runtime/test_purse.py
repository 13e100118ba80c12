"""Budgets: of a run, of all runs of a session, of a caller; none is crossed, whoever spends."""

from __future__ import annotations

import pytest

from autopilot_runtime.runtime.purse import LEAST_REPLY, Amount, BudgetSpent, Purse


def test_what_is_spent_below_is_spent_above() -> None:
    session = Purse(usd=1.0, kind="per_session.")
    run = Purse(usd=0.9, above=(session,))
    helper = Purse(above=(run,))
    helper.spend(Amount(0.5, 10))
    assert (session.spent.usd, run.spent.usd, helper.spent.tokens) == (0.5, 0.5, 10)
    with pytest.raises(BudgetSpent, match=r"max_cost_usd = 0\.9"):
        helper.check(Amount(0.45))


def test_a_purse_reached_by_two_ways_is_charged_once() -> None:
    session = Purse(tokens=100, kind="per_session.")
    run = Purse(above=(session,))
    Purse(above=(session, run)).spend(Amount(0, 40))
    assert session.spent.tokens == 40


def test_what_one_has_set_aside_another_cannot_spend() -> None:
    run = Purse(tokens=100)
    one, other = Purse(above=(run,)), Purse(above=(run,))
    with one.set_aside(Amount(0, 60)):
        with pytest.raises(BudgetSpent, match="max_tokens_total"), other.set_aside(Amount(0, 60)):
            raise AssertionError
        assert run.aside.tokens == 60
    with other.set_aside(Amount(0, 60)):
        assert run.aside.tokens == 60
    assert run.aside.tokens == 0


def test_a_limit_of_the_session_is_named_as_one() -> None:
    session = Purse(usd=1.0, kind="per_session.")
    session.spent = Amount(1.0)
    with pytest.raises(BudgetSpent) as caught:
        Purse(usd=5.0, above=(session,)).check(Amount())
    assert caught.value.what == "per_session.max_cost_usd"


def test_a_reply_gets_the_room_that_is_left() -> None:
    run = Purse(tokens=1_000, usd=1.0)
    run.spend(Amount(0.4, 300))
    assert run.room(Amount(0.1, 200), per_token=0.001) == 500
    assert run.room(Amount(0.1, 200), per_token=0.01) == 50
    assert run.room(Amount(0.1, 200), per_token=0.0) == 500
    assert Purse().room(Amount(9, 9), per_token=1.0) is None


@pytest.mark.parametrize(
    ("tokens", "usd"), [(500 + LEAST_REPLY - 1, None), (None, 0.5 + LEAST_REPLY * 0.001 - 0.002)]
)
def test_no_room_to_speak_of_is_a_spent_budget(tokens: int | None, usd: float | None) -> None:
    with pytest.raises(BudgetSpent, match="and the next call would take"):
        Purse(tokens=tokens, usd=usd).room(Amount(0.5, 500), per_token=0.001)


def test_the_clock_that_runs_out_first_counts() -> None:
    session = Purse(seconds=100, elapsed=lambda: 95.0, kind="per_session.")
    run = Purse(seconds=30, elapsed=lambda: 5.0, above=(session,))
    assert run.seconds_left() == 5
    assert run.tightest_clock().what == "per_session.timeout_s"
    assert run.line(spent=None, coming=Amount()) == "cost: 95 of 100 s (5 left)"


@pytest.mark.parametrize(
    ("tokens", "usd", "told"),
    [
        (22_000, None, "(11,500 left); enough for about 2 more replies: finish what matters most"),
        (18_000, None, "(7,500 left); enough for this reply only: complete now"),
        (10_500, 0.9, "(0 left); enough for this reply only: complete now"),
        (90_000, 0.7, "(79,500 left); enough for about 3 more replies"),
        (90_000, 0.9, "(79,500 left)"),
    ],
)
def test_the_line_says_for_how_many_replies_it_lasts_when_these_are_few(
    tokens: int, usd: float | None, told: str
) -> None:
    run = Purse(tokens=tokens, above=(Purse(usd=usd),) if usd else ())
    run.spend(Amount(0.39, 10_500))
    line = run.line(spent=None, coming=Amount(0.1, 4_000))
    assert told in line
    assert ("replies" in line or "reply" in line) == ("enough" in told)
