"""Annotations become JSON Schema, and arguments become what was annotated."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, TypedDict

import pytest

from autopilot_runtime.tool.convert import convert
from autopilot_runtime.tool.schema import params_of, schema


@dataclass
class Point:
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    deep: bool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Unknown:
    pass


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (list, {"type": "array"}),
        (dict, {"type": "object"}),
        (Any, {}),
        (Unknown, {}),
        (None, {"type": "null"}),
        (Path, {"type": "string"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (Sequence[str], {"type": "array", "items": {"type": "string"}}),
        (set[str], {"type": "array", "items": {"type": "string"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        ),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (Colour, {"enum": ["red", "blue"]}),
        (int | None, {"type": ["integer", "null"]}),
        (Optional[str], {"type": ["string", "null"]}),  # noqa: UP045
        (list[int] | None, {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}),
        (Annotated[int, "pages"], {"type": "integer"}),
        (
            Point,
            {
                "type": "object",
                "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
                "required": ["x"],
                "additionalProperties": False,
            },
        ),
        (
            Options,
            {
                "type": "object",
                "properties": {"deep": {"type": "boolean"}},
                "required": [],
                "additionalProperties": False,
            },
        ),
    ],
)
def test_an_annotation_becomes_its_schema(annotation: Any, expected: dict[str, Any]) -> None:
    assert schema(annotation) == expected


def test_a_recursive_dataclass_does_not_recurse_for_ever() -> None:
    assert schema(Tree)["properties"]["left"]["anyOf"][0]["type"] == "object"


@dataclass
class Tree:
    left: Tree | None = None


def test_parameters_carry_defaults_kinds_and_notes() -> None:
    def find(pattern: str, *more: int, scope: Literal["file", "all"] = "all", **extra: bool) -> None:
        """Find.

        Args:
            pattern: What to look for.
            scope (str): Where.

        Returns:
            scope: not a parameter note
        """

    pattern, more, scope, extra = params_of(find)
    assert (pattern.required, pattern.schema) == (True, {"type": "string", "description": "What to look for."})
    assert (more.kind, more.required) == ("var_positional", False)
    assert (scope.kind, scope.default, scope.schema["enum"]) == ("keyword", "all", ["file", "all"])
    assert scope.schema["description"] == "Where."
    assert extra.kind == "var_keyword"


def test_a_name_only_the_type_checker_knows_takes_anything() -> None:
    def odd(thing: NoSuchType) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    (thing,) = params_of(odd)
    assert (thing.schema, thing.shown) == ({}, "NoSuchType")


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (tuple[int, int], [1, 2], (1, 2)),
        (list[tuple[int, int]], [[1, 2], [3, 4]], [(1, 2), (3, 4)]),
        (list[tuple[int, int]] | None, [[1, 2]], [(1, 2)]),
        (set[str], ["a", "a"], {"a"}),
        (float, 3, 3.0),
        (int, 3.0, 3),
        (Point, {"x": 1}, Point(1)),
        (list[Point], [{"x": 1, "y": 2}], [Point(1, 2)]),
        (dict[str, Point], {"a": {"x": 1}}, {"a": Point(1)}),
        (Colour, "red", Colour.RED),
        (Path, "a/b", Path("a/b")),
        (bytes, "hi", b"hi"),
        (Any, [1], [1]),
        (str, "x", "x"),
    ],
)
def test_arguments_become_what_was_asked_for(annotation: Any, value: Any, expected: Any) -> None:
    found = convert(annotation, value)
    assert found == expected
    assert type(found) is type(expected)
