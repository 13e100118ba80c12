"""Search-and-replace hunks: exactly once, all or nothing, and an error one can act on."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.block.hunks import parse_hunks, search_replace
from autopilot_runtime.core.errors import EditConflict, ToolError


def hunk(search: str, replace: str, size: int = 7) -> str:
    return f"{'<' * size} SEARCH\n{search}{'=' * size}\n{replace}{'>' * size} REPLACE\n"


FILE = b"import os\n\n\ndef one():\n    return 1\n\n\ndef two():\n    return 1\n"


def test_a_hunk_changes_what_it_names():
    payload = hunk("def two():\n    return 1\n", "def two():\n    return 2\n")
    assert search_replace(FILE, payload) == FILE[:-2] + b"2\n"


def test_several_hunks_in_any_order_see_the_file_as_it_was():
    payload = hunk("def two():\n", "def zwei():\n") + "\n" + hunk("import os\n", "def two():\n")
    assert search_replace(FILE, payload) == FILE.replace(b"two", b"zwei").replace(b"import os", b"def two():")


def test_a_search_must_match_whole_lines():
    with pytest.raises(EditConflict, match="not in the file"):
        search_replace(b"abc\n", hunk("ab\n", "x\n"))


def test_a_search_for_a_part_of_a_line_is_told_which_line_it_is():
    with pytest.raises(EditConflict, match=r"a part of line 2\.(.|\n)*2:     return a \+ b"):
        search_replace(b"def f(a, b):\n    return a + b\n", hunk("a + b\n", "a - b\n"))


def test_a_search_that_matches_twice_names_the_places():
    with pytest.raises(EditConflict, match=r"at lines 5, 9"):
        search_replace(FILE, hunk("    return 1\n", "    return 2\n"))


def test_overlapping_matches_of_one_search_count_as_two():
    with pytest.raises(EditConflict, match="more than once"):
        search_replace(b"a\na\na\n", hunk("a\na\n", "b\n"))


def test_one_bad_hunk_means_nothing_is_done():
    with pytest.raises(EditConflict, match="hunk at line 6 "):
        search_replace(FILE, hunk("import os\n", "import re\n") + hunk("gone\n", ""))


def test_two_hunks_on_the_same_lines_are_refused():
    with pytest.raises(ToolError, match="touch the same lines"):
        search_replace(b"a\nb\nc\n", hunk("a\nb\n", "x\n") + hunk("b\nc\n", "y\n"))


def test_a_hunk_that_differs_in_spaces_is_shown_what_the_file_has():
    with pytest.raises(EditConflict) as caught:
        search_replace(b"x\nif a:\n\tgo()\n", hunk("if a:\n    go()\n", ""))
    assert "  2: if a:" in str(caught.value)
    assert "* 3: \tgo()" in str(caught.value)
    assert r"Line 3 differs only in spaces: the file has '\tgo()'" in str(caught.value)


def test_a_misspelt_hunk_is_shown_the_most_similar_line():
    with pytest.raises(EditConflict, match=r"\* 4: def one\(\):"):
        search_replace(FILE, hunk("def onne():\n", ""))


def test_line_numbers_in_a_search_are_recognised():
    with pytest.raises(EditConflict, match="line numbers of read_file"):
        search_replace(FILE, hunk("4 | def one():\n5 |     return 1\n", ""))


def test_a_crlf_file_stays_one_and_shared_lines_keep_their_bytes():
    data = b"a\r\nb\nc\r\nd\r\n"
    assert search_replace(data, hunk("a\nb\nc\n", "a\nb\nX\nY\n")) == b"a\r\nb\nX\r\nY\r\nd\r\n"


def test_a_missing_last_line_end_stays_missing():
    assert search_replace(b"a\nb", hunk("b\n", "c\nd\n")) == b"a\nc\nd"
    assert search_replace(b"a\nb", hunk("b\n", "b\nd\n")) == b"a\nb\nd"


def test_a_byte_order_mark_is_no_part_of_the_first_line():
    assert search_replace(b"\xef\xbb\xbfa\n", hunk("a\n", "b\n")) == b"\xef\xbb\xbfb\n"


def test_bytes_that_are_no_utf_8_survive_beside_the_hunk():
    assert search_replace(b"\xe9\xff\nb\n\x80", hunk("b\n", "c\n")) == b"\xe9\xff\nc\n\x80"


def test_an_empty_replacement_deletes():
    assert search_replace(b"a\nb\nc\n", hunk("b\n", "")) == b"a\nc\n"


def test_an_empty_search_fills_only_an_empty_file():
    assert search_replace(b"", hunk("", "a\n")) == b"a\n"
    with pytest.raises(ToolError, match="is empty"):
        search_replace(b"a\n", hunk("", "b\n"))


def test_longer_markers_may_surround_a_line_of_equal_signs():
    data = b"Title\n=======\n<<<<<<< SEARCH\n"
    payload = hunk("Title\n=======\n<<<<<<< SEARCH\n", "Name\n=======\n", size=9)
    assert search_replace(data, payload) == b"Name\n=======\n"


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ("", "holds no hunk"),
        ("config.py\n" + hunk("a\n", "b\n"), "Line 1 of the payload stands outside a hunk"),
        ("<<<<<<< SEARCH\na\n=======\nb\n", "no `>>>>>>> REPLACE`"),
        ("<<<<<<< SEARCH\na\n>>>>>>> REPLACE\n", "no `=======` line"),
        ("<<<<<<< SEARCH\na\n=======\nb\n=======\nc\n>>>>>>> REPLACE\n", "2 lines `=======`"),
        ("<<<<<<< SEARCH\na\n" + hunk("a\n", "b\n"), "has no `>>>>>>> REPLACE` before line 3"),
    ],
)
def test_a_malformed_payload_is_explained(payload, says):
    with pytest.raises(ToolError) as caught:
        search_replace(b"a\n", payload)
    assert says in str(caught.value)


def test_a_crlf_payload_is_read_like_any_other():
    (one,) = parse_hunks(hunk("a\n", "b\n").replace("\n", "\r\n"))
    assert (one.search, one.replace) == (("a",), ("b",))


def test_the_search_for_near_lines_is_bounded_on_a_hostile_file():
    data = b"".join(b"ab" * 60 + str(n).encode() + b"\n" for n in range(60_000))
    began = time.perf_counter()
    with pytest.raises(EditConflict):
        search_replace(data, hunk("ba" * 60 + "\n", ""))
    assert time.perf_counter() - began < 10  # seconds; without bounds it takes minutes


LINES = st.lists(st.sampled_from(["a", "b", "c", " ", "d\tx"]), max_size=8)


@given(LINES, LINES, LINES, LINES, st.sampled_from([b"\n", b"\r\n"]))
def test_a_hunk_that_matches_once_does_what_it_says(before, search, after, replace, end):
    data = b"".join(line.encode() + end for line in (*before, "#", *search, "$", *after))
    payload = hunk("".join(f"{x}\n" for x in ("#", *search, "$")), "".join(f"{x}\n" for x in replace))
    wanted = b"".join(line.encode() + end for line in (*before, *replace, *after))
    assert search_replace(data, payload) == wanted


@given(st.text(max_size=80))
def test_any_payload_is_applied_or_refused_in_words(payload):
    try:
        search_replace(b"a\nb\n", payload)
    except ToolError as refused:
        assert str(refused)
