"""Diffs for the eye: right line numbers, bounded, nothing that could act on a terminal."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.block.diff import unified_diff


def test_a_diff_has_the_line_numbers_of_the_file():
    before = b"".join(b"%d\n" % n for n in range(1, 101))
    after = before.replace(b"\n50\n", b"\nfifty\n").replace(b"\n90\n", b"\n")
    assert unified_diff(before, after, "n.txt").splitlines() == [
        "--- a/n.txt",
        "+++ b/n.txt",
        "@@ -47,7 +47,7 @@",
        *(" 47", " 48", " 49", "-50", "+fifty", " 51", " 52", " 53"),
        "@@ -87,7 +87,6 @@",
        *(" 87", " 88", " 89", "-90", " 91", " 92", " 93"),
    ]


def test_no_change_is_no_diff():
    assert unified_diff(b"a\n", b"a\n", "a") == ""


def test_a_new_file_and_a_missing_line_end():
    assert unified_diff(b"", b"a\nb", "x").splitlines()[2:] == [
        "@@ -0,0 +1,2 @@",
        "+a",
        "+b",
        "\\ No newline at end of file",
    ]


def test_a_change_of_line_ends_can_be_seen():
    assert unified_diff(b"a\r\n", b"a\n", "x").splitlines()[3:] == ["-a\\r", "+a"]


def test_terminal_codes_and_strange_bytes_are_escaped():
    diff = unified_diff(b"a\n", b"\x1b[2Ja\xff\xe2\x80\xae\n", "x\x1b\n")
    assert "\x1b" not in diff
    assert "+\\x1b[2Ja\\xff\\u202e" in diff
    assert diff.startswith("--- a/x\\x1b")


def test_binary_files_are_only_named():
    assert unified_diff(b"\0", b"\0\0", "x") == "Binary file x changed: 1 -> 2 bytes.\n"


def test_the_diff_is_bounded_in_lines_and_time():
    before = b"".join(b"%d\n" % (n % 7) for n in range(50_000))
    after = b"".join(b"%d\n" % (n % 5) for n in range(50_000))
    began = time.perf_counter()
    diff = unified_diff(before, after, "x", max_lines=50)
    assert time.perf_counter() - began < 10  # seconds; a full comparison takes minutes
    assert diff.count("\n") == 51
    assert "longer than 50 lines" in diff


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_every_diff_can_be_printed(before, after):
    diff = unified_diff(before, after, "x")
    assert bool(diff) == (before != after)
    assert all(char.isprintable() or char in "\n\t" for char in diff)
