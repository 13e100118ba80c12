"""What is summed up, and what the summary is made from."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.context.compact import digest, fold_at, transcript
from autopilot_runtime.core.message import Message


def talk(*lengths: int) -> list[Message]:
    messages = []
    for number, steps in enumerate(lengths, 1):
        messages.append(Message("user", f"[Task {number}][USER INPUT] #tag\nDo thing {number}", "task", number))
        for step in range(steps):
            messages.append(Message("assistant", f"reply {number}.{step}", "reply", number))
            messages.append(Message("user", f"result {number}.{step}", "result", number))
    return messages


def folded(
    messages: list[Message], *, room: int, keep: int = 2, first: int = 0, whole: tuple[int, ...] = ()
) -> int | None:
    return fold_at(messages, [10] * len(messages), first=first, keep=keep, room=room, whole=whole)


def test_whole_tasks_go_first_and_no_more_of_them_than_needed() -> None:
    messages = talk(2, 2, 2)  # 5 messages each, 150 in all
    assert folded(messages, room=120) == 5
    assert folded(messages, room=100) == 5
    assert folded(messages, room=99) == 10


def test_then_the_older_steps_of_the_task_they_reach_into() -> None:
    messages = talk(1, 4)  # the second begins at 3; its replies are at 4, 6, 8, 10
    assert folded(messages, room=60) == 6
    assert messages[6].role == "assistant"
    assert folded(messages, room=40) == 8
    assert folded(messages, room=0) == 10


def test_the_newest_messages_stay_whatever_the_room() -> None:
    messages = talk(1, 4)
    for keep in range(2, 13):
        at = folded(messages, room=0, keep=keep)
        assert at is None or len(messages) - at >= keep
    assert folded(talk(1), room=0, keep=3) is None
    assert folded([], room=0) is None


def test_what_is_summed_up_already_is_not_counted_again() -> None:
    messages = talk(2, 2, 2)
    assert folded(messages, room=0, first=10, keep=4) == 11
    assert folded(messages, room=0, first=11, keep=4) is None


def test_an_archived_task_is_never_cut_in_two() -> None:
    messages = talk(1, 4, 0)
    at = folded(messages, room=0, keep=3, whole=(2,))
    assert at == 3


@given(st.lists(st.integers(0, 5), max_size=8), st.integers(0, 400), st.integers(2, 10), st.integers(0, 30))
def test_a_place_to_cut_is_a_task_or_a_reply(lengths: list[int], room: int, keep: int, first: int) -> None:
    messages = talk(*lengths)
    at = folded(messages, room=room, keep=keep, first=min(first, len(messages)))
    if at is not None:
        assert first < at <= len(messages) - keep
        assert messages[at].kind == "task" or messages[at].role == "assistant"


# ---------------------------------------------------------------- what the summary is made from


def test_a_transcript_that_fits_is_whole() -> None:
    text = transcript(talk(1), chars=10_000)
    assert "--- to the agent, task 1 ---" in text and "reply 1.0" in text and "result 1.0" in text


def test_only_the_long_messages_are_cut_and_in_the_middle() -> None:
    messages = [Message("user", "short", "task", 1), Message("user", "A" * 5_000 + "Z" * 5_000, "result", 1)]
    text = transcript(messages, chars=1_000)
    assert len(text) <= 1_100
    assert "short" in text and "AAA [...] ZZZ" in text


@given(st.lists(st.integers(0, 3_000), max_size=60), st.integers(0, 20_000))
def test_a_transcript_is_about_as_long_as_it_may_be(lengths: list[int], chars: int) -> None:
    messages = [Message("user", "x" * length, "result", 1) for length in lengths]
    assert len(transcript(messages, chars=chars)) <= max(chars, 0) + 1_200


def test_thousands_of_messages_are_left_out_in_the_middle() -> None:
    messages = [Message("user", f"message {n} " + "x" * 2_000, "result", n) for n in range(10_000)]
    begun = time.perf_counter()
    text = transcript(messages, chars=100_000)
    assert time.perf_counter() - begun < 2
    assert "messages left out" in text
    assert "message 0 " in text and "message 9999 " in text and "message 5000 " not in text
    assert len(text) < 110_000


def test_without_a_model_the_facts_remain() -> None:
    messages = talk(1, 1)
    messages[1] = Message("assistant", "I do.\n\n```completion\nThe thing is done.\nAll of it.\n```\n", "reply", 1)
    messages[2] = Message(
        "user", "[EXECUTION RESULT] #tag\nwrote src/a.py (new, 3 lines)\nwrote b.py (2 lines)", "result", 1
    )
    text = digest(messages, before="Long ago there was a plan.")
    assert text.splitlines() == [
        "Long ago there was a plan.",
        "- Task 1: Do thing 1 => The thing is done. All of it.",
        "- Task 2: Do thing 2 => reply 2.0",
        "Files written: src/a.py, b.py",
    ]


@pytest.mark.parametrize("chars", [200, 1_000, 5_000])
def test_a_digest_stays_short_however_much_there_was(chars: int) -> None:
    messages = talk(*[3] * 500)
    text = digest(messages, before="x" * 50_000, chars=chars)
    assert len(text) < chars + 400
    assert "Task 500" in text and "older tasks left out" in text


def test_a_digest_of_messages_of_another_writer() -> None:
    messages = [Message("user", "Please sort this.", "note"), Message("assistant", "Sorted.", "reply")]
    assert digest(messages) == "- Task 0: Please sort this. => Sorted."
