"""Batches, epoch after epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from autopilot_runtime.training import (
    Batch,
    BatchSampler,
    DataLoader,
    Datum,
    IterableDataset,
    ListDataset,
    RandomSampler,
    SequentialSampler,
    WeightedSampler,
)
from autopilot_runtime.training.fault import TrainingError


def numbers(loader: DataLoader) -> list[list[Any]]:
    return [list(batch) for batch in loader]


class Stream(IterableDataset[int]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))


def test_the_first_lines_of_the_manual_run() -> None:
    loader = DataLoader(ListDataset([Datum(), Datum(), Datum()]), batch_size=1)
    batch = next(iter(loader))
    assert batch.id == loader.dataset[0].id and isinstance(batch, Batch)


def test_batches_are_as_many_as_len_says_and_the_last_is_short() -> None:
    loader = DataLoader(ListDataset(range(7)), 3)
    assert numbers(loader) == [[0, 1, 2], [3, 4, 5], [6]] and len(loader) == 3
    loader = DataLoader(ListDataset(range(7)), batch_size=3, drop_last=True)
    assert numbers(loader) == [[0, 1, 2], [3, 4, 5]] and len(loader) == 2


def test_a_plain_list_will_do_and_so_does_a_users_own_set() -> None:
    class Squares:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> int:
            return index * index

    assert numbers(DataLoader([4, 5], 2)) == [[4, 5]]
    assert numbers(DataLoader(Squares(), 2)) == [[0, 1], [4]]


def test_shuffling_is_anew_each_epoch_and_the_same_for_the_same_seed() -> None:
    first, second = (DataLoader(range(30), 4, shuffle=True, seed=7) for _ in range(2))
    epochs = [numbers(first) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert [numbers(second) for _ in range(3)] == epochs
    second.set_epoch(1)
    assert numbers(second) == epochs[1]
    assert numbers(DataLoader(range(30), 4, shuffle=True, seed=8)) != epochs[0]


def test_a_loader_that_is_resumed_sees_the_order_it_would_have_seen() -> None:
    loader, resumed = DataLoader(range(30), 4, shuffle=True, seed=7), DataLoader(range(30), 4, shuffle=True)
    numbers(loader)
    resumed.load_state_dict(loader.state_dict())
    assert numbers(resumed) == numbers(loader)


def test_a_collate_function_makes_the_batch() -> None:
    assert list(DataLoader([1, 2, 3], 2, collate_fn=sum)) == [3, 3]


def test_no_batch_size_gives_the_items_themselves() -> None:
    items = [Datum(id="a"), Datum(id="b")]
    loader = DataLoader(items, batch_size=None)
    assert list(loader) == items and len(loader) == 2
    shuffled = DataLoader(range(30), None, shuffle=True)
    assert sorted(shuffled) == list(range(30)) and list(shuffled) != list(range(30))


def test_samplers_say_the_order() -> None:
    assert numbers(DataLoader([5, 6, 7], 2, sampler=[2, 0, 1])) == [[7, 5], [6]]
    assert numbers(DataLoader([5, 6, 7], batch_sampler=[[2, 0], [1]])) == [[7, 5], [6]]
    batches = BatchSampler(SequentialSampler(range(3)), 2)
    assert len(DataLoader([5, 6, 7], batch_sampler=batches)) == 2
    weighted = DataLoader([5, 6, 7], 2, sampler=WeightedSampler([0, 1, 0], num_samples=3))
    assert numbers(weighted) == [[6, 6], [6]]


def test_items_one_after_another_are_batched_without_a_length() -> None:
    loader = DataLoader(Stream(5), 2)
    assert numbers(loader) == numbers(loader) == [[0, 1], [2, 3], [4]] and loader
    assert numbers(DataLoader(Stream(5), 2, drop_last=True)) == [[0, 1], [2, 3]]
    with pytest.raises(TypeError, match="nobody knows how many items Stream has"):
        len(loader)


@pytest.mark.parametrize("size", [0, -2, 1.5, "4"])
def test_a_batch_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(TrainingError, match="batch_size must be a whole number from 1 on, not"):
        DataLoader([1], size)


def test_nothing_to_iterate_over_is_an_error_and_no_silent_epoch() -> None:
    with pytest.raises(TrainingError, match="the ListDataset is empty"):
        DataLoader(ListDataset())
    with pytest.raises(TrainingError, match="drop_last leaves nothing: 3 items do not fill one batch of 8"):
        DataLoader(ListDataset(range(3)), 8, drop_last=True)
    with pytest.raises(TrainingError, match="Stream gave no item"):
        list(DataLoader(Stream(0), 2))
    with pytest.raises(TrainingError, match="fewer items than one batch of 8"):
        list(DataLoader(Stream(3), 8, drop_last=True))
    shrunk = DataLoader(ListDataset([1]))
    shrunk.dataset.items.clear()
    with pytest.raises(TrainingError, match="empty"):
        iter(shrunk)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sampler": [0], "shuffle": True}, "give one of them"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "says it all"),
        ({"batch_sampler": [[0]], "shuffle": True}, "says it all"),
        ({"batch_sampler": [[0]], "drop_last": True}, "says it all"),
        ({"batch_size": None, "drop_last": True}, "makes no batches"),
        ({"sampler": iter([0])}, "the sampler is used up after one epoch"),
        ({"batch_sampler": iter([[0]])}, "the batch_sampler is used up"),
        ({"sampler": WeightedSampler([1, 1])}, "2 weights for 3 items"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        DataLoader([1, 2, 3], **settings)


def test_what_is_no_set_of_items_is_refused() -> None:
    for odd in ("abc", {"a": 1}, 5, Datum()):
        with pytest.raises(TrainingError, match="DataLoader takes a Dataset or a list of items"):
            DataLoader(odd)
    with pytest.raises(TrainingError, match="the dataset is used up after one epoch"):
        DataLoader(one for one in (1, 2))
    with pytest.raises(TrainingError, match="nothing can be shuffled"):
        DataLoader(Stream(3), shuffle=True)
    with pytest.raises(TrainingError, match="nothing can be shuffled"):
        DataLoader(Stream(3), sampler=RandomSampler(range(3)))


def test_an_item_that_cannot_be_had_is_named() -> None:
    with pytest.raises(IndexError) as caught:
        list(DataLoader(ListDataset([1, 2]), sampler=[0, 5]))
    assert caught.value.__notes__ == ["item 5 of ListDataset, of 2 items"]


def test_a_set_that_changes_with_the_epoch_is_told_of_it() -> None:
    class Growing(ListDataset[int]):
        def set_epoch(self, epoch: int) -> None:
            self.items = list(range(epoch + 1))

    loader = DataLoader(Growing([0]), 2)
    loader.set_epoch(2)
    assert numbers(loader) == [[0, 1], [2]] and len(loader) == 2
