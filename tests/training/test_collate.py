"""Many feedbacks become few, and none is lost."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from autopilot_runtime.training import (
    AgentCollator,
    ConcatCollator,
    NumericGradient,
    SequentialCollator,
    TextGradient,
    TrainingError,
)
from autopilot_runtime.training.gradient import parts_of

RUDE = TextGradient("too rude", "prompt", "high", ("a",))
LATE = TextGradient("too late", "", "low", ("b",))


def test_what_is_said_twice_is_said_once_with_all_items_and_the_graver_severity() -> None:
    again = TextGradient("too  rude\n", "prompt", "critical", ("c", "a"))
    found = ConcatCollator().collate([LATE, RUDE, again])
    assert found is not None
    assert parts_of(found) == (TextGradient("too rude", "prompt", "critical", ("a", "c")), LATE)


def test_the_same_words_about_another_parameter_stay_apart() -> None:
    found = ConcatCollator().collate([RUDE, TextGradient("too rude", "greeting")])
    assert found is not None
    assert [part.attribution for part in parts_of(found)] == ["prompt", "greeting"]


def test_nothing_collated_is_nothing() -> None:
    assert ConcatCollator().collate([]) is None
    assert SequentialCollator(ConcatCollator()).collate([]) is None


def test_numbers_pass_through_untouched() -> None:
    found = ConcatCollator()([NumericGradient(1.0), NumericGradient(1.0)])
    assert found is not None
    assert found.value == 2.0  # type: ignore[attr-defined]


def test_an_agent_sorts_by_cause_and_what_it_forgets_is_kept() -> None:
    tasks: list[str] = []

    def agent(task: str) -> str:
        tasks.append(task)
        return "By cause:\n" + json.dumps([{"text": "no tone is set", "severity": "high", "of": [1, 2]}])

    other = TextGradient("slow", items=("z",))
    rude_too = TextGradient("curt", "prompt", "", ("d",))
    found = AgentCollator(agent, instructions="Mind the tone.").collate([RUDE, rude_too, other])
    assert found is not None
    assert parts_of(found) == (TextGradient("no tone is set", "prompt", "high", ("a", "d")), other)
    assert "Mind the tone." in tasks[0] and "1. [high, prompt] too rude" in tasks[0]


@pytest.mark.parametrize("answer", ["no list", "[]", '[{"of": [1]}]', RuntimeError("down")])
def test_an_agent_that_fails_loses_no_feedback(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    def agent(task: str) -> str:
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    with caplog.at_level(logging.WARNING):
        found = AgentCollator(agent).collate([RUDE, LATE])
    assert found is not None and parts_of(found) == (RUDE, LATE)
    assert "without agent" in caplog.text


def test_an_agent_is_not_asked_about_a_single_feedback() -> None:
    def agent(task: str) -> str:
        raise AssertionError("asked")

    assert AgentCollator(agent).collate([RUDE]) == RUDE


def test_in_sequence_each_gets_what_the_one_before_made() -> None:
    seen: list[int] = []

    def counting(gradients: Any) -> Any:
        seen.append(len(gradients))
        return "one line"

    found = SequentialCollator([ConcatCollator(), counting]).collate([RUDE, RUDE, LATE])
    assert found == TextGradient("one line") and seen == [2]
    with pytest.raises(TrainingError, match="needs collators"):
        SequentialCollator()
