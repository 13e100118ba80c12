"""A fit that is killed at any instant goes on as if nothing had been, and does nothing twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.training import Experiment, QualityFirstPolicy, ResumeRefused, Trainer
from tests.training import longfit
from tests.training.systems import Vocabulary, loader

UP = QualityFirstPolicy("accuracy")


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, longfit.__file__, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(folder: Path) -> dict[str, Any]:
    process = start(folder)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return json.loads(out)  # type: ignore[no-any-return]


def notes(folder: Path) -> list[Any]:
    file = folder / "notes.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def kill_at_note(folder: Path, count: int) -> bool:
    """Run until it has written so many lines, then kill it; whether it had not ended before."""
    process = start(folder)
    reached = threading.Event()

    def watch() -> None:
        while process.poll() is None and not reached.is_set():
            if len(notes(folder)) >= count:
                process.send_signal(signal.SIGKILL)
                reached.set()
            os.sched_yield()

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.communicate()
    watcher.join()
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("seed", [1, 2])
def test_a_fit_killed_again_and_again_ends_as_one_that_never_was(tmp_path: Path, seed: int) -> None:
    whole = finished(tmp_path / "whole")
    rng, folder, kills = random.Random(seed), tmp_path / "killed", 0
    while kills < 6 and kill_at_note(folder, len(notes(folder)) + rng.randint(1, 25)):
        kills += 1
    assert kills > 2
    ended = finished(folder)
    assert ended == whole
    assert (folder / "live" / "known.txt").read_bytes() == (tmp_path / "whole" / "live" / "known.txt").read_bytes()
    # What was under way when a kill came may be begun again; nothing that was on record is.
    expected, done = Counter(map(str, notes(tmp_path / "whole"))), Counter(map(str, notes(folder)))
    assert done.keys() == expected.keys()
    assert sum((done - expected).values()) <= kills


def test_a_fit_that_ended_is_not_trained_again_when_it_is_resumed(tmp_path: Path) -> None:
    first = Vocabulary()
    Trainer(policy=UP, experiment=Experiment("e", path=tmp_path)).fit(first, loader(), loader(), max_epochs=2)
    again = Vocabulary()
    result = Trainer(policy=UP, experiment=Experiment("e", path=tmp_path)).fit(
        again, loader(), loader(), max_epochs=2, ckpt_path="last"
    )
    assert again.calls == []
    assert again.known.data == first.known.data
    assert result.epochs == 2


def test_more_epochs_go_on_from_where_it_ended(tmp_path: Path) -> None:
    Trainer(policy=UP, experiment=Experiment("e", path=tmp_path)).fit(
        Vocabulary(), loader(batch_size=4), loader(), max_epochs=1
    )
    module = Vocabulary()
    result = Trainer(policy=UP, experiment=Experiment("e", path=tmp_path)).fit(
        module, loader(batch_size=4), loader(), max_epochs=3, ckpt_path="last"
    )
    assert module.known.data == "ab cd ef"
    assert [row.epoch for row in result.history] == [-1, 0, 1, 2]


def test_the_best_state_is_gone_back_to(tmp_path: Path) -> None:
    trainer = Trainer(experiment=Experiment("e", path=tmp_path), monitor="accuracy")
    trainer.fit(Vocabulary(script=["ab cd", "zz"]), loader(batch_size=4), loader(), max_epochs=2)
    module = Vocabulary(script=["ab cd", "zz", "ab cd ef"])
    Trainer(experiment=Experiment("e", path=tmp_path), monitor="accuracy").fit(
        module, loader(batch_size=4), loader(), max_epochs=1, ckpt_path="best"
    )
    assert module.known.data == "ab cd"


def test_a_checkpoint_file_carries_a_fit_to_another_place(tmp_path: Path) -> None:
    trainer = Trainer(policy=UP)
    trainer.fit(Vocabulary(), loader(batch_size=4), loader(), max_epochs=2)
    trainer.save_checkpoint(tmp_path / "two.json")
    module = Vocabulary()
    Trainer(policy=UP).fit(module, loader(batch_size=4), loader(), max_epochs=3, ckpt_path=tmp_path / "two.json")
    assert module.known.data == "ab cd ef"


def test_other_data_or_code_is_refused_by_name(tmp_path: Path) -> None:
    Trainer(policy=UP, experiment=Experiment("e", path=tmp_path)).fit(Vocabulary(), loader(), loader(), max_epochs=1)
    with pytest.raises(ResumeRefused, match=r"other training data \(1 added \(item-zz\); 3 gone \(item-cd, "):
        Trainer(policy=UP, experiment=Experiment("e", path=tmp_path)).fit(
            Vocabulary(), loader("ab", "zz"), loader(), max_epochs=2, ckpt_path="last"
        )
    module = Vocabulary()
    result = Trainer(policy=UP, experiment=Experiment("e", path=tmp_path), resume_changed=True).fit(
        module, loader("ab", "zz"), loader(), max_epochs=2, ckpt_path="last"
    )
    assert result.epochs == 2


def test_ctrl_c_leaves_a_fit_that_can_be_resumed(tmp_path: Path) -> None:
    class Stops(Vocabulary):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.trainer is not None and self.trainer.current_epoch == 1:
                raise KeyboardInterrupt
            return self(batch)

    module = Stops()
    with pytest.raises(KeyboardInterrupt):
        Trainer(policy=UP, experiment=(first := Experiment("e", path=tmp_path))).fit(
            module, loader(batch_size=4), loader(), max_epochs=3
        )
    assert module.known.data == "ab"
    assert first.status == "cancelled"
