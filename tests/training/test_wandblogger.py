from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.training.logger import Logger
from tests.contracts.logger_contract import RUN, LoggerContract

wandb = pytest.importorskip("wandb", reason="needs the extra wandb")

from autopilot_runtime.training.wandblogger import WandbLogger  # noqa: E402


class Offline:
    """One run on this machine only, that the user has open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = wandb.init(
            project="test", mode="offline", dir=folder, settings=wandb.Settings(console="off", silent=True)
        )
        self._logger: Logger | None = None

    def open(self) -> Logger:
        # Nothing that is logged offline can be read back: it is this object that knows what there is.
        self._logger = self._logger or WandbLogger()
        return self._logger

    def read(self) -> list[tuple[str, str, int, float]]:
        return [
            (name.partition("/")[0], name.partition("/")[2], int(row["epoch"]), value)
            for row in self._rows("history")
            for name, value in row.items()
            if "/" in name and isinstance(value, (int, float))
        ]

    def said(self) -> str:
        tables = [path.read_text() for path in self.folder.rglob("*.table.json")]
        return "\n".join([*tables, *map(str, self._rows("config")), *map(str, self._rows("summary"))])

    def _rows(self, kind: str) -> list[dict[str, Any]]:
        if wandb.run is not None:
            self.run.finish()
            wandb.teardown()  # before, not all of it is in the file
        return list(_records(next(self.folder.rglob("*.wandb")), kind))


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    yield tmp_path
    if wandb.run is not None:
        wandb.run.finish()
    wandb.teardown()


class TestWandbLogger(LoggerContract):
    @pytest.fixture
    def place(self, quiet: Path) -> Any:
        return Offline(quiet)


def test_it_writes_into_the_run_that_the_user_has_open_and_leaves_it_open(quiet: Path) -> None:
    mine = wandb.init(project="test", config={"lr": 1})
    logger = WandbLogger()
    logger.start(RUN)
    logger.log_params({"max_epochs": 3})
    logger.log_metrics({"accuracy": 0.5}, step=1, phase="val")
    logger.finish("completed")
    assert wandb.run is mine
    assert dict(mine.config) == {"lr": 1, "max_epochs": 3}
    assert mine.summary["val/accuracy"] == 0.5
    mine.finish()
    assert len(list(quiet.glob("wandb/offline-run-*"))) == 1


def test_without_a_run_of_the_users_it_makes_one_and_ends_that(
    quiet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = WandbLogger(project="test")
    logger.start(RUN)
    logger.log_metrics({"accuracy": 0.5}, step=1, phase="val")
    print("for the pipe")
    logger.finish("completed")
    assert wandb.run is None
    assert len(list(quiet.glob("wandb/offline-run-*"))) == 1
    assert capsys.readouterr().out == "for the pipe\n"


def _records(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    """What an offline run holds of one kind."""
    import json

    from wandb.proto.wandb_internal_pb2 import Record as Written

    data, at, cut = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        # Blocks of 32 KiB, each a row of pieces: checksum, length, whether whole, first, middle or last.
        if 32_768 - at % 32_768 < 7:
            at += 32_768 - at % 32_768
            continue
        length, piece = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        cut += data[at + 7 : at + 7 + length]
        at += 7 + length
        if piece in (1, 4):
            record = Written.FromString(cut)
            cut = b""
            if record.WhichOneof("record_type") == kind:
                held = getattr(record, kind)
                items = held.item if kind == "history" else held.update
                yield {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
