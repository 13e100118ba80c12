"""What the model reads of terminal output: nothing that acts on a terminal, nothing lost that a person would see."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.shell.clean import cap, draw, plain, readable
from autopilot_runtime.shell.transcript import HEAD, TAIL, Transcript, View


def clean(raw: bytes) -> str:
    return plain(raw, rows=10)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07a\x1b]52;c;c2VjcmV0\x07b\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "ablink"),
        (b"\x1bP+q544e\x1b\\x\x1b_apc\x1b\\y\x1b^pm\x1b\\z", "xyz"),
        ("a\u009b31mb\u009d0;t\u009cc".encode(), "abc"),
        (b"\x1b]0;never closed\nnext", "\nnext"),
        (b"10%\r20%\r100%\n", "100%\n"),
        (b"longer text\rshort", "short" + "r text"),
        (b"dos\r\nunix\n", "dos\nunix\n"),
        (b"abc\b\b\bxyz", "xyz"),
        (b"_\bu_\bn", "un"),
        (b"bell\x07 nul\x00 del\x7f", "bell nul del"),
        ("rtl \u202e\u2066x".encode(), "rtl x"),
        (b"\xff\xfe bin", "\ufffd\ufffd bin"),
        (b"\tindent\ta", "\tindent\ta"),
        ("grüße 你好\n".encode(), "grüße 你好\n"),
        (b"a\x1b[Kb", "ab"),
        (b"one\ntwo\x1b[1A\r\x1b[2Knew", "new\ntwo"),
        (b"a\x1b[", "a"),
        (b"a\x1b", "a"),
    ],
)
def test_raw_becomes_text(raw: bytes, text: str) -> None:
    assert clean(raw) == text


def test_a_progress_display_of_several_lines_ends_as_its_last_state() -> None:
    frames = b"".join(b"\x1b[2A\x1b[2Kfile a %d%%\n\x1b[2Kfile b %d%%\n" % (n, n) for n in range(101))
    assert clean(b"start\nfile a\nfile b\n" + frames + b"done\n") == "start\nfile a 100%\nfile b 100%\ndone\n"


def test_lines_above_a_moving_display_are_all_kept() -> None:
    lines = b"".join(b"line %d\n" % n for n in range(5_000))
    text = clean(lines + b"x\x1b[1A\x1b[5Cy\n")
    assert text.splitlines()[:4_999] == [f"line {n}" for n in range(4_999)]
    assert text.splitlines()[4_999] == "line 4y99"


@given(st.binary(max_size=400))
def test_no_bytes_leave_a_control_character(raw: bytes) -> None:
    text = clean(raw) + draw(raw, rows=5, columns=20)
    assert not [c for c in text if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0]


@given(st.text(st.sampled_from("\x1b[]0123456789;?HJKABCDLMPX@STrhlm\r\n\b\tab漢é"), max_size=300))
def test_no_sequence_breaks_the_screen(text: str) -> None:
    shown = draw(text.encode(), rows=4, columns=10)
    assert len(shown.splitlines()) <= 4
    clean(text.encode())


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x1b]" * 100_000,
        b"\x1b[" * 100_000,
        b"\x1b[9999999999999C" * 20_000 + b"x",
        b"\x1b[9999b" * 3_000,
        b"x" * 100_000 + b"\ra" * 100_000,
        b"a\b" * 100_000,
        b"\x1b[9999L\x1b[9999M" * 5_000,
        b"\x1b[2J\x1b[9999;9999Hx" * 10_000,
        b"\x1b[?1049h" * 25_000,
    ],
)
def test_hostile_output_is_cleaned_in_time(hostile: bytes) -> None:
    began = time.perf_counter()
    transcript = Transcript(hostile)
    readable(transcript.full(), screen=transcript.last(65_536), rows=50, columns=200)
    assert time.perf_counter() - began < 8


def test_a_screen_wraps_scrolls_and_keeps_regions() -> None:
    assert draw(b"abcdef", rows=3, columns=4) == "abcd\nef"
    assert draw(b"1\r\n2\r\n3\r\n4", rows=3, columns=4) == "2\n3\n4"
    assert (
        draw(b"\x1b[1;1Htop\x1b[3;1Hend\x1b[1;2r\x1b[2;1Ha\nb\nc", rows=3, columns=9, newline_returns=True)
        == "b\nc\nend"
    )
    assert draw("漢字ab".encode(), rows=2, columns=5) == "漢字a\nb"
    assert draw(b"\x1b(0lqk\x1b(B", rows=1, columns=5) == "┌─┐"
    assert draw(b"ab\x1b[3Dxy\x1b[5;1H", rows=5, columns=5) == "xy"
    assert draw(b"a\nb", rows=2, columns=5, newline_returns=False) == "a\n b"


def test_a_full_screen_program_shows_its_screen_while_it_runs_and_nothing_after() -> None:
    transcript = Transcript(b"before\n\x1b[?1049h\x1b[H\x1b[2Jscreen one\x1b[2;3Hdeep")
    first = readable(transcript.full(), screen=transcript.last(1_000), rows=3, columns=20)
    assert first == "before\n\n[screen of a full-screen program, 3 rows]\nscreen one\n  deep"
    transcript.mark_read()
    transcript.add(b"\x1b[1;8HTWO")
    second = readable(transcript.delta(), screen=transcript.last(1_000), rows=3, columns=20)
    assert second.endswith("screen TWO\n  deep")
    transcript.mark_read()
    transcript.add(b"\x1b[?1049lafter\n")
    assert readable(transcript.delta(), screen=b"", rows=3, columns=20) == "after\n"
    assert readable(transcript.full(), screen=b"", rows=3, columns=20) == "before\nafter\n"


def test_a_program_that_draws_over_the_ordinary_screen_shows_all_of_it() -> None:
    transcript = Transcript(b"before\n\x1b[H\x1b[2Jtop 1\ncpu 7%\nlist\n")
    assert readable(transcript.full(), screen=b"", rows=5, columns=20) == "top 1\ncpu 7%\nlist\n"
    transcript.mark_read()
    transcript.add(b"\x1b[Htop 2\x1b[2;5H9")
    shown = readable(transcript.delta(), screen=transcript.last(1_000), rows=5, columns=20)
    assert shown == "[screen of a full-screen program, 5 rows]\ntop 2\ncpu 9%\nlist"


def test_what_was_written_after_clearing_is_all_shown() -> None:
    lines = "".join(f"line {n}\n" for n in range(200))
    transcript = Transcript(b"seen\n")
    transcript.mark_read()
    transcript.add(b"\x1b[H\x1b[2J" + lines.encode())
    assert readable(transcript.delta(), screen=transcript.last(10_000), rows=5, columns=20).endswith(lines)


def test_a_transcript_keeps_head_and_tail_and_tells_the_gap() -> None:
    transcript = Transcript()
    for n in range(100_000):
        transcript.add(b"line %d\n" % n)
    view = transcript.full()
    assert len(view.head) == HEAD
    assert TAIL <= len(view.tail) <= 2 * TAIL
    assert len(view.head) + view.dropped + len(view.tail) == transcript.total
    text = readable(view, screen=b"", rows=50, columns=200)
    assert text.startswith("line 0\nline 1\n")
    assert text.endswith("\nline 99999\n")
    assert f"{view.dropped:,} bytes left out" in text


@given(st.lists(st.integers(1, 300_000), min_size=1, max_size=8))
def test_deltas_are_what_came_since_the_last_look(sizes: list[int]) -> None:
    transcript = Transcript()
    for n, size in enumerate(sizes):
        transcript.add(bytes([65 + n]) * size)
        view = transcript.delta()
        assert len(view.head) + view.dropped + len(view.tail) == size
        assert set(view.head + view.tail) == {65 + n}
        transcript.mark_read()
    assert transcript.unread == 0
    assert transcript.delta() == View(b"", 0, b"")


def test_capped_text_keeps_both_ends_and_tells_what_is_missing() -> None:
    text = "".join(f"line {n}\n" for n in range(10_000))
    short, missing = cap(text, 1_000)
    assert len(short) < 1_150
    assert short.startswith("line 0\n")
    assert short.endswith("line 9999\n")
    assert f"{missing:,} characters left out" in short
    assert cap("short", 5) == ("short", 0)


def test_lines_wider_than_any_terminal_stay_whole() -> None:
    assert clean(b"x" * 5_000 + b"\n") == "x" * 5_000 + "\n"
    assert clean(b"\x1b[1A" + b"y" * 1_500) == "y" * 1_500
