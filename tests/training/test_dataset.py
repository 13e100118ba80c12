"""Items in lists, in files, one after another, and several sets as one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot_runtime.training import ConcatDataset, Datum, EvalDatum, IterableDataset, ListDataset, Row
from autopilot_runtime.training.fault import TrainingError


class Mood(Enum):
    GLAD = "glad"
    SAD = "sad"


@dataclass
class Point:
    x: float
    y: float


@dataclass
class Ticket(Datum):
    text: str
    label: str = "none"
    weight: float = 1.0


@dataclass
class Rich(Datum):
    mood: Mood = Mood.GLAD
    span: tuple[int, int] = (0, 0)
    due: date = date(2026, 1, 1)
    raw: bytes = b""
    tags: frozenset[str] = frozenset()
    at: Point = field(default_factory=lambda: Point(0, 0))
    score: float | None = None


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_list_has_length_items_slices_and_is_no_view_of_the_users_list() -> None:
    mine = [Datum(id="a"), Datum(id="b"), Datum(id="c")]
    data = ListDataset(mine)
    mine.clear()
    assert len(data) == 3
    assert data[0].id == "a" and data[-1].id == "c"
    assert [one.id for one in data[1:]] == ["b", "c"]
    assert [one.id for one in data] == ["a", "b", "c"]


def test_one_item_instead_of_a_list_is_an_error() -> None:
    with pytest.raises(TrainingError, match="a list of items, not one Datum"):
        ListDataset(Datum())  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="not one str"):
        ListDataset("abc")


def test_a_subset_is_chosen_by_numbers_truth_values_slices_or_a_function() -> None:
    data = ListDataset(range(10, 20))
    assert list(data.subset([9, 0, -1])) == [19, 10, 19]
    assert list(data.subset([True] + [False] * 8 + [True])) == [10, 19]
    assert list(data.subset(slice(0, 4, 2))) == [10, 12]
    assert list(data.subset(lambda one: one > 17)) == [18, 19]
    assert list(data.subset([])) == []


def test_a_subset_of_items_that_are_not_there_is_an_error() -> None:
    data = ListDataset(range(3))
    with pytest.raises(TrainingError, match="there is no item 3: there are 3, from 0 on"):
        data.subset([0, 3])
    with pytest.raises(TrainingError, match="2 truth values for 3 items"):
        data.subset([True, False])


def test_several_sets_are_one_in_order_also_when_one_of_them_grows() -> None:
    first, second = ListDataset([1, 2]), ListDataset([3])
    both = ConcatDataset([first, ListDataset(), second])
    assert list(both) == [1, 2, 3] and [both[at] for at in range(-3, 3)] == [1, 2, 3, 1, 2, 3]
    first.items.append(9)
    assert list(both) == [both[at] for at in range(len(both))] == [1, 2, 9, 3]
    with pytest.raises(IndexError, match="there is no item 4"):
        both[4]
    assert list(first + second) == [1, 2, 9, 3]


def test_items_one_after_another_have_no_length_and_no_numbers() -> None:
    class Stream(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter((1, 2))

    stream = Stream()
    assert list(stream) == list(stream) == [1, 2] and stream
    with pytest.raises(TypeError, match="nobody knows how many items Stream has"):
        len(stream)
    with pytest.raises(TypeError, match="one after another"):
        stream[0]
    with pytest.raises(TrainingError, match="Stream has none"):
        ConcatDataset([stream])


def test_a_line_without_a_type_is_a_row_whose_fields_are_attributes(tmp_path: Path) -> None:
    path = written(tmp_path / "d.jsonl", '{"text": "hi", "digest": 3}', "", '{"id": "b", "metadata": {"n": 1}}')
    one, two = ListDataset.from_jsonl(path)
    assert isinstance(one, Row) and one.text == "hi" and one["digest"] == 3
    assert two.id == "b" and two.metadata == {"n": 1}
    with pytest.raises(AttributeError, match=r"has no field 'txt'. Did you mean 'text'"):
        _ = one.txt
    with pytest.raises(KeyError, match="Did you mean 'text'"):
        one["texts"]


def test_a_line_with_a_type_is_that_and_defaults_are_filled_in(tmp_path: Path) -> None:
    path = written(tmp_path / "d.jsonl", '{"id": 7, "text": "hi", "weight": 2}')
    data = ListDataset.from_jsonl(path, Ticket)
    assert data[0] == Ticket(id="7", text="hi", weight=2)


def test_an_item_without_an_id_has_the_same_id_in_every_process_and_keeps_its_digest(tmp_path: Path) -> None:
    path = written(tmp_path / "d.jsonl", '{"text": "hi"}', '{"text": "ho"}')
    one, again = ListDataset.from_jsonl(path, Ticket), ListDataset.from_jsonl(path, Ticket)
    assert [item.id for item in one] == [item.id for item in again]
    assert one[0].id != one[1].id and not one[0].is_named
    assert one[0].digest == Ticket(text="hi").digest


def test_what_was_made_up_is_still_made_up_after_the_file(tmp_path: Path) -> None:
    before = ListDataset([Datum(), Datum(), Ticket(text="x")])
    before.to_jsonl(tmp_path / "d.jsonl")
    lines = (tmp_path / "d.jsonl").read_text().splitlines()
    (tmp_path / "tickets.jsonl").write_text(lines.pop() + "\n")
    (tmp_path / "d.jsonl").write_text("\n".join(lines))
    after = ListDataset.from_jsonl(tmp_path / "d.jsonl", Datum)
    assert list(after) == before.items[:2] and [one.digest for one in after] == [one.digest for one in before][:2]
    ticket = ListDataset.from_jsonl(tmp_path / "tickets.jsonl", Ticket)[0]
    assert (ticket, ticket.digest) == (before[2], before[2].digest)


def test_reading_and_writing_again_gives_the_same_lines(tmp_path: Path) -> None:
    lines = ['{"text": "grün \u2028", "n": 1.5}', '{"id": "b", "metadata": {"k": null}, "deep": [1, {"x": []}]}']
    path = written(tmp_path / "d.jsonl", *lines)
    ListDataset.from_jsonl(path).to_jsonl(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == path.read_bytes()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.text().filter(lambda name: name not in ("id", "metadata")), json_values), max_size=5)
)
def test_any_fields_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("d") / "d.jsonl"
    data = ListDataset(Row(fields=row) for row in rows)
    data.to_jsonl(path)
    assert [one.fields for one in ListDataset.from_jsonl(path)] == rows
    assert list(ListDataset.from_jsonl(path)) == data.items


def test_values_that_json_has_no_word_for_come_back_by_their_annotations(tmp_path: Path) -> None:
    item = Rich(
        id="r",
        mood=Mood.SAD,
        span=(1, 2),
        due=date(2025, 2, 3),
        raw=b"\x00\xff",
        tags=frozenset("ab"),
        at=Point(1.5, -2),
        score=0.1,
    )
    ListDataset([item]).to_jsonl(tmp_path / "d.jsonl")
    assert ListDataset.from_jsonl(tmp_path / "d.jsonl", Rich)[0] == item


def test_results_with_a_nan_come_back_too(tmp_path: Path) -> None:
    ListDataset([EvalDatum(id="e", metrics={"f1": math.nan, "n": math.inf}, success=False)]).to_jsonl(tmp_path / "d")
    back = ListDataset.from_jsonl(tmp_path / "d", EvalDatum)[0]
    assert math.isnan(back.metrics["f1"]) and back.metrics["n"] == math.inf and not back


def test_plain_dicts_stay_what_they_are(tmp_path: Path) -> None:
    rows = [{"id": 3, "q": "a"}, {"id": 4}]
    ListDataset(rows).to_jsonl(tmp_path / "d")
    assert list(ListDataset.from_jsonl(tmp_path / "d", dict)) == rows


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "a", "lable": "x"}', "Ticket has no field 'lable'. Did you mean 'label'?"),
        ('{"label": "x"}', "Ticket needs 'text', which the line lacks"),
        ('{"text": 5}', "field 'text' takes str, and this is int (5)"),
        ('{"text": "a", "weight": true}', "field 'weight' takes float, and this is bool (True)"),
        ('{"text": "a"', "no JSON: "),
        ('{"text": "a", "text": "b"}', "'text' stands there twice"),
        ("[1, 2]", "an item is an object {...}, and this is list ([1, 2])"),
        ('{"text": "a", "id": [1]}', "field 'id' takes a text"),
        ('{"text": "a", "metadata": 1}', "field 'metadata' takes an object"),
        ('{"text": "a", "grad_fn": 1}', "Ticket has no field 'grad_fn'"),
    ],
)
def test_a_damaged_line_is_named_with_its_file_and_number(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path / "d.jsonl", '{"text": "fine"}', line, '{"text": "fine"}')
    with pytest.raises(TrainingError) as caught:
        ListDataset.from_jsonl(path, Ticket)
    assert f"{path}:2: " in str(caught.value) and said in str(caught.value)


def test_all_damaged_lines_are_told_at_once_and_many_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "d.jsonl", *["{"] * 8)
    with pytest.raises(TrainingError) as caught:
        ListDataset.from_jsonl(path)
    assert str(caught.value).count("no JSON") == 5 and str(caught.value).endswith("and 3 more")


def test_a_line_that_was_cut_off_and_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"a": "\xff"}\n{"a": 1')
    with pytest.raises(TrainingError) as caught:
        ListDataset.from_jsonl(path)
    assert "d.jsonl:1: byte 8 of the line is no UTF-8" in str(caught.value)
    assert "d.jsonl:2: no JSON" in str(caught.value) and "perhaps cut off" in str(caught.value)


def test_a_check_of_the_users_own_names_the_line_too(tmp_path: Path) -> None:
    path = written(tmp_path / "d.jsonl", '{"n": -1}')
    with pytest.raises(TrainingError, match=r"d\.jsonl:1: Positive refused it: n must be positive"):
        ListDataset.from_jsonl(path, Positive)


@dataclass
class Positive(Datum):
    n: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n < 0:
            raise ValueError("n must be positive")


def test_a_file_from_windows_is_read_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b"}\r\n')
    assert [one.text for one in ListDataset.from_jsonl(tmp_path / "d.jsonl", Ticket)] == ["a", "b"]


def test_a_missing_file_and_a_kind_that_is_no_dataclass_are_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="No such file"):
        ListDataset.from_jsonl(tmp_path / "none.jsonl")
    with pytest.raises(TrainingError, match="int is no kind of item"):
        ListDataset.from_jsonl(written(tmp_path / "d.jsonl", "{}"), int)


def test_what_json_cannot_say_is_refused_by_name_and_the_file_stays(tmp_path: Path) -> None:
    path = written(tmp_path / "d.jsonl", '{"text": "old"}')
    for value, said in (({1}, "fields.x"), (b"a", "x is bytes"), ({3: 1}, "x has the key 3")):
        with pytest.raises(TrainingError, match=r"item 1 \(b\): x") as caught:
            ListDataset([Row(id="a"), Row(id="b", fields={"x": value})]).to_jsonl(path)
        assert said.removeprefix("fields.") in str(caught.value)
    assert json.loads(path.read_text()) == {"text": "old"}


def test_a_value_against_its_annotation_is_refused_when_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="field 'span' takes tuple"):
        ListDataset([Rich(id="r", span="no")]).to_jsonl(tmp_path / "d.jsonl")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
