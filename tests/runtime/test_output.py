"""The final answer as data."""

from __future__ import annotations

from typing import Any

import pytest

from autopilot_runtime.runtime.output import read_output

SCHEMA = {
    "type": "object",
    "required": ["verdict", "score"],
    "additionalProperties": False,
    "properties": {
        "verdict": {"enum": ["pass", "fail"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 10},
        "notes": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 2},
        "who": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[a-z]+$"}]},
    },
}


@pytest.mark.parametrize(
    "text", ['{"verdict": "pass", "score": 3}', '```json\n{"verdict": "pass", "score": 3.0}\n```']
)
def test_a_fitting_answer_is_read_bare_or_fenced(text: str) -> None:
    assert read_output(text, SCHEMA) == ({"verdict": "pass", "score": 3}, [])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("done!", "must be one JSON value"),
        ("[1]", "$: expected object, got array"),
        ('{"score": 1}', "'verdict' is missing"),
        ('{"verdict": "maybe", "score": 1}', "$.verdict: must be one of"),
        ('{"verdict": "pass", "score": true}', "$.score: expected integer, got boolean"),
        ('{"verdict": "pass", "score": 11}', "$.score: must be at most 10"),
        ('{"verdict": "pass", "score": 1, "x": 1}', "'x' is not expected"),
        ('{"verdict": "pass", "score": 1, "notes": ["a", ""]}', "$.notes[1]: has 0 characters"),
        ('{"verdict": "pass", "score": 1, "notes": ["a", "b", "c"]}', "$.notes: has 3 items"),
        ('{"verdict": "pass", "score": 1, "who": "UP"}', "$.who: fits not any"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(text: str, fault: str) -> None:
    _, faults = read_output(text, SCHEMA)
    assert len(faults) == 1 and fault in faults[0]


def test_a_schema_without_rules_takes_anything() -> None:
    values: list[Any] = [1, "x", None, [], {}]
    assert [read_output(t, {})[0] for t in ("1", '"x"', "null", "[]", "{}")] == values
