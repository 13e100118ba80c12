"""What every `Logger` must do. Subclass the contract, give a fixture `place`, and run it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.training.logger import Logger
from autopilot_runtime.training.record import Record
from autopilot_runtime.training.recordrows import ContextEntry
from tests.training.story_record import HOSTILE, SLUG, make

RUN = {"experiment": "mails", "run": "r1", "max_epochs": 3}
NESTED = {
    "monitor": "accuracy",
    "budget": {"calls": 10, "usd": 0.5},
    "odd": {1, 2},
    "long": "x" * 9_000,
    "nul": "a\0b",
}
NAMES = ["accuracy", "p95 (ms)", "größe", "a/b", "x" * 400, "f1@0.5", "f1#0.5"]


class Place(Protocol):
    """Where one logger writes. Every `open` is another logger for the same place, as in another process."""

    def open(self) -> Logger: ...

    def read(self) -> list[tuple[str, str, int, float]]:
        """(phase, name, step, value) of all that is there, in any order."""
        ...

    def said(self) -> str:
        """All texts that are there: settings, journal, status."""
        ...


def numbers(place: Place) -> dict[tuple[str, int], float]:
    """(phase/name, step) → value; no number is there twice."""
    found = [((f"{phase}/{name}", step), value) for phase, name, step, value in place.read() if phase != "autopilot"]
    assert len(dict(found)) == len(found), "something is there twice"
    return dict(found)


class LoggerContract:
    """Stories of one logger."""

    @pytest.fixture
    def record(self) -> Iterator[Record]:
        with Record.passing() as record:
            make(record)
            yield record

    def test_numbers_arrive_exactly_under_their_phase_and_step(self, place: Any) -> None:
        logger = place.open()
        logger.start(RUN)
        logger.log_metrics({"accuracy": 0.1 + 0.2, "loss": 1e-12}, step=1, phase="train")
        logger.log_metrics({"accuracy": 0.25}, step=1, phase="val")
        logger.log_metrics({"accuracy": 0.5}, step=2, phase="val")
        logger.finish("completed")
        found = numbers(place)
        assert found[("val/accuracy", 1)] == 0.25
        assert found[("val/accuracy", 2)] == 0.5
        assert found[("train/accuracy", 1)] == pytest.approx(0.1 + 0.2, rel=1e-6)
        assert found[("train/loss", 1)] == pytest.approx(1e-12, rel=1e-6)
        assert len(found) == 4

    def test_what_is_no_finite_number_stops_nothing(self, place: Any) -> None:
        logger = place.open()
        logger.start(RUN)
        logger.log_metrics({"loss": math.nan, "other": math.inf, "fine": 2.0}, step=1, phase="val")
        logger.log_metrics({"loss": -math.inf}, step=2, phase="val")
        logger.log_metrics({}, step=3, phase="val")
        logger.finish("completed")
        found = numbers(place)
        assert found[("val/fine", 1)] == 2.0
        assert math.isnan(found[("val/loss", 1)])
        assert found[("val/other", 1)] == math.inf
        assert found[("val/loss", 2)] == -math.inf

    def test_metrics_of_any_name_arrive_and_stay_apart(self, place: Any) -> None:
        logger = place.open()
        logger.start(RUN)
        logger.log_metrics({name: float(at) for at, name in enumerate(NAMES)}, step=1, phase="val")
        logger.finish("completed")
        assert sorted(numbers(place).values()) == [float(at) for at in range(len(NAMES))]

    def test_settings_are_kept_whole_and_may_change_in_a_run_that_goes_on(self, place: Any) -> None:
        logger = place.open()
        logger.start(RUN)
        logger.log_params(NESTED)
        logger.log_params({**NESTED, "monitor": "recall"})
        logger.log_metrics({"accuracy": 1.0}, step=1, phase="val")
        logger.finish("completed")
        said = place.said()
        assert "x" * 9_000 in said
        assert "accuracy" in said
        assert "recall" in said
        assert "0.5" in said

    def test_the_journal_arrives_with_every_letter(self, place: Any) -> None:
        logger = place.open()
        logger.start(RUN)
        logger.log_context(ContextEntry("policy", "accuracy 0.4 -> 0.5 (better)", decision="accept", epoch=1, at=1.5))
        logger.log_context(ContextEntry("user", HOSTILE, data={"odd": {1, 2}, "nan": math.nan}))
        logger.log_event(Event(1, 2.0, EventType.ACCEPTED, data={"epoch": 1, "metrics": {"accuracy": 0.5}}))
        logger.finish("failed")
        said = place.said()
        assert "accuracy 0.4 -> 0.5 (better)" in said
        assert "quotes" in said
        assert "failed" in said

    def test_a_run_that_goes_on_adds_to_what_is_there(self, place: Any) -> None:
        logger = place.open()
        logger.start(RUN)
        logger.log_metrics({"accuracy": 0.25}, step=1, phase="val")
        logger.finish("cancelled")
        logger.start(RUN)
        logger.log_metrics({"accuracy": 0.75}, step=2, phase="val")
        logger.finish("completed")
        assert numbers(place) == {("val/accuracy", 1): 0.25, ("val/accuracy", 2): 0.75}

    def test_export_gives_all_that_the_record_holds(self, place: Any, record: Record) -> None:
        assert place.open().export(record, SLUG) > 30
        found = numbers(place)
        rows = record.epochs(SLUG)
        for row in rows:
            for phase, metrics in (("val", row.metrics), ("train", row.train)):
                for name, value in metrics.items():
                    assert found.pop((f"{phase}/{name}", row.epoch)) == pytest.approx(value, rel=1e-6)
        assert not found

    def test_export_adds_only_what_is_missing(self, place: Any, record: Record) -> None:
        rows = record.epochs(SLUG)
        logger = place.open()
        logger.start({"experiment": SLUG})
        logger.log_metrics(rows[1].metrics, step=rows[1].epoch, phase="val")
        first = logger.export(record, SLUG)
        assert logger.export(record, SLUG) < first
        found = numbers(place)  # none of them twice
        assert len(found) == sum(len(row.metrics) + len(row.train) for row in rows)

    def test_a_logger_that_was_told_nothing_ends_in_peace(self, place: Any) -> None:
        logger = place.open()
        logger.start(RUN)
        logger.finish("completed")
        assert numbers(place) == {}


def at(folder: Path) -> str:
    """A folder as a URI."""
    return folder.resolve().as_uri()
