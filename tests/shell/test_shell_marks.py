"""Marks and reports are found wherever the stream is cut, and only those with the nonce."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.shell.marks import Mark, MarkDecoder, Report, ReportDecoder

NONCE = "0123abcd"
MARK = b"\x1b]633;D;0123abcd;7\x07"
PIECES = [
    b"a",
    b"text\n",
    b"\x1b",
    b"\x1b]",
    b"\x1b]633;",
    b"\x1b]633;D;",
    b"\x1b[31m",
    b"\x07",
    b"\x1b]633;D;wrong;7\x07",
    MARK,
]
PIECES += [MARK[:-1], b"\x1b]633;X;0123abcd;/tmp/a b\x07", b"\xff\x00", b"\x1b]633;D;0123abc", MARK[1:]]


def decoded(chunks: list[bytes], *, flush: bool = True) -> list[bytes | Mark]:
    """What a decoder says, with neighbouring texts joined."""
    decoder = MarkDecoder(NONCE)
    out: list[bytes | Mark] = []
    for chunk in chunks:
        for piece in decoder.feed(chunk):
            if isinstance(piece, bytes) and out and isinstance(out[-1], bytes):
                out[-1] += piece
            else:
                out.append(piece)
    rest = decoder.flush() if flush else b""
    if rest:
        if out and isinstance(out[-1], bytes):
            out[-1] += rest
        else:
            out.append(rest)
    return out


def test_a_mark_splits_the_text_around_it() -> None:
    assert decoded([b"one" + MARK + b"two"]) == [b"one", Mark("D", "7"), b"two"]


def test_a_mark_without_the_nonce_is_text() -> None:
    fake = b"\x1b]633;D;0123abce;7\x07\x1b]633;D;7\x07\x1b]633;D\x07"
    assert decoded([fake]) == [fake]


def test_text_is_not_held_back() -> None:
    assert decoded([b"prompt> "], flush=False) == [b"prompt> "]
    assert decoded([b"a\x1b[1mb"], flush=False) == [b"a\x1b[1mb"]


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.lists(st.integers(1, 9), max_size=200))
def test_the_cut_makes_no_difference(pieces: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(pieces)
    chunks, at = [], 0
    for size in sizes:
        chunks.append(stream[at : at + size])
        at += size
    chunks.append(stream[at:])
    assert decoded(chunks) == decoded([stream])


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_every_byte_is_text_or_mark(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)
    back = b"".join(
        p
        if isinstance(p, bytes)
        else b"\x1b]633;%s;0123abcd;%s\x07" % (p.kind.encode(), p.value.encode("utf-8", "surrogateescape"))
        for p in decoded([stream])
    )
    assert back == stream


def test_an_endless_mark_costs_linear_time_and_is_let_go() -> None:
    decoder = MarkDecoder(NONCE)
    began = time.perf_counter()
    passed = sum(
        len(p) for _ in range(200_000) for p in decoder.feed(b"\x1b]633;D;0123abcd;") if isinstance(p, bytes)
    )
    assert passed + len(decoder.flush()) == 200_000 * len(MARK[:-2])
    assert time.perf_counter() - began < 20


def test_reports_come_in_any_pieces_and_foreign_ones_are_dropped() -> None:
    stream = b"0123abcd;3;130;/tmp/a;b\nc\n\0junk\0wrong;4;0;/x\n\x000123abcd;x;0;/\n\x000123abcd;5;0;/\n\0"
    wanted = [Report(3, 130, "/tmp/a;b\nc"), Report(5, 0, "/")]
    assert list(ReportDecoder(NONCE).feed(stream)) == wanted
    decoder = ReportDecoder(NONCE)
    assert [report for at in range(len(stream)) for report in decoder.feed(stream[at : at + 1])] == wanted
