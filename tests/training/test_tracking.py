from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.logger import JSONLLogger, Logger, read_lines
from autopilot_runtime.training.record import Record
from autopilot_runtime.training.tracking import Tracking
from tests.training.story_record import SLUG, make


class Kept(Logger):
    """Remembers what it is told, and by which thread."""

    name = "kept"

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.threads: set[int] = set()

    def start(self, run: Any) -> None:
        self.calls.append(("start", threading.get_ident()))

    def log_metrics(self, metrics: Any, *, step: int, phase: str = "") -> None:
        self.threads.add(threading.get_ident())
        self.calls.append((phase, step, dict(metrics)))

    def finish(self, status: str) -> None:
        self.calls.append(status)


class Down(Kept):
    """A tracker whose server is gone, for some of the calls."""

    name = "down"

    def __init__(self, fails: range) -> None:
        super().__init__()
        self.fails = fails

    def log_metrics(self, metrics: Any, *, step: int, phase: str = "") -> None:
        if step in self.fails:
            raise ConnectionError(f"no route to the tracker\nat step {step}")
        super().log_metrics(metrics, step=step, phase=phase)


def run(tracking: Tracking, steps: int = 5) -> None:
    tracking.start({"experiment": "x"})
    for step in range(1, steps + 1):
        tracking.log_metrics({"accuracy": step / 8}, step=step, phase="val")
    tracking.finish("completed")


def test_everything_is_delivered_in_order_when_the_run_has_ended() -> None:
    kept = Kept()
    run(Tracking(kept, tell=print))
    assert kept.calls[0] == ("start", threading.get_ident())
    assert kept.calls[1:] == [("val", step, {"accuracy": step / 8}) for step in range(1, 6)] + ["completed"]
    assert len(kept.threads) == 1
    assert threading.get_ident() not in kept.threads


def test_a_tracker_that_is_down_is_reported_once_and_the_others_get_everything() -> None:
    told: list[str] = []
    down, kept = Down(range(1, 99)), Kept()
    run(Tracking([down, kept], tell=told.append), steps=20)
    assert (
        told[0] == "down failed at log_metrics: ConnectionError: no route to the tracker at step 1. The run goes on."
    )
    assert len(told) == 2
    assert "missed 20 calls" in told[1]
    assert "export" in told[1]
    assert len(kept.calls) == 22
    assert down.calls[-1] == "completed"


def test_a_tracker_that_comes_back_gets_what_follows() -> None:
    told: list[str] = []
    down = Down(range(2, 4))
    run(Tracking(down, tell=told.append))
    assert [call[1] for call in down.calls[1:-1]] == [1, 4, 5]
    assert len(told) == 2


def test_a_tracker_that_does_not_answer_is_left_behind() -> None:
    answer = threading.Event()

    class Hangs(Kept):
        name = "hangs"

        def log_metrics(self, metrics: Any, *, step: int, phase: str = "") -> None:
            answer.wait()

    told: list[str] = []
    hangs, kept = Hangs(), Kept()
    try:
        run(Tracking([hangs, kept], tell=told.append, patience=0.2))
    finally:
        answer.set()
    assert told == [
        "hangs has not answered in time: 6 calls were not made. logger.export(record, experiment) gives it what it "
        "does not have."
    ]
    assert len(kept.calls) == 7


def test_a_tracker_that_is_too_slow_does_not_fill_the_memory() -> None:
    answer = threading.Event()

    class Slow(Kept):
        def log_metrics(self, metrics: Any, *, step: int, phase: str = "") -> None:
            answer.wait()
            super().log_metrics(metrics, step=step, phase=phase)

    told: list[str] = []
    slow = Slow()
    tracking = Tracking(slow, tell=told.append, room=10)
    tracking.start({})
    for step in range(1, 1001):
        tracking.log_metrics({}, step=step)
    answer.set()
    tracking.finish("completed")
    assert len(slow.calls) <= 13
    assert slow.calls[-1] == "completed"
    assert "missed" in told[-1]


def test_what_a_logger_does_not_want_costs_it_nothing() -> None:
    kept = Kept()
    tracking = Tracking(kept, tell=print)
    tracking.start({})
    before = threading.active_count()
    tracking.log_event(Event(1, 0.0, EventType.LOSS))
    assert threading.active_count() == before
    tracking.finish("completed")
    assert kept.calls[1:] == ["completed"]


