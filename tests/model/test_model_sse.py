"""The event stream decoder: any split of the same bytes gives the same events, in linear time."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.model.sse import BadStream, SseDecoder, Surrogates

ENDINGS = st.sampled_from(["\n", "\r\n", "\r"])
TEXTS = st.lists(st.text(max_size=20), max_size=6)


def decode(chunks: list[bytes]) -> list[object]:
    decoder = SseDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@given(TEXTS, ENDINGS, st.data())
def test_how_the_bytes_are_cut_does_not_matter(texts: list[str], end: str, data: st.DataObject) -> None:
    whole = "".join(
        f': c{end}event: x{end}data: {{{end}data: "t": {json.dumps(text, ensure_ascii=number % 2 == 0)}}}{end}{end}'
        for number, text in enumerate(texts)
    ).encode("utf-8", "surrogatepass")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert decode(chunks) == decode([whole]) == [{"t": text} for text in texts]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_single_cut_gives_the_same_events(end: str) -> None:
    lines = ["\ufeff: hi", 'data: {"t":', 'data: "é漢😀\u2028"}', "", "event: x", "data: [DONE]", "", ""]
    whole = end.join(lines).encode()
    expected: list[object] = [{"t": "é漢😀\u2028"}, "[DONE]"]
    for cut in range(len(whole) + 1):
        assert decode([whole[:cut], whole[cut:]]) == expected
    assert decode([bytes([byte]) for byte in whole]) == expected


def test_data_over_several_lines_is_one_event() -> None:
    assert decode([b'data: {"a":\ndata: 1}\n\n']) == [{"a": 1}]


def test_half_an_event_is_no_event() -> None:
    assert decode([b'data: {"a": 1}\n']) == []


def test_done_is_a_word() -> None:
    assert decode([b"data: [DONE]\n\n"]) == ["[DONE]"]


def test_an_endless_line_is_refused() -> None:
    decoder = SseDecoder(longest=1000)
    with pytest.raises(BadStream, match="more than 1,000 bytes"):
        for _ in range(20):
            list(decoder.feed(b"x" * 100))
    decoder = SseDecoder(longest=1000)
    with pytest.raises(BadStream, match="more than 1,000 bytes"):
        for _ in range(20):
            list(decoder.feed(b"data: " + b"x" * 100 + b"\n"))


def test_json_that_nests_too_deep_is_refused() -> None:
    with pytest.raises(BadStream):
        decode([b"data: " + b"[" * 200_000 + b"\n\n"])


def test_five_megabytes_byte_by_byte_groups_are_linear() -> None:
    event = b'data: {"t": "' + b"x" * 4_000_000 + b'"}\n\n'
    started = time.perf_counter()
    chunks = [event[i : i + 1000] for i in range(0, len(event), 1000)]
    assert len(decode(chunks)) == 1
    assert time.perf_counter() - started < 2


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20))
def test_utf16_halves_find_each_other(text: str) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    halves = [units[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(units), 2)]
    join = Surrogates()
    out = "".join(join.feed(half) for half in halves) + join.end()
    assert out == text
