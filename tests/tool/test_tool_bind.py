"""Arguments are put to parameters as Python would, and what does not fit is said with the signature."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.tool.bind import bind, fault
from autopilot_runtime.tool.define import define


def write(path: str, start_line: int = 1, end_line: int | None = None, *, mode: Literal["w", "edit"] = "w") -> None:
    """Write."""


SPEC = define(write).spec


def test_positions_names_and_defaults() -> None:
    bound = bind(SPEC, ["a.py", 3], {"mode": "edit"})
    assert bound == {"path": "a.py", "start_line": 3, "end_line": None, "mode": "edit"}


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ([], {}, "misses 'path'"),
        (["a"], {"path": "b"}, "two values for 'path'"),
        (["a"], {"start": 2}, "did you mean 'start_line'?"),
        (["a", 1, 2, "w"], {}, "at most 3 positional"),
        ([3], {}, "path must be text, got 3"),
        (["a", "7"], {}, "start_line must be a whole number, got '7'"),
        (["a", True], {}, "start_line must be a whole number, got True"),
        (["a", 1.5], {}, "start_line must be a whole number, got 1.5"),
        (["a", None], {}, "start_line must be a whole number, got None"),
        (["a"], {"mode": "edits"}, "mode must be one of 'w', 'edit', got 'edits'; did you mean 'edit'?"),
        (["x" * 10], {"y" * 10_000_000: 1}, "has no parameter"),
    ],
)
def test_a_misfit_is_a_type_error_with_the_signature(args: list[Any], kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError) as caught:
        bind(SPEC, args, kwargs)
    text = str(caught.value)
    assert said in text
    assert "write(path: str, start_line: int = 1" in text
    assert len(text) < 1_000


def test_a_whole_float_is_taken_for_an_int() -> None:
    bound = bind(SPEC, ["a", 3.0], {})
    assert bound["start_line"] == 3
    assert type(bound["start_line"]) is int


def test_a_default_that_breaks_its_own_annotation_is_the_authors_business() -> None:
    def odd(limit: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert bind(define(odd).spec, [], {}) == {"limit": None}
    assert bind(define(odd).spec, [None], {}) == {"limit": None}


def test_deep_faults_name_their_place() -> None:
    def edit(edits: list[tuple[int, int]]) -> None: ...

    with pytest.raises(TypeError, match=r"edits\[1\]\[0\] must be a whole number, got 'x'"):
        bind(define(edit).spec, [[[1, 2], ["x", 3]]], {})
    with pytest.raises(TypeError, match=r"edits\[0\] must have 2 items"):
        bind(define(edit).spec, [[[1, 2, 3]]], {})


def test_a_value_that_unfolds_hugely_is_not_walked() -> None:
    bomb: Any = ["x"]
    for _ in range(60):
        bomb = [bomb, bomb, bomb, bomb]
    begun = time.monotonic()
    with pytest.raises(TypeError, match=r"path must be text, got a list|got \["):
        bind(SPEC, [bomb], {})
    huge = 10**100_000
    with pytest.raises(TypeError, match=r"an int of 332193 bits"):
        bind(SPEC, [huge], {})
    assert time.monotonic() - begun < 1


FUNCTIONS: list[Callable[..., Any]] = [
    lambda a, b=2: (a, b),
    lambda a, *rest: (a, rest),
    lambda a, *, b, c=3: (a, b, c),
    lambda **more: more,
    lambda a=1, *rest, b=2, **more: (a, rest, b, more),
]


@given(
    st.sampled_from(range(len(FUNCTIONS))),
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.sampled_from("abcd"), st.integers(), max_size=3),
)
def test_binding_agrees_with_python(which: int, args: list[int], kwargs: dict[str, int]) -> None:
    func = FUNCTIONS[which]
    spec = define(func, "f").spec
    try:
        expected = inspect.signature(func).bind(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            bind(spec, args, kwargs)
        return
    expected.apply_defaults()
    wanted = {k: list(v) if isinstance(v, tuple) else v for k, v in expected.arguments.items()}
    assert bind(spec, args, kwargs) == wanted


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json)
def test_checking_never_raises(value: Any) -> None:
    deep = {"type": "array", "items": {"anyOf": [{"type": "object", "required": ["a"]}, {"enum": [1, "x"]}]}}
    assert fault({}, value) is None
    assert fault(deep, value) is None or isinstance(fault(deep, value), str)
