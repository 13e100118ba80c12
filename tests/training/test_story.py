from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from autopilot_runtime.training.fault import MetricMissing, TrainingError
from autopilot_runtime.training.parameter import TextParameter
from autopilot_runtime.training.record import EpochRow, Record
from autopilot_runtime.training.story import bound_of, read_story
from tests.training.story_record import NOISE, RUN, SLUG, Tried, make


@pytest.fixture
def record() -> Iterator[Record]:
    with Record.passing() as record:
        yield record


def test_a_story_has_every_candidate_with_what_it_had_to_beat(record: Record) -> None:
    make(record)
    story = read_story(record, SLUG)
    assert (story.metric, story.rises, story.sigma, story.start) == ("accuracy", True, NOISE, 0.512)
    assert [one.value for one in story.attempts] == [one.accuracy for one in RUN]
    assert [one.why for one in story.attempts] == [one.why for one in RUN]
    level = 0.512
    for one in story.attempts:
        assert one.before == level
        level = one.value if one.kept and one.value is not None else level
    assert story.best is not None
    assert story.best.n == 14
    assert story.steps()[0] == (-1, 0.512)


def test_better_but_within_the_noise_is_only_what_was_not_kept_and_gained_less_than_noise(record: Record) -> None:
    make(record)
    assert [one.n for one in read_story(record, SLUG).attempts if one.noisy] == [2, 8]


def test_what_measures_no_number_is_a_crash_and_no_value(record: Record) -> None:
    make(record, run=[Tried("discard", math.nan, "nan"), Tried("discard", None, "none"), Tried("accept", 0.6, "ok")])
    story = read_story(record, SLUG)
    assert [one.crashed for one in story.attempts] == [True, True, False]
    assert story.steps() == [(-1, 0.512), (2, 0.6)]


def test_a_candidate_that_took_several_steps_came_from_the_accepted_state_before_them(record: Record) -> None:
    record.create("x")
    text = TextParameter("a", name="p")
    root = record.commit([("p", text)], experiment="x")
    record.put_epoch(EpochRow("x", -1, root.id, "", "seed", metrics={"loss": 3.0}))
    parent = root
    for step in ("b", "c", "d"):
        text.data = step
        parent = record.commit([("p", text)], experiment="x", parents=[parent.id], epoch=0)
    record.put_epoch(EpochRow("x", 0, parent.id, parent.parents[0], "accept", metrics={"loss": 2.0}))
    text.data = "e"
    last = record.commit([("p", text)], experiment="x", parents=[parent.id], epoch=1)
    record.put_epoch(EpochRow("x", 1, last.id, parent.id, "discard", metrics={"loss": 9.0}))
    record.put_epoch(EpochRow("x", 2, parent.id, root.id, "discard", "nothing was changed", metrics={"loss": 2.0}))
    story = read_story(record, "x")
    assert [one.base for one in story.attempts] == [root.id, parent.id, parent.id]
    assert (story.metric, story.rises) == ("loss", False)
    assert story.best is not None
    assert story.best.n == 0


def test_without_a_seed_row_the_first_state_is_found_and_its_items_say_what_it_measured(record: Record) -> None:
    make(record)
    with Record.passing() as other:
        make(other)
        other.store.rows("SELECT 1")
        with other.store.transaction() as link:
            link.execute("DELETE FROM train_epochs WHERE epoch = -1")
            link.execute("DELETE FROM train_state")
        story = read_story(other, SLUG)
    assert story.root == read_story(record, SLUG).root
    assert story.start == 0.5  # half of its items were right


def test_a_metric_of_a_gate_is_what_counts_when_nobody_names_one(record: Record) -> None:
    make(record, config={})
    assert read_story(record, SLUG).metric == "accuracy"
    assert read_story(record, SLUG, metric="latency").rises is False
    with pytest.raises(MetricMissing, match="Did you mean 'latency'"):
        read_story(record, SLUG, metric="latancy")


def test_what_is_not_there_says_so(record: Record) -> None:
    with pytest.raises(TrainingError, match="no experiment yet"):
        read_story(record)
    record.create("empty")
    story = read_story(record)
    assert story.best is None
    assert story.steps() == []
    with pytest.raises(TrainingError, match="no candidates yet"):
        story.attempt(3)
    make(record)
    with pytest.raises(TrainingError, match=r"no candidate 99: there are 0 to 15"):
        read_story(record, SLUG).attempt(99)


@pytest.mark.parametrize(
    ("bound", "low", "high"),
    [(">= 0.9", 0.9, None), ("<= -1e-05", None, -1e-5), ("in [0.5, 1]", 0.5, 1.0), ("> 3", 3.0, None)],
)
def test_the_line_of_a_gate_is_read_from_its_words(bound: str, low: float | None, high: float | None) -> None:
    found = bound_of({"gate": "g", "bound": bound})
    assert found is not None
    assert (found.low, found.high) == (low, high)


@pytest.mark.parametrize("bound", ["", "not worse than 0.5", "within the budget", ">= x", "in [1]"])
def test_what_moves_or_is_no_number_is_no_line(bound: str) -> None:
    assert bound_of({"gate": "g", "bound": bound}) is None
