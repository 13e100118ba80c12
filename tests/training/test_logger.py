from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.training.logger import JSONLLogger, Logger, as_json, read_lines
from autopilot_runtime.training.record import Record
from tests.contracts.logger_contract import LoggerContract
from tests.training.story_record import SLUG, make


class Lines:
    """A file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> Logger:
        return JSONLLogger(self.path, clock=lambda: 7.0)

    def read(self) -> list[tuple[str, str, int, float]]:
        return [
            (line["phase"], name, line["step"], float(value))
            for line in read_lines(self.path)
            if line["kind"] == "metrics"
            for name, value in line["metrics"].items()
        ]

    def said(self) -> str:
        return "\n".join(
            json.dumps(line, ensure_ascii=False) for line in read_lines(self.path) if line["kind"] != "metrics"
        )


class TestJSONLLogger(LoggerContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Any]:
        yield Lines(tmp_path / "new" / "log.jsonl")


def test_every_line_is_json_that_any_reader_takes(tmp_path: Path) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    logger = JSONLLogger(tmp_path / "log.jsonl")
    logger.start({"experiment": "x", "odd": object()})
    logger.log_metrics({"loss": math.nan}, step=1, phase="val")
    logger.log_event(Event(1, 0.5, EventType.LOSS, data={"value": -math.inf, "deep": [{"x": math.inf}]}))
    logger.finish("completed")
    for line in (tmp_path / "log.jsonl").read_text(encoding="ascii").splitlines():
        json.loads(line, parse_constant=refuse)
    assert read_lines(tmp_path / "log.jsonl")[2]["event"]["deep"] == [{"x": "Infinity"}]


def test_a_line_that_a_kill_cut_off_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    logger = JSONLLogger(path)
    logger.start({"experiment": "x"})
    logger.log_metrics({"accuracy": 0.5}, step=1, phase="val")
    logger.finish("completed")
    path.write_bytes(path.read_bytes()[:-9])
    again = JSONLLogger(path)
    again.start({"experiment": "x"})
    again.log_metrics({"accuracy": 0.75}, step=2, phase="val")
    again.finish("completed")
    kinds = [line["kind"] for line in read_lines(path)]
    assert kinds == ["start", "metrics", "start", "metrics", "finish"]


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.93, 1.0])
def test_export_repairs_a_log_that_was_cut_off_anywhere(tmp_path: Path, kept: float) -> None:
    with Record.passing() as record:
        make(record)
        whole = JSONLLogger(tmp_path / "whole.jsonl", clock=lambda: 7.0)
        whole.export(record, SLUG)
        path = tmp_path / "log.jsonl"
        data = whole.path.read_bytes()
        path.write_bytes(data[: int(len(data) * kept)])
        JSONLLogger(path, clock=lambda: 7.0).export(record, SLUG)
    wanted = {"metrics", "event", "context"}

    def content(path: Path) -> list[str]:
        return sorted(as_json(line) for line in read_lines(path) if line["kind"] in wanted)

    assert content(path) == content(whole.path)


def test_two_experiments_in_one_file_do_not_hide_each_others_numbers(tmp_path: Path) -> None:
    with Record.passing() as record:
        make(record, "one")
        make(record, "two")
        logger = JSONLLogger(tmp_path / "log.jsonl")
        assert logger.export(record, "one") == logger.export(record, "two") > 30
        assert logger.export(record, "one") == logger.export(record, "two") == 0


def test_a_logger_of_ones_own_needs_one_method(tmp_path: Path) -> None:
    class Mine(Logger):
        def __init__(self) -> None:
            self.seen: list[tuple[str, int]] = []

        def log_metrics(self, metrics: Any, *, step: int, phase: str = "") -> None:
            self.seen.append((phase, step))

    with Record.passing() as record:
        make(record)
        mine = Mine()
        mine.export(record, SLUG)
    assert mine.seen[:4] == [("val", -1), ("train", 0), ("val", 0), ("train", 1)]
