"""Splits are decided once for every item."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.training import (
    Datum,
    IncrementalSplitter,
    ListDataset,
    Row,
    SplitAssignment,
    StratifiedSplitter,
)
from autopilot_runtime.training.fault import TrainingError

RATIOS = {"train": 0.7, "val": 0.2, "test": 0.1}


def items(count: int, first: int = 0) -> list[Row]:
    return [Row(id=f"i{at}", fields={"label": "odd" if at % 4 == 0 else "even"}) for at in range(first, count)]


def test_the_ratios_are_met_and_every_item_is_in_one_split() -> None:
    data = ListDataset(items(100))
    assignment = IncrementalSplitter(RATIOS).split(data)
    assert assignment.counts == {"train": 70, "val": 20, "test": 10}
    parts = assignment.datasets(data)
    assert sorted(one.id for part in parts.values() for one in part) == sorted(one.id for one in data)
    assert [one.id for one in parts["val"]] == [one.id for one in data if assignment.of(one) == "val"]


def test_ratios_may_be_numbers_for_train_val_and_test_or_parts() -> None:
    assert IncrementalSplitter((0.5, 0.3, 0.2)).split(items(10)).counts == {"train": 5, "val": 3, "test": 2}
    assert IncrementalSplitter({"a": 3, "b": 1}).split(items(8)).counts == {"a": 6, "b": 2}


def test_the_order_of_the_items_changes_nothing_and_the_seed_does() -> None:
    data = items(50)
    one = IncrementalSplitter(RATIOS, seed=1).split(data)
    assert one.items == IncrementalSplitter(RATIOS, seed=1).split(data[::-1]).items
    assert one.items != IncrementalSplitter(RATIOS, seed=2).split(data).items


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 99), st.booleans())
def test_more_items_never_move_one_that_was_there_and_the_ratios_hold(
    growth: list[int], seed: int, stratified: bool
) -> None:
    splitter = StratifiedSplitter(RATIOS, seed=seed) if stratified else IncrementalSplitter(RATIOS, seed=seed)
    assignment, count = SplitAssignment(), 0
    for more in growth:
        count += more
        before = dict(assignment.items)
        assignment = splitter.extend(assignment, items(count))
        assert before.items() <= assignment.items.items()
    assert len(assignment) == count
    for name, ratio in RATIOS.items():
        # One item more or less, and one more when a split that was empty had to get one.
        assert abs(assignment.counts[name] - ratio * count) <= (2 if count > 9 else 3)


@given(st.lists(st.sampled_from("abcd"), min_size=3, max_size=80), st.integers(0, 99))
def test_each_kind_of_item_is_in_each_split_by_its_ratio(labels: list[str], seed: int) -> None:
    data = [Row(id=str(at), fields={"label": label}) for at, label in enumerate(labels)]
    assignment = StratifiedSplitter(RATIOS, by="label", seed=seed).split(data)
    sizes = Counter(labels)
    counted = Counter((one.label, assignment.of(one)) for one in data)
    slack = 1 if all(size >= 10 for size in sizes.values()) else 2
    for label, size in sizes.items():
        for name, ratio in RATIOS.items():
            assert abs(counted[label, name] - ratio * size) < slack + 1e-9
    assert all(assignment.counts.values()), "a split without items helps nobody"


def test_kinds_with_one_item_each_are_shared_out_over_all_splits() -> None:
    data = [Row(id=str(at), fields={"label": at}) for at in range(100)]
    assert StratifiedSplitter(RATIOS).split(data).counts == {"train": 70, "val": 20, "test": 10}


def test_a_held_out_split_is_not_left_empty_when_items_are_few() -> None:
    assert IncrementalSplitter(RATIOS).split(items(3)).counts == {"train": 1, "val": 1, "test": 1}
    assert IncrementalSplitter((0.9, 0.1)).split(items(2)).counts == {"train": 1, "val": 1}


def test_an_unnamed_item_is_known_by_its_content_so_a_copy_of_it_is_never_held_out() -> None:
    data = [Row(fields={"q": at % 5}) for at in range(30)]
    assignment = IncrementalSplitter((0.6, 0.4)).split(data)
    assert len(assignment) == 5
    train, val = (assignment.select(data, name) for name in ("train", "val"))
    assert not {one.q for one in train} & {one.q for one in val}


def test_items_that_are_gone_keep_their_split_for_when_they_come_back() -> None:
    splitter, data = IncrementalSplitter((0.5, 0.5)), items(20)
    first = splitter.split(data)
    later = splitter.extend(first, data[10:] + items(30, 20))
    assert splitter.extend(later, data).items == later.items and first.items.items() <= later.items.items()


def test_an_assignment_is_kept_in_a_file(tmp_path: Path) -> None:
    assignment = IncrementalSplitter(RATIOS, seed=3).split(items(12))
    assignment.save(tmp_path / "split.json")
    assert SplitAssignment.load(tmp_path / "split.json") == assignment
    assert assignment["val"] == [key for key, name in assignment.items.items() if name == "val"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    for text, said in (
        ("{", "is damaged"),
        ("[]", "split.json"),
        ('{"format": 9}', "format 9"),
        ("{}", "format None"),
    ):
        path.write_text(text)
        with pytest.raises(TrainingError, match=said):
            SplitAssignment.load(path)
    path.write_text(json.dumps({"format": 1, "ratios": {}, "seed": 0}))
    with pytest.raises(TrainingError, match=r"split\.json: this is no assignment"):
        SplitAssignment.load(path)
    with pytest.raises(TrainingError, match="cannot be read"):
        SplitAssignment.load(tmp_path / "none.json")


def test_names_that_do_not_exist_are_met_with_those_that_do() -> None:
    data = items(10)
    assignment = IncrementalSplitter(RATIOS).split(data)
    with pytest.raises(TrainingError, match=r"there is no split 'trian'. Did you mean 'train'"):
        assignment.select(data, "trian")
    with pytest.raises(TrainingError, match="in split 'val', for which there is no ratio"):
        IncrementalSplitter({"train": 0.5, "valid": 0.3, "test": 0.2}).extend(assignment, data)
    with pytest.raises(TrainingError, match="item 'new' is in no split: extend"):
        assignment.of(Datum(id="new"))
    with pytest.raises(TrainingError, match=r"item 'i0' has no field 'lable'. Did you mean 'label'"):
        StratifiedSplitter(by="lable").split(data)


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ({"train": -0.5, "val": 1.5}, "the ratio of 'train' is -0.5"),
        ({"train": math.nan}, "a number from 0 on"),
        ({"train": 0.8, "val": 0.3}, "add up to 1.1, not to 1"),
        ({"train": 0, "val": 0}, "add up to 0"),
        ({}, "add up to 0"),
        ((0.2,) * 5, "5 ratios without names"),
    ],
)
def test_ratios_that_are_none_are_refused(ratios: object, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        IncrementalSplitter(ratios)  # type: ignore[arg-type]


def test_strata_come_from_a_function_too_and_from_metadata() -> None:
    data = [Datum(id=str(at), metadata={"kind": at % 2}) for at in range(20)]
    by_name = StratifiedSplitter((0.5, 0.5), by="kind").split(data)
    by_function = StratifiedSplitter((0.5, 0.5), by=lambda one: one.metadata["kind"]).split(data)
    assert by_name == by_function
    assert Counter(one.metadata["kind"] for one in by_name.select(data, "val")) == {0: 5, 1: 5}
