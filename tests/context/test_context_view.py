"""The view: what is out of sight is replaced, what is not stays the very same message, and nothing is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.context.archive import (
    Archived,
    Span,
    State,
    Summary,
    archive,
    can_archive,
    hidden,
    reveal,
)
from autopilot_runtime.context.budget import message_tokens
from autopilot_runtime.context.view import View
from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.core.message import Message


class Words:
    """Words as short as can be."""

    dropped = "(below)"

    def archived(self, number: int, one: Archived, count: int) -> str:
        return f"A{number} {one.summary} ({count})"

    def summary(self, one: Summary, kept: Sequence[str]) -> str:
        return " / ".join([f"G {one.text}", *kept])


def talk(*lengths: int) -> list[Message]:
    """A conversation of so many tasks, each with that many steps."""
    messages = []
    for number, steps in enumerate(lengths, 1):
        messages.append(Message("user", f"task {number}", "task", number))
        for step in range(steps):
            messages.append(Message("assistant", f"reply {number}.{step}", "reply", number))
            messages.append(Message("user", f"result {number}.{step}", "result", number))
    return messages


def view_of(messages: list[Message], state: State = State()) -> View:  # noqa: B008
    view = View(Words())
    view.load(messages, state)
    return view


def texts(view: View) -> list[str]:
    return [one.content for one in view.messages]


def test_an_untouched_conversation_is_its_own_view() -> None:
    messages = talk(2, 1)
    view = view_of(messages)
    assert view.messages is messages
    messages.append(Message("user", "task 3", "task", 3))
    view.added(messages[-1], 7)
    assert view.messages is messages


def test_an_archived_task_is_one_message_at_its_place_and_the_others_are_the_same_objects() -> None:
    messages = talk(1, 2, 1)
    view = view_of(messages)
    view.show(archive(messages, State(), {2: "Built it."}, current=3))
    assert texts(view) == [
        "task 1",
        "reply 1.0",
        "result 1.0",
        "A2 Built it. (5)",
        "task 3",
        "reply 3.0",
        "result 3.0",
    ]
    assert [one.role for one in view.messages][3:5] == ["user", "user"]
    assert view.messages[0] is messages[0] and view.messages[-1] is messages[-1]
    assert view.messages[3].kind == "archived"


def test_archive_and_reveal_give_the_conversation_back() -> None:
    messages = talk(1, 2, 1)
    view = view_of(messages)
    state = archive(messages, view.state, {1: "one", 2: "two"}, current=3)
    view.show(state)
    for number in (2, 1):
        state = reveal(messages, state, number)
        view.show(state)
    assert state == State()
    assert view.messages is messages


def test_the_global_summary_stands_first_then_what_is_archived_then_the_rest() -> None:
    messages = talk(1, 1, 1, 1)
    kept = (Span(0, 0, 6),)
    state = State({3: Archived("three")}, Summary("old things", 6, kept))
    view = view_of(messages, state)
    assert texts(view)[:3] == ["G old things / task 1", "A3 three (3)", "task 4"]
    assert view.messages[0].role == "user"


def test_a_task_of_the_summary_can_be_shown_again() -> None:
    messages = talk(1, 1, 1)
    state = State(summary=Summary("old", 6))
    assert hidden(messages, state) == [1, 2]
    state = reveal(messages, state, 2)
    assert texts(view_of(messages, state))[:3] == ["G old", "task 2", "reply 2.0"]
    assert hidden(messages, state) == [1]
    assert can_archive(messages, state, current=3) == [2]
    again = archive(messages, state, {2: "two"}, current=3)
    assert 2 not in again.revealed


def test_stretches_that_are_shown_again_below_are_cut_exactly() -> None:
    messages = talk(1)
    messages[2] = Message("user", "aaXXbbXXcc", "result", 1)
    view = view_of(messages, State(dropped=(Span(2, 6, 8), Span(2, 2, 4))))
    assert texts(view)[2] == "aa(below)bb(below)cc"
    assert messages[2].content == "aaXXbbXXcc"


def test_new_messages_join_a_view_that_is_not_the_whole_in_constant_time() -> None:
    messages = talk(1, 1)
    view = view_of(messages, State({1: Archived("one")}))
    shown = view.messages
    messages.append(Message("assistant", "more", "reply", 2))
    view.added(messages[-1], message_tokens("more"))
    assert view.messages is shown
    assert texts(view)[-1] == "more"


def test_what_stands_for_others_is_encoded_once() -> None:
    messages = talk(1, 1, 1)
    view = view_of(messages, State({1: Archived("one")}))
    first = view.messages[0]
    view.show(replace(view.state, archived={1: Archived("one"), 2: Archived("two")}))
    assert view.messages[0] is first


def test_the_raw_count_is_that_of_what_is_sent() -> None:
    messages: list[Message] = []
    view = view_of(messages)
    for one in talk(2, 2):
        messages.append(one)
        view.added(one, message_tokens(one.content))
    whole = view.raw
    assert whole == sum(message_tokens(one.content) for one in messages)
    view.show(archive(messages, State(), {1: "s"}, current=2))
    assert view.raw == sum(message_tokens(one.content) for one in view.messages)
    assert sum(view.weights()) == view.raw
    assert view.hidden_raw(1) == sum(message_tokens(one.content) for one in messages if one.task == 1)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (3, "Task 3 is the one at work; it can be archived from a later task. Can be archived: 1."),
        (2, "Task 2 is archived already; reveal_context(2) brings it back."),
        (9, "There is no task 9 in this conversation."),
        (1, "The summary of task 1 is empty"),
    ],
)
def test_what_cannot_be_archived_says_why_and_what_can(number: int, says: str) -> None:
    messages = talk(1, 1, 1)
    state = State({2: Archived("two")})
    with pytest.raises(ToolError) as raised:
        archive(messages, state, {number: "   " if number == 1 else "text"}, current=3)
    assert says in str(raised.value)
    assert "Nothing was archived." in str(raised.value)


def test_a_task_of_the_global_summary_is_not_archived_again() -> None:
    messages = talk(1, 1, 1)
    with pytest.raises(ToolError, match="part of the global summary already"):
        archive(messages, State(summary=Summary("s", 3)), {1: "one"}, current=3)


def test_the_same_archiving_made_again_after_a_crash_is_no_error() -> None:
    messages = talk(1, 1)
    state = archive(messages, State(), {1: "one"}, current=2)
    assert archive(messages, state, {1: " one "}, current=2) == state


def test_what_is_not_hidden_cannot_be_revealed() -> None:
    messages = talk(1, 1)
    with pytest.raises(ToolError, match=r"Task 1 is not archived: you see all of it\. Archived: none\."):
        reveal(messages, State(), 1)
    with pytest.raises(ToolError, match="There is no task 7"):
        reveal(messages, State(), 7)


def test_open_questions_are_kept_until_they_are_answered_and_never_grow_without_end() -> None:
    state = State().asked(1, "Which?").asked(2, "When?").asked(3, "Which?")
    assert state.questions == ((2, "When?"), (3, "Which?"))
    assert state.answered("When?").questions == ((3, "Which?"),)
    for number in range(100):
        state = state.asked(4, f"q{number}")
    assert len(state.questions) == 20
    assert State().asked(1, "?").empty


def test_the_state_survives_json() -> None:
    messages = talk(2, 1, 1)
    state = State(
        {2: Archived("zwei – 二", 3)},
        Summary("s", 3, (Span(0, 0, 4),), ((1, "Which?"),), by_model=False),
        frozenset({1}),
        (Span(2, 1, 5),),
        ((1, "Which?"), (2, "When?")),
    )
    assert State.from_dict(json.loads(json.dumps(state.to_dict())), messages) == state
    assert State.from_dict(json.loads(json.dumps(State().to_dict())), messages) == State()


ODD = [
    {"archived_tasks": {"1": "x"}},
    "text",
    7,
    [1],
    {"version": 2},
    {**State().to_dict(), "archived": [1, 2]},
    {**State().to_dict(), "archived": {"x": {"summary": "s", "by": 1}}},
    {**State().to_dict(), "summary": {"text": "s"}},
    {**State().to_dict(), "dropped": [[0, 1]]},
    {**State().to_dict(), "dropped": [[99, 0, 1]]},
    {**State().to_dict(), "dropped": [[0, 5, 100_000]]},
    State(summary=Summary("s", 99)).to_dict(),
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_a_state_of_another_shape_is_a_value_error(odd: Any) -> None:
    with pytest.raises(ValueError):
        State.from_dict(odd, talk(1, 1))


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
    st.sets(st.integers(1, 6)),
    st.integers(0, 20),
    st.sets(st.integers(1, 6)),
)
def test_in_any_state_every_message_is_shown_or_stood_for_once(
    lengths: list[int], archived: set[int], upto: int, revealed: set[int]
) -> None:
    messages = talk(*lengths)
    upto = min(upto, len(messages))
    state = State({n: Archived("s") for n in archived}, Summary("g", upto) if upto else None, frozenset(revealed))
    view = view_of(messages, state)
    shown = [one for one in view.messages if one.kind not in ("archived", "summary")]
    want = [
        one
        for at, one in enumerate(messages)
        if (at < upto and one.task in revealed) or (at >= upto and one.task not in archived)
    ]
    assert all(a is b for a, b in zip(shown, want, strict=True))
    stand = [one.task for one in view.messages if one.kind == "archived"]
    assert sorted(stand) == sorted({one.task for one in messages[upto:]} & archived)
    grown = view_of([], state) if upto == 0 else view
    for one in messages if upto == 0 else []:
        grown._all.append(one)
        grown.added(one, message_tokens(one.content))
    assert texts(grown) == texts(view)


def test_ten_thousand_messages_are_laid_out_without_being_counted() -> None:
    messages = [Message("user", "word " * 400, "result", n // 20) for n in range(10_000)]
    begun = time.perf_counter()
    view_of(messages, State({7: Archived("seven")}))
    assert time.perf_counter() - begun < 0.5
