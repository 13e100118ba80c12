"""Orders come from a seed and the number of the epoch, and can be had again."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.training import BatchSampler, RandomSampler, Sampler, SequentialSampler, WeightedSampler
from autopilot_runtime.training.fault import TrainingError

ITEMS = range(20)


def test_in_sequence_is_from_first_to_last_every_time() -> None:
    sampler = SequentialSampler("abc")
    assert list(sampler) == list(sampler) == [0, 1, 2] and len(sampler) == 3


def test_each_epoch_is_shuffled_anew_and_the_same_seed_shuffles_the_same() -> None:
    one, two, other = RandomSampler(ITEMS, seed=1), RandomSampler(ITEMS, seed=1), RandomSampler(ITEMS, seed=2)
    first, second = list(one), list(one)
    assert first != second and sorted(first) == sorted(second) == list(ITEMS)
    assert [list(two), list(two)] == [first, second]
    assert list(other) != first


def test_an_order_is_the_same_in_another_process() -> None:
    code = (
        "from autopilot_runtime.training import RandomSampler, WeightedSampler\n"
        "print(list(RandomSampler(range(20), seed=3)), list(WeightedSampler([1, 2, 3], 9, seed=3)))"
    )
    here = f"{list(RandomSampler(ITEMS, seed=3))} {list(WeightedSampler([1, 2, 3], 9, seed=3))}"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == here


def test_the_order_of_an_epoch_can_be_asked_for_at_any_time() -> None:
    sampler = RandomSampler(ITEMS)
    orders = [list(sampler) for _ in range(4)]
    sampler.set_epoch(2)
    assert list(sampler) == orders[2] and list(sampler) == orders[3]


def test_a_sampler_that_is_resumed_goes_on_where_the_other_was() -> None:
    sampler, resumed = RandomSampler(ITEMS, seed=5), RandomSampler(ITEMS, seed=0)
    list(sampler)
    resumed.load_state_dict(sampler.state_dict())
    assert list(resumed) == list(sampler)


def test_more_than_there_are_takes_every_item_before_any_comes_again() -> None:
    numbers = list(RandomSampler(range(3), num_samples=7))
    assert Counter(numbers[:6]) == {0: 2, 1: 2, 2: 2} and len(numbers) == 7
    assert len(list(RandomSampler(range(3), num_samples=2))) == len(RandomSampler(range(3), num_samples=2)) == 2


def test_with_replacement_items_come_more_than_once() -> None:
    numbers = list(RandomSampler(range(4), replacement=True, num_samples=50))
    assert len(numbers) == 50 and set(numbers) == {0, 1, 2, 3}


def test_weights_are_the_shares_in_which_items_come() -> None:
    counted = Counter(WeightedSampler([1, 0, 3], num_samples=4000))
    assert set(counted) == {0, 2} and counted[2] / counted[0] == pytest.approx(3, rel=0.15)


def test_without_replacement_each_comes_once_and_heavy_ones_come_first() -> None:
    sampler = WeightedSampler([1, 0, 9], num_samples=2, replacement=False)
    orders = [list(sampler) for _ in range(500)]
    assert all(sorted(order) == [0, 2] for order in orders)
    assert sum(order[0] == 2 for order in orders) / 500 == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(TrainingError, match=r"weight 1 is .*a number from 0 on"):
        WeightedSampler([1, weight])


def test_weights_that_leave_nothing_to_take_are_refused() -> None:
    for nothing in ([], [0, 0]):
        with pytest.raises(TrainingError, match="no weight is above 0"):
            WeightedSampler(nothing)
    with pytest.raises(TrainingError, match="3 different items are wanted, and 2 have a weight above 0"):
        WeightedSampler([1, 1, 0], replacement=False)


@given(st.integers(0, 30), st.integers(1, 8), st.booleans())
def test_batches_hold_every_item_in_order_and_their_number_is_known(size: int, batch: int, drop: bool) -> None:
    sampler = BatchSampler(SequentialSampler(range(size)), batch, drop)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    kept = size - size % batch if drop else size
    assert [number for one in batches for number in one] == list(range(kept))
    assert all(len(one) == batch for one in batches[:-1])


@pytest.mark.parametrize("size", [0, -1, True, 2.0, None, "3"])
def test_a_batch_size_that_is_none_is_refused(size: object) -> None:
    with pytest.raises(TrainingError, match="batch_size must be a whole number from 1 on"):
        BatchSampler(SequentialSampler(ITEMS), size)  # type: ignore[arg-type]


def test_batches_pass_the_epoch_and_the_state_on() -> None:
    sampler = BatchSampler(RandomSampler(ITEMS, seed=4), 6)
    epochs = [list(sampler) for _ in range(3)]
    sampler.set_epoch(1)
    assert list(sampler) == epochs[1]
    other = BatchSampler(RandomSampler(ITEMS), 6)
    other.load_state_dict(sampler.state_dict())
    assert list(other) == epochs[2]


def test_an_order_of_the_users_own_needs_one_method() -> None:
    class Backwards(Sampler):
        def order(self, epoch: int) -> range:
            return range(4, -1, -1) if epoch else range(5)

    sampler = Backwards()
    assert [list(sampler), list(sampler)] == [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]
    assert list(BatchSampler([5, 6, 7], 2)) == [[5, 6], [7]]
    with pytest.raises(TypeError, match="nobody knows how many Backwards gives"):
        len(sampler)
