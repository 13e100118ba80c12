"""What loggers are told of a fit, and how little they can do to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.training import Experiment, JSONLLogger, Logger, QualityFirstPolicy, Trainer, TrainingError
from tests.training.systems import Vocabulary, loader

UP = QualityFirstPolicy("accuracy")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_experiment_writes_lines_of_json_beside_its_record(tmp_path: Path) -> None:
    with Experiment("mine", path=tmp_path) as experiment:
        Trainer(policy=UP, experiment=experiment).fit(Vocabulary(), loader(batch_size=4), loader(), max_epochs=2)
    told = lines(tmp_path / "mine.jsonl")
    values = [one["metrics"]["accuracy"] for one in told if one["kind"] == "metrics" and one["phase"] == "val"]
    assert values == [0.0, 0.25, 0.5]  # the first is what was given
    assert told[0]["kind"] == "start"
    assert told[-1]["kind"] == "finish"
    types = [one["event"]["type"] for one in told if one["kind"] == "event"]
    assert types[0] == "fit_start"
    assert types[-1] == "fit_end"
    assert any(one["kind"] == "context" and one["entry"]["source"] == "policy" for one in told)


def test_no_logger_means_no_file(tmp_path: Path) -> None:
    with Experiment("mine", path=tmp_path) as experiment:
        trainer = Trainer(policy=UP, experiment=experiment, logger=False)
        trainer.fit(Vocabulary(), loader(), loader(), max_epochs=1)
    assert not (tmp_path / "mine.jsonl").exists()


def test_a_tracker_that_is_down_is_told_of_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Down(Logger):
        def start(self, run: Any) -> None:
            raise ConnectionError("nobody there")

        def log_metrics(self, metrics: Any, *, step: int, phase: str = "") -> None:
            raise ConnectionError("nobody there")

    trainer = Trainer(policy=UP, logger=[Down(), JSONLLogger(tmp_path / "log.jsonl")])
    result = trainer.fit(Vocabulary(), loader(batch_size=4), loader(), max_epochs=3)
    assert result.metrics["accuracy"] == 0.75
    assert sum("Down failed at" in record.getMessage() for record in caplog.records) == 1
    assert lines(tmp_path / "log.jsonl")[-1]["kind"] == "finish"


def test_what_is_no_logger_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(TrainingError, match="str is no Logger"):
        Trainer(logger="mlflow")
