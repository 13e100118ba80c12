"""Whether the data is still the same."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from autopilot_runtime.training import DataLoader, DatasetFingerprint, Datum, IterableDataset, ListDataset, Row
from autopilot_runtime.training.fault import TrainingError


def of(*items: Datum) -> DatasetFingerprint:
    return DatasetFingerprint.of(ListDataset(items))


def row(name: str, text: str = "") -> Row:
    return Row(id=name, fields={"text": text})


def test_the_same_items_have_the_same_fingerprint_in_a_list_a_set_and_a_loader() -> None:
    data = [row("a"), row("b")]
    ours = DatasetFingerprint.of(ListDataset(data))
    assert (
        ours == DatasetFingerprint.of(data) == DatasetFingerprint.of(DataLoader(ListDataset(data), 2, shuffle=True))
    )
    assert ours.count == 2 and ours.same_as(of(row("a"), row("b")))


def test_an_id_that_was_made_up_makes_no_difference() -> None:
    assert of(Row(fields={"q": 1})).same_as(of(Row(fields={"q": 1})))


def test_what_changed_is_named() -> None:
    before = of(row("a"), row("b"), row("c"))
    assert before.changes(of(row("a"), row("b", "new"), row("d"))) == "1 added (d); 1 gone (c); 1 changed (b)"
    assert before.changes(of(row("c"), row("b"), row("a"))) == "the same items in another order"
    assert "more than once" in before.changes(of(row("a"), row("b"), row("c"), row("c")))
    assert "12 added (n0, n1, n10, n11, n2 and 7 more)" in before.changes(
        of(row("a"), row("b"), row("c"), *sorted((row(f"n{at}") for at in range(12)), key=lambda one: one.id))
    )


def test_it_comes_back_from_json() -> None:
    before = of(row("a"), row("b"))
    assert DatasetFingerprint.from_dict(json.loads(json.dumps(before.to_dict()))) == before
    with pytest.raises(TrainingError, match="no fingerprint"):
        DatasetFingerprint.from_dict({"count": 1})


def test_what_can_be_read_only_once_is_left_alone_and_nothing_is_said_of_it() -> None:
    class Stream(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            raise AssertionError("read")

    once = iter([1, 2])
    unknown = DatasetFingerprint.of(once)
    assert list(once) == [1, 2] and unknown.count is None
    assert DatasetFingerprint.of(Stream()).same_as(of(row("a")))


def test_a_set_with_a_fingerprint_of_its_own_is_not_read() -> None:
    class Table:
        def __init__(self, version: str) -> None:
            self.fingerprint = version

    one, other = DatasetFingerprint.of(Table("v1")), DatasetFingerprint.of(Table("v2"))
    assert one.same_as(DatasetFingerprint.of(Table("v1"))) and one.changes(other) == "another fingerprint"


def test_a_large_set_is_told_by_its_size_alone() -> None:
    before, after = (DatasetFingerprint.of(range(count)) for count in (30_000, 30_001))
    assert not before.items and before.changes(after) == "30000 items then, 30001 now, and not the same"
