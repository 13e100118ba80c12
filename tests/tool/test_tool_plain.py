"""What tools return becomes plain data within bounds, or a clear error."""

from __future__ import annotations

import datetime
import enum
import itertools
import json
import math
import time
import uuid
from collections import namedtuple
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.tool.plain import brief, plain, show


class Model(BaseModel):
    when: datetime.date
    tags: set[str]


@dataclass
class Row:
    name: str
    where: PurePosixPath


class Level(enum.IntEnum):
    HIGH = 3


Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ((1, "a"), [1, "a"]),
        ({3, 1, 2}, [1, 2, 3]),
        (b"caf\xc3\xa9", "café"),
        (b"\xff", "\\xff"),
        (PurePosixPath("a/b"), "a/b"),
        (datetime.datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00"),
        (datetime.timedelta(minutes=1), 60.0),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Row("x", PurePosixPath("y")), {"name": "x", "where": "y"}),
        (Model(when=datetime.date(2026, 1, 2), tags={"a"}), {"when": "2026-01-02", "tags": ["a"]}),
        (Level.HIGH, 3),
        (Pair(1, 2), {"left": 1, "right": 2}),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
        ((n * n for n in range(3)), [0, 1, 4]),
    ],
)
def test_known_kinds_become_plain_data(value: Any, expected: Any) -> None:
    found = plain(value)
    assert found == expected
    json.dumps(found)


def test_half_characters_do_not_get_through() -> None:
    plain("half \ud800").encode("utf-8")


def test_what_cannot_be_handed_over_is_named() -> None:
    with pytest.raises(ToolError, match=r"_thread.lock.*cannot be handed over"):
        plain({"lock": __import__("threading").Lock()})
    with pytest.raises(ToolError, match=r"type"):
        plain(int)


def test_a_small_graph_that_unfolds_hugely_is_stopped_soon() -> None:
    bomb: Any = ["x"] * 10
    for _ in range(12):
        bomb = [bomb] * 10
    loop: list[Any] = []
    loop.append(loop)
    begun = time.monotonic()
    for value in (bomb, loop, itertools.count(), "x" * 17_000_000, 1 << 200_000):
        with pytest.raises(ToolError):
            plain(value)
    assert time.monotonic() - begun < 5


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)
    )
)
def test_plain_data_stays_as_it_is(value: Any) -> None:
    assert plain(value) == value
    assert len(brief(value)) < 2_000
    assert value is None or isinstance(show(value), str)


def test_numbers_that_are_no_json_survive() -> None:
    assert math.isnan(plain(math.nan))


def test_long_results_are_shown_with_head_and_tail() -> None:
    text = show("a" * 50_000 + "b" * 50_000, limit=1_000)
    assert text is not None
    assert text.startswith("aaa") and text.endswith("bbb")
    assert "99000 characters left out" in text
