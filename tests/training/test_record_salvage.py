"""Of a record with a damaged file, what can be read is saved, and the rest is named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.training import Record, TextParameter, salvage
from tests.training.records import one_epoch

EPOCHS = 60


def written(path: Path) -> None:
    with Record.open(path) as record:
        record.create("exp", config={"lr": 1})
        for epoch in range(EPOCHS):
            noise = random.Random(epoch).randbytes(3_000).hex()
            one_epoch(record, "exp", epoch, f"text {epoch} {noise}")
        record.store.rows("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_whole_record_is_copied_whole(tmp_path: Path) -> None:
    written(tmp_path / "old.db")
    done = salvage(tmp_path / "old.db", tmp_path / "new.db")
    assert done.findings == [] and done.rows["train_epochs"] == EPOCHS
    with Record.open(tmp_path / "new.db") as new, Record.open(tmp_path / "old.db") as old:
        assert new.epochs("exp") == old.epochs("exp") and new.refs("exp") == old.refs("exp")
        assert new.events("exp") == old.events("exp") and new.context("exp") == old.context("exp")
        one_epoch(new, "exp", EPOCHS, "it goes on")
        assert new.fsck() == []


@pytest.mark.parametrize("seed", range(4))
def test_overwritten_pages_cost_what_was_on_them_and_it_is_named(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "old.db"
    written(path)
    dice, data = random.Random(seed), bytearray(path.read_bytes())
    pages = len(data) // 4096
    for page in dice.sample(range(30, pages), 3):  # the first ones hold the tables themselves
        data[page * 4096 : page * 4096 + 4096] = dice.randbytes(4096)
    path.write_bytes(data)
    with Record.open(path) as record:
        assert record.fsck() != []
    done = salvage(path, tmp_path / "new.db")
    assert path.read_bytes() == data
    with Record.open(tmp_path / "new.db") as record:
        assert record.fsck() == done.findings
        saved, lost = 0, {one.commit for one in done.findings if "object" in one.what}
        for commit in record.commits("exp"):
            if commit.id in lost:
                continue
            prompt = TextParameter(name="prompt")
            record.bring(commit, [("prompt", prompt)])
            saved += prompt.data.startswith(f"text {commit.epoch} ")
        assert saved > EPOCHS * 0.7 and (saved == EPOCHS or done.findings)


def test_a_record_that_is_no_database_any_more_says_what_may_be_tried(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    written(path)
    path.write_bytes(b"x" * 100 + path.read_bytes()[100:])
    with pytest.raises(StoreError, match=r"old\.db is damaged .*training\.salvage\('.*old\.db', to\)"):
        Record.open(path)
    assert sum(salvage(path, tmp_path / "new.db").rows.values()) == 0  # its head is gone: nothing can be read


def test_nothing_is_written_over(tmp_path: Path) -> None:
    written(tmp_path / "old.db")
    (tmp_path / "new.db").write_bytes(b"mine")
    with pytest.raises(StoreError, match="is there already"):
        salvage(tmp_path / "old.db", tmp_path / "new.db")
    with pytest.raises(StoreError, match="There is no record"):
        salvage(tmp_path / "nothing.db", tmp_path / "other.db")
    assert (tmp_path / "new.db").read_bytes() == b"mine" and not (tmp_path / "other.db").exists()
