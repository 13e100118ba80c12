"""Edits by line: exact, all or nothing, and without harm to anything beside them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.block.patch import append, insert_after, multi_edit, replace_lines, split_lines
from autopilot_runtime.core.errors import EditConflict, ToolError

BOM = b"\xef\xbb\xbf"
LINE = st.binary(max_size=8).map(lambda raw: raw.replace(b"\n", b"").replace(b"\0", b""))
ENDS = st.sampled_from([b"\n", b"\r\n"])
PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=6)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Any bytes in lines of mixed ends, with or without a mark, ended or not."""
    data = b"".join(line + end for line, end in draw(st.lists(st.tuples(LINE, ENDS), max_size=12)))
    data = draw(st.sampled_from([b"", BOM])) + data + draw(LINE)
    return data if not data.startswith((b"\xff\xfe", b"\xfe\xff")) else b""


def test_lines_end_with_a_newline_and_nothing_else():
    data = "a\u2028b\x0bc\x0cd\u0085e\rf\r\ng".encode()
    assert split_lines(data) == ["a\u2028b\x0bc\x0cd\u0085e\rf\r\n".encode(), b"g"]
    assert split_lines(b"") == []
    assert split_lines(b"\n\n") == [b"\n", b"\n"]


@given(files())
def test_split_lines_joined_are_the_file_again(data):
    assert b"".join(split_lines(data)) == data


def test_a_crlf_file_stays_one():
    assert replace_lines(b"a\r\nb\r\nc\r\n", "x\ny\n", start=2, end=2) == b"a\r\nx\r\ny\r\nc\r\n"
    assert insert_after(b"a\r\nb\r\n", "x\n", line=0) == b"x\r\na\r\nb\r\n"
    assert append(b"a\r\nb", "x\n") == b"a\r\nb\r\nx\r\n"


def test_a_crlf_reply_does_not_turn_a_unix_file():
    assert replace_lines(b"a\nb\n", "x\r\ny\r\n", start=1, end=1) == b"x\ny\nb\n"


def test_a_mixed_file_follows_the_neighbours():
    data = b"a\nb\r\nc\r\nd\n"
    assert replace_lines(data, "x\n", start=2, end=2) == b"a\nx\r\nc\r\nd\n"
    assert insert_after(data, "x\n", line=3) == b"a\nb\r\nc\r\nx\r\nd\n"
    assert insert_after(data, "x\n", line=1) == b"a\nx\nb\r\nc\r\nd\n"


def test_a_missing_last_line_end_stays_missing():
    assert replace_lines(b"a\nb", "x\ny\n", start=2, end=2) == b"a\nx\ny"
    assert replace_lines(b"a\r\nb", "x\r\ny\r\n", start=2, end=2) == b"a\r\nx\r\ny"
    assert replace_lines(b"a\nb", "x\n", start=1, end=1) == b"x\nb"
    assert insert_after(b"a\nb", "x\n", line=2) == b"a\nb\nx"


def test_appending_never_glues_two_lines_together():
    assert append(b"a\nb", "x\n") == b"a\nb\nx\n"
    assert append(b"", "x\n") == b"x\n"
    assert append(BOM, "x\n") == BOM + b"x\n"
    assert append(b"a", "") == b"a"


def test_a_byte_order_mark_stays_where_it_is():
    assert replace_lines(BOM + b"a\nb\n", "x\n", start=1, end=1) == BOM + b"x\nb\n"
    assert replace_lines(BOM + b"a\nb\n", "\ufeffx\n", start=1, end=1) == BOM + b"x\nb\n"
    assert insert_after(BOM + b"a\n", "x\n", line=0) == BOM + b"x\na\n"


def test_an_empty_payload_deletes_the_lines():
    assert replace_lines(b"a\nb\nc\n", "", start=2, end=3) == b"a\n"


def test_text_without_a_last_line_end_does_not_swallow_the_next_line():
    assert replace_lines(b"a\nb\n", "x", start=1, end=1) == b"x\nb\n"


def test_several_ranges_are_numbered_as_before_the_edit():
    data = b"1\n2\n3\n4\n5\n"
    assert multi_edit(data, [(4, 5), (1, 1)], contents=["d\n", "a\nb\nc\n"]) == b"a\nb\nc\n2\n3\nd\n"


@pytest.mark.parametrize(
    ("edits", "contents", "says"),
    [
        ([(1, 2), (2, 3)], ["", ""], "1-2 and 2-3 overlap"),
        ([(2, 2), (2, 2)], ["", ""], "overlap"),
        ([(3, 2)], [""], "runs backwards"),
        ([(1, 9)], [""], "it has 3 lines"),
        ([(0, 1)], [""], "outside the file"),
        ([(1, 1)], ["", ""], "1 line range(s) but 2 payload"),
    ],
)
def test_wrong_ranges_are_explained(edits, contents, says):
    with pytest.raises(ToolError) as caught:
        multi_edit(b"1\n2\n3\n", edits, contents=contents)
    assert says in str(caught.value)


def test_an_empty_file_has_no_line_to_edit():
    with pytest.raises(EditConflict, match="mode='insert' with after_line=0"):
        replace_lines(b"", "x\n", start=1, end=1)
    with pytest.raises(EditConflict, match="after_line=2"):
        insert_after(b"a\n", "x\n", line=2)


def test_a_latin_1_file_takes_ascii_and_refuses_the_rest():
    data = "é\nb\n".encode("latin-1")
    assert replace_lines(data, "x\n", start=2, end=2) == b"\xe9\nx\n"
    with pytest.raises(ToolError, match="not UTF-8"):
        replace_lines(data, "ü\n", start=2, end=2)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_wide_file_is_refused_instead_of_damaged(encoding):
    with pytest.raises(ToolError, match="UTF-16"):
        replace_lines("ab\ncd\n".encode(encoding), "x\n", start=1, end=1)


@given(files(), st.data())
def test_an_edit_never_touches_a_byte_outside_its_range(data, draw):
    body = data.removeprefix(BOM)
    lines = split_lines(body)
    start = draw.draw(st.integers(1, len(lines) + 1))
    end = draw.draw(st.integers(start - 1, len(lines)))
    new = "".join(line + "\n" for line in draw.draw(st.lists(PLAIN, max_size=4)))
    if start > end:
        result = insert_after(data, new, line=start - 1)
    else:
        result = replace_lines(data, new, start=start, end=end)
    head = data[: len(data) - len(body)] + b"".join(lines[: start - 1])
    tail = b"".join(lines[end:])
    assert result.startswith(head)
    assert result.endswith(tail)
    middle = result[len(head) : len(result) - len(tail)]
    got = middle.replace(b"\r\n", b"\n").strip(b"\n")
    assert got == new.encode().strip(b"\n")
    if tail and middle:
        assert middle.endswith(b"\n")


@given(files(), st.data())
def test_several_edits_are_the_same_as_one_by_one_from_the_bottom(data, draw):
    count = len(split_lines(data.removeprefix(BOM)))
    cuts = sorted(draw.draw(st.sets(st.integers(1, max(1, count)), max_size=6)))
    edits = [(cut, cut) for cut in cuts if cut <= count]
    contents = ["".join(line + "\n" for line in draw.draw(st.lists(PLAIN, min_size=1, max_size=3))) for _ in edits]
    together = multi_edit(data, edits, contents=contents)
    one_by_one = data
    for (start, end), new in reversed(list(zip(edits, contents, strict=True))):
        one_by_one = replace_lines(one_by_one, new, start=start, end=end)
    assert together == one_by_one
