"""Where the next change starts from."""

import random
from collections import Counter

import pytest

from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.selector import (
    BestSelector,
    Candidate,
    ParetoSelector,
    Selector,
    TopKSelector,
    TreeSelector,
)

ALL = [BestSelector(), ParetoSelector(), TopKSelector(2), TreeSelector()]


def of(commit: str, *scores: float, **more: int) -> Candidate:
    return Candidate(commit, {f"item{number}": score for number, score in enumerate(scores)}, **more)


def drawn(selector: Selector, pool: list[Candidate], times: int = 300) -> Counter[str]:
    rng = random.Random(5)
    return Counter(selector.select(pool, rng=rng).commit for _ in range(times))


@pytest.mark.parametrize("selector", ALL, ids=lambda one: type(one).__name__)
class TestEverySelector:
    def test_it_is_one(self, selector: Selector) -> None:
        assert isinstance(selector, Selector)

    def test_a_pool_of_one_leaves_no_choice(self, selector: Selector) -> None:
        assert selector.select([of("only", 0.5)], rng=random.Random(0)).commit == "only"

    def test_an_empty_pool_is_said(self, selector: Selector) -> None:
        with pytest.raises(TrainingError, match="no accepted state"):
            selector.select([], rng=random.Random(0))

    def test_the_same_chance_gives_the_same_choice(self, selector: Selector) -> None:
        pool = [of("a", 0.1, 0.9), of("b", 0.9, 0.1), of("c", 0.5, 0.5)]
        assert drawn(selector, pool, 30) == drawn(selector, pool, 30)

    def test_the_order_of_the_pool_does_not_matter_where_no_chance_is(self, selector: Selector) -> None:
        pool = [of("a", 0.1, 0.1), of("b", 0.9, 0.9), of("c", 0.2, 0.1)]
        if not isinstance(selector, TopKSelector):
            assert set(drawn(selector, pool)) == set(drawn(selector, pool[::-1])) == {"b"}

    def test_scores_that_are_no_numbers_never_win(self, selector: Selector) -> None:
        pool = [of("good", 0.5, 0.5), of("odd", float("nan"), float("nan")), of("none"), of("weak", 0.4, 0.4)]
        assert set(drawn(selector, pool)) <= {"good", "weak"}


def test_of_equals_the_best_is_the_one_started_from_least_often() -> None:
    pool = [of("a", 0.5, visits=2), of("b", 0.5, visits=1), of("c", 0.4)]
    assert BestSelector().select(pool, rng=random.Random(0)).commit == "b"


def test_a_specialist_takes_part_though_it_is_worse_on_average() -> None:
    pool = [of("all-rounder", 0.8, 0.8, 0.8, 0.1), of("specialist", 0.0, 0.0, 0.0, 0.9)]
    found = drawn(ParetoSelector(), pool, 1000)
    assert 200 < found["specialist"] < 300  # leads one item of four


def test_who_leads_nowhere_alone_is_left_out() -> None:
    pool = [of("a", 0.9, 0.9, 0.1), of("copy of a, worse on average", 0.9, 0.2, 0.1), of("b", 0.1, 0.1, 0.9)]
    assert set(drawn(ParetoSelector(), pool)) == {"a", "b"}


def test_an_item_that_all_lead_alike_says_nothing() -> None:
    pool = [of("a", 1.0, 1.0, 0.5), of("b", 1.0, 1.0, 0.4)]
    assert set(drawn(ParetoSelector(), pool)) == {"a"}
    assert set(drawn(ParetoSelector(), [of("a", 1.0), of("b", 1.0)])) == {"b"}  # nothing apart: the newest by name


def test_with_a_tolerance_luck_on_one_item_leads_nothing() -> None:
    pool = [of("better", 0.9, 0.9, 0.80), of("lucky", 0.2, 0.2, 0.85)]
    assert set(drawn(ParetoSelector(), pool)) == {"better", "lucky"}
    assert set(drawn(ParetoSelector(tolerance=0.1), pool)) == {"better"}


def test_top_k_gives_each_of_the_best_the_same_chance() -> None:
    found = drawn(TopKSelector(2), [of("a", 0.9), of("b", 0.8), of("c", 0.7)], 1000)
    assert set(found) == {"a", "b"}
    assert 450 < found["a"] < 550
    with pytest.raises(TrainingError, match="at least 1"):
        TopKSelector(0)


def test_the_tree_goes_back_to_what_was_hardly_tried_when_the_best_leads_nowhere() -> None:
    pool = [of("best", 0.80, visits=30), of("fresh", 0.75, visits=0)]
    assert TreeSelector(explore=0.1).select(pool, rng=random.Random(0)).commit == "fresh"
    assert TreeSelector(explore=0.0).select(pool, rng=random.Random(0)).commit == "best"
    with pytest.raises(TrainingError, match="at least 0"):
        TreeSelector(-1)
