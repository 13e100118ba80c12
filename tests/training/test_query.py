"""Filters over experiments and epochs: joined, negated, ordered, and never fooled by NaN or a misspelt name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autopilot_runtime.training import (
    Query,
    Record,
    TextParameter,
    best,
    completed,
    failed,
    metric_gt,
    metric_lt,
    running,
    tagged,
)
from autopilot_runtime.training.fault import MetricMissing, TrainingError
from autopilot_runtime.training.query import child_of, named, status_is, verdict, where
from autopilot_runtime.training.record import EpochRow

KNOWN = [("a", "completed", 0.95), ("b", "completed", 0.85), ("c", "failed", 0.99), ("d", "running", float("nan"))]


@pytest.fixture
def record() -> Iterator[Record]:
    with Record.passing() as opened:
        for slug, status, score in KNOWN:
            opened.create(slug, tags=["nightly", slug], parent="a" if slug == "b" else None)
            for epoch, value in enumerate([0.1, score]):
                prompt = TextParameter(f"{slug} {epoch}", name="p")
                made = opened.commit([("p", prompt)], experiment=slug, epoch=epoch)
                metrics = {"accuracy": value, "val_loss": 1 - value}
                opened.put_epoch(EpochRow(slug, epoch, made.id, "", "accept" if epoch else "discard", "", metrics))
                opened.point(slug, "last_accepted", made.id)
            opened.set_status(slug, status)  # type: ignore[arg-type]
        opened.create("new")
        yield opened


def slugs(query: Query) -> list[str]:
    return [found.slug for found in query]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (completed(), "ab"),
        (failed(), "c"),
        (running(), "d"),
        (status_is("pending"), ["new"]),
        (completed() & metric_gt("accuracy", 0.9), "a"),
        (completed() | failed(), "abc"),
        (failed() | completed(), "abc"),
        (~completed(), ["c", "d", "new"]),
        (~(completed() | failed()) & tagged("nightly"), "d"),
        (metric_lt("accuracy", 0.9), "b"),
        (metric_gt("loss", 0.1), []),
        (metric_lt("val_loss", 0.1), "ac"),
        (best("accuracy"), "c"),
        (completed() & best("accuracy"), "a"),
        (best("accuracy") & completed(), []),
        (best("val_loss"), "c"),
        (best("accuracy", higher_is_better=False), "b"),
        (tagged("nightly", "b"), "b"),
        (named("[ab]"), "ab"),
        (child_of("a"), "b"),
        (where(lambda row: row.epochs == 0), ["new"]),
    ],
    ids=repr,
)
def test_a_filter_takes(record: Record, wanted: object, found: object) -> None:
    if repr(wanted).startswith("metric_gt('loss'"):
        with pytest.raises(MetricMissing, match=r"'loss'.*Did you mean 'val_loss'"):
            Query(record).where(wanted).all()  # type: ignore[arg-type]
    else:
        assert slugs(Query(record).where(wanted)) == list(found)  # type: ignore[arg-type, call-overload]


def test_what_was_found_is_ordered_and_what_has_no_number_comes_last(record: Record) -> None:
    query = Query(record)
    assert slugs(query.order_by("-accuracy")) == ["c", "a", "b", "d", "new"]
    assert slugs(query.order_by("accuracy").limit(2)) == ["b", "a"]
    assert slugs(query.where(completed()).order_by("status", "-slug")) == ["b", "a"]
    assert query.where(completed()).order_by("accuracy").first().metrics["accuracy"] == 0.85
    assert query.where(tagged("nobody")).first() is None and query.count() == 5
    with pytest.raises(MetricMissing, match=r"'acuracy'.*Did you mean 'accuracy'"):
        query.order_by("acuracy").all()


def test_a_query_is_not_changed_by_what_is_built_on_it(record: Record) -> None:
    base = Query(record).where(completed())
    assert slugs(base.where(metric_gt("accuracy", 0.9))) == ["a"]
    assert slugs(base) == ["a", "b"]


def test_a_misspelt_metric_is_an_error_and_not_an_empty_answer(record: Record) -> None:
    with pytest.raises(MetricMissing, match=r"Nobody has measured 'acuracy'. Did you mean 'accuracy'"):
        Query(record).where(metric_gt("acuracy", 0.5)).all()
    with pytest.raises(MetricMissing, match="Did you mean 'accuracy'"):
        Query(record).where(best("acuracy")).all()


def test_epochs_are_asked_the_same_way(record: Record) -> None:
    rows = Query(record).epochs("a", "c").where(verdict("accept") & metric_gt("accuracy", 0.5)).all()
    assert [(row.experiment, row.epoch) for row in rows] == [("a", 1), ("c", 1)]
    assert Query(record).epochs().where(best("accuracy")).first().experiment == "c"
    assert Query(record).epochs().where(named("b")).count() == 2
    with pytest.raises(TrainingError, match="An epoch has no status"):
        Query(record).epochs("a").where(completed()).all()
    with pytest.raises(TrainingError, match=r"verdict\(...\) asks epochs"):
        Query(record).where(verdict("accept")).all()
    with pytest.raises(TrainingError, match="no experiment 'zz'"):
        Query(record).epochs("zz")


def test_a_filter_says_what_it_is() -> None:
    assert repr(completed() & ~metric_gt("accuracy", 0.9)) == "(completed() & ~metric_gt('accuracy', 0.9))"
