"""What judges answer, in the forms they answer it."""

from __future__ import annotations

from typing import Any

import pytest

from autopilot_runtime.training import EvalDatum, EvaluationFailed, TextGradient
from autopilot_runtime.training.answer import json_in, verdict_of


@pytest.mark.parametrize(
    ("answer", "score", "passed"),
    [
        (0.25, 0.25, None),
        (True, None, True),
        ('{"score": 0.5, "passed": false, "reasons": ["too long"]}', 0.5, False),
        ('Here is my view.\n```json\n{"score": 0.9}\n```\nDone.', 0.9, None),
        ('I say {"reasons": ["a {b}"], "score": 1} and no more', 1.0, None),
        ("Score: 7/10. The tone is off.", 0.7, None),
        ("rating = 85 %", 0.85, None),
        ("I'd give it 3/4 overall", 0.75, None),
        ("0.3", 0.3, None),
        ("Verdict: PASS", None, True),
        ("The tone is off, and nothing else.", None, None),
        ({"score": "8/10", "success": "no"}, 0.8, False),
        ((0.4, "rude"), 0.4, None),
        (EvalDatum(id="x", metrics={"score": 0.6}, success=False, feedback="late"), 0.6, False),
    ],
)
def test_a_judge_may_answer_in_many_forms(answer: Any, score: float | None, passed: bool | None) -> None:
    verdict = verdict_of(answer)
    assert verdict.score == (None if score is None else pytest.approx(score))
    assert verdict.passed is passed


def test_dates_and_versions_are_no_scores() -> None:
    assert verdict_of("As of 2026/11/28 the path src/3/4x is wrong").score is None


def test_each_issue_keeps_its_place_and_its_weight() -> None:
    verdict = verdict_of(
        {"score": 0, "issues": [{"text": "rude", "attribution": "prompt", "severity": "high"}, "late"]}, item="a"
    )
    parts = verdict.gradient.parts  # type: ignore[union-attr]
    assert parts == (TextGradient("rude", "prompt", "high", ("a",)), TextGradient("late", items=("a",)))


@pytest.mark.parametrize("score", [float("nan"), float("inf"), '{"score": NaN}'])
def test_a_score_that_is_no_number_is_an_error_and_no_score(score: Any) -> None:
    with pytest.raises(EvaluationFailed, match="not a finite number"):
        verdict_of(score)


def test_a_document_is_found_among_braces_that_are_none() -> None:
    assert json_in('use {x} and {y: 1} like [this]\n{"a": [1]}', dict) == {"a": [1]}
    assert json_in("nothing here", dict) is None
    assert json_in('[{"a": 1}]', list) == [{"a": 1}]


def test_a_hostile_answer_is_given_up_and_not_searched_for_ever() -> None:
    assert json_in("{" * 200_000, dict) is None
    assert json_in('{"a":' * 100_000, dict) is None