def test_the_same_loggers_serve_one_run_after_the_other() -> None:
    kept = Kept()
    tracking = Tracking(kept, tell=print)
    run(tracking, steps=1)
    run(tracking, steps=1)
    assert [call for call in kept.calls if isinstance(call, str)] == ["completed", "completed"]


def test_what_is_no_logger_is_refused_at_once() -> None:
    with pytest.raises(TrainingError, match=r"str is no Logger"):
        Tracking(["mlflow"])  # type: ignore[list-item]


def test_what_a_tracker_missed_comes_from_the_record(tmp_path: Path) -> None:
    class Flaky(JSONLLogger):
        def log_metrics(self, metrics: Any, *, step: int, phase: str = "") -> None:
            if step % 3 == 0:
                raise OSError("disk full")
            super().log_metrics(metrics, step=step, phase=phase)

    with Record.passing() as record:
        make(record)
        tracking = Tracking(Flaky(tmp_path / "log.jsonl"), tell=lambda text: None)
        tracking.start({"experiment": SLUG})
        measured = [row for row in record.epochs(SLUG) if row.metrics]
        for row in measured:
            tracking.log_metrics(row.metrics, step=row.epoch, phase="val")
        tracking.finish("completed")
        JSONLLogger(tmp_path / "log.jsonl").export(record, SLUG)
    wanted = {(row.epoch, row.metrics["accuracy"]) for row in measured}
    lines = [
        line for line in read_lines(tmp_path / "log.jsonl") if line["kind"] == "metrics" and line["phase"] == "val"
    ]
    assert {(line["step"], line["metrics"]["accuracy"]) for line in lines} == wanted
    assert len(lines) == len(wanted)


@pytest.fixture
def broken_server() -> Iterator[str]:
    """A tracking server that answers every request with an error."""

    class Broken(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(400)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_an_mlflow_server_that_fails_stops_nothing(broken_server: str) -> None:
    pytest.importorskip("mlflow", reason="needs the extra mlflow")
    from autopilot_runtime.training.mlflowlogger import MLflowLogger

    told: list[str] = []
    kept = Kept()
    run(Tracking([MLflowLogger(tracking_uri=broken_server), kept], tell=told.append, patience=60))
    assert told[0].startswith("MLflow failed at log_metrics: ")
    assert len(told) == 2
    assert len(kept.calls) == 7


# ---------------------------------------------------------------- in a fit


def test_a_fit_gives_its_loggers_everything_and_export_finds_nothing_missing(tmp_path: Path) -> None:
    from autopilot_runtime.training import Experiment, MonotonicGate, Trainer
    from tests.training.systems import Vocabulary, loader

    with Experiment("words", path=tmp_path, config={"lr": 1}) as experiment:
        trainer = Trainer(
            policy=MonotonicGate("accuracy"), experiment=experiment, logger=JSONLLogger(tmp_path / "log")
        )
        trainer.fit(Vocabulary(), loader(), loader(), max_epochs=3)
        lines = read_lines(tmp_path / "log")
        missing = JSONLLogger(tmp_path / "log").export(experiment.record, "words")
        rows = experiment.record.epochs("words")
    kinds = [line["kind"] for line in lines]
    assert kinds[:2] == ["start", "params"]
    assert kinds[-1] == "finish"
    assert lines[-1]["status"] == "completed"
    val = [(line["step"], line["metrics"]) for line in lines if line["kind"] == "metrics" and line["phase"] == "val"]
    assert val == [(row.epoch, dict(row.metrics)) for row in rows]
    assert "context" in kinds
    assert missing == 0


def test_a_tracker_that_fails_is_a_warning_of_the_fit_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    from autopilot_runtime.training import MonotonicGate, Trainer
    from tests.training.systems import Vocabulary, loader

    class Dead(Logger):
        name = "dead"

        def log_metrics(self, metrics: Any, *, step: int, phase: str = "") -> None:
            raise ConnectionError("no route")

        def start(self, run: Any) -> None:
            raise RuntimeError("cannot start")

    trainer, heard = Trainer(policy=MonotonicGate("accuracy"), logger=Dead()), []
    trainer.stream.listen(lambda event: heard.append(event) if event.type is EventType.WARNING else None)
    result = trainer.fit(Vocabulary(), loader(), loader(), max_epochs=2)
    assert result.status == "completed"
    assert [event.message.split(":")[0] for event in heard] == [
        "dead failed at start",
        "dead missed 6 calls of this run. logger.export(record, experiment) gives it what it does not have.",
    ]
    assert "cannot start" in caplog.text
