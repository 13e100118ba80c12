from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.logger import Logger
from tests.contracts.logger_contract import RUN, LoggerContract

tensorboardX = pytest.importorskip("tensorboardX", reason="needs the extra tensorboard")

from autopilot_runtime.training.tensorboardlogger import TensorBoardLogger, scalars_in  # noqa: E402


class Folder:
    """A folder of event files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> Logger:
        return TensorBoardLogger(self.path)

    def read(self) -> list[tuple[str, str, int, float]]:
        return [
            (tag.partition("/")[0], tag.partition("/")[2], step, value) for tag, step, value in scalars_in(self.path)
        ]

    def said(self) -> str:
        return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in self.path.glob("*tfevents*"))


class TestTensorBoardLogger(LoggerContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Any:
        return Folder(tmp_path / "board")


def test_it_writes_through_the_users_writer_and_does_not_close_it(tmp_path: Path) -> None:
    with tensorboardX.SummaryWriter(str(tmp_path)) as mine:
        logger = TensorBoardLogger(writer=mine)
        logger.start(RUN)
        logger.log_metrics({"accuracy": 0.5}, step=1, phase="val")
        logger.finish("completed")
        mine.add_scalar("mine", 1.0, 1)
    assert scalars_in(tmp_path) == [("val/accuracy", 1, 0.5), ("mine", 1, 1.0)]
    assert len(list(tmp_path.glob("*tfevents*"))) == 1


def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    for step in range(1, 4):
        logger.log_metrics({"accuracy": step / 4}, step=step, phase="val")
    logger.finish("completed")
    file = next(tmp_path.glob("*tfevents*"))
    whole = scalars_in(tmp_path)
    for cut in range(1, 60):
        file.write_bytes(file.read_bytes()[:-1])
        assert scalars_in(tmp_path) == whole[: len(scalars_in(tmp_path))], cut


def test_it_needs_a_place() -> None:
    with pytest.raises(TrainingError, match="folder"):
        TensorBoardLogger()
