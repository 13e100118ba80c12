"""The small shared pieces: transcript, journal, frames, and the choice of an engine."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot_runtime.core.errors import SandboxUnavailable
from autopilot_runtime.core.protocols import Sandbox
from autopilot_runtime.sandbox import wire
from autopilot_runtime.sandbox.engine import open_sandbox
from autopilot_runtime.sandbox.transcript import Transcript


@given(
    st.lists(st.tuples(st.sampled_from(["text", "shown"]), st.text("ab", max_size=30)), max_size=30),
    st.integers(0, 99),
)
@settings(max_examples=300, deadline=None)
def test_a_transcript_is_the_head_and_the_tail_and_counts_the_rest(pieces: list[tuple[Any, str]], cap: int) -> None:
    transcript = Transcript(cap)
    for kind, text in pieces:
        transcript.add(kind, text)
    whole = "".join(text for _, text in pieces)
    shown = "".join(item.text for item in transcript.items())
    if len(whole) <= cap:
        assert (shown, transcript.dropped) == (whole, 0)
        return
    assert transcript.dropped == len(whole) - cap
    gap = f"\n[... {transcript.dropped} characters not shown ...]\n"
    head, _, tail = shown.partition(gap)
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert len(head) + len(tail) == cap


def test_an_empty_result_is_still_a_result() -> None:
    transcript = Transcript(100)
    transcript.add("shown", "")
    assert [(item.kind, item.text) for item in transcript.items()] == [("shown", "")]


def test_lone_surrogates_do_not_leave_the_transcript() -> None:
    transcript = Transcript(100)
    transcript.add("text", "a\ud800b")
    transcript.items()[0].text.encode()


# ---------------------------------------------------------------- frames

json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.integers() | st.none() | st.tuples(st.text()), inner)
        | st.sets(st.integers())
    ),
    max_leaves=20,
)


@given(json_like)
@settings(max_examples=300, deadline=None)
def test_a_value_survives_the_wire(value: object) -> None:
    frame = wire.to_frame({"v": wire.pack(value)})
    assert int.from_bytes(frame[: wire.HEAD], "big") == len(frame) - wire.HEAD
    back = wire.unpack(wire.from_body(frame[wire.HEAD :])["v"])
    assert back == value
    assert repr(type(back)) == repr(type(value))


def test_lone_surrogates_survive_the_wire() -> None:
    assert wire.from_body(wire.to_frame({"v": "\ud800 \udfff"})[wire.HEAD :]) == {"v": "\ud800 \udfff"}


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_frame_or_a_clear_error(body: bytes) -> None:
    try:
        assert isinstance(wire.from_body(body), dict)
    except wire.WireError:
        return


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{} {}", b"{", b"[" * 100_000, b'{"a":' + b"9" * 10_000 + b"}", b"\xff"]
)
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.from_body(body)


# ---------------------------------------------------------------- opening


def test_auto_opens_what_can_be_had_here() -> None:
    try:
        box = open_sandbox("auto")
    except SandboxUnavailable as error:
        assert "monty" in str(error)
        return
    assert isinstance(box, Sandbox)
    assert box.name in ("python", "monty")


def test_opening_imports_nothing_heavy() -> None:
    code = """
import sys, autopilot_runtime.sandbox.engine, autopilot_runtime.sandbox.python
print([m for m in ("pydantic", "pydantic_monty", "rich", "typer", "anthropic", "openai") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
