from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.training.logger import Logger
from tests.contracts.logger_contract import RUN, LoggerContract, at

mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")

from autopilot_runtime.training.mlflowlogger import MLflowLogger  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Runs:
    """One run that is there already, in a folder."""

    def __init__(self, uri: str) -> None:
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        self.uri = uri
        self.run_id = self.client.create_run("0").info.run_id

    def open(self) -> Logger:
        return MLflowLogger(run_id=self.run_id, tracking_uri=self.uri)

    def read(self) -> list[tuple[str, str, int, float]]:
        names = self.client.get_run(self.run_id).data.metrics
        return [
            (name.partition("/")[0], name.partition("/")[2], one.step, one.value)
            for name in names
            for one in self.client.get_metric_history(self.run_id, name)
        ]

    def said(self) -> str:
        data = self.client.get_run(self.run_id).data
        texts = [*data.params.values(), *data.tags.values()]
        for file in self.client.list_artifacts(self.run_id, "autopilot"):
            texts.append(Path(self.client.download_artifacts(self.run_id, file.path)).read_text())
        return "\n".join(texts)


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_tracking_uri(at(tmp_path / "runs"))
        yield at(tmp_path / "runs")
        while mlflow.active_run():
            mlflow.end_run()
        mlflow.set_tracking_uri(before)


class TestMLflowLogger(LoggerContract):
    @pytest.fixture
    def place(self, uri: str) -> Any:
        return Runs(uri)


def test_it_writes_into_the_run_that_the_user_has_open_and_leaves_it_open(uri: str) -> None:
    with mlflow.start_run() as mine:
        mlflow.log_param("max_epochs", "mine")
        logger = MLflowLogger()
        logger.start(RUN)
        elsewhere = threading.Thread(target=_log, args=(logger,))  # where no run is active
        elsewhere.start()
        elsewhere.join()
        assert mlflow.active_run().info.run_id == mine.info.run_id
        assert mlflow.MlflowClient().get_run(mine.info.run_id).info.status == "RUNNING"
    runs = mlflow.MlflowClient().search_runs(["0"])
    assert [one.info.run_id for one in runs] == [mine.info.run_id]
    assert runs[0].data.metrics == {"val/accuracy": 0.5}
    assert runs[0].data.params["max_epochs"] == "mine"
    assert runs[0].data.tags["autopilot.param.max_epochs"] == "3"


def test_without_a_run_of_the_users_it_makes_one_and_ends_that(uri: str) -> None:
    logger = MLflowLogger(experiment_name="mails")
    logger.start(RUN)
    _log(logger)
    assert mlflow.active_run() is None
    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("mails").experiment_id])
    assert [(one.info.status, one.info.run_name) for one in runs] == [("FINISHED", "mails")]
    logger.start(RUN)  # it goes on
    logger.log_metrics({"accuracy": 0.75}, step=2, phase="val")
    logger.finish("failed")
    runs = client.search_runs([client.get_experiment_by_name("mails").experiment_id])
    assert [(one.info.status, one.data.metrics["val/accuracy"]) for one in runs] == [("FAILED", 0.75)]


def _log(logger: Logger) -> None:
    logger.log_params({"max_epochs": 3})
    logger.log_metrics({"accuracy": 0.5}, step=1, phase="val")
    logger.finish("completed")
