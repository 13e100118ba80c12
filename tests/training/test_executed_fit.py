"""The same fit on threads and in processes: the same result, and nothing evaluated twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.training import (
    AutoPilotModule,
    EvalDatum,
    Experiment,
    LocalExecutor,
    PathParameter,
    ProcessExecutor,
    QualityFirstPolicy,
    RuleOptimizer,
    Trainer,
)
from tests.training.systems import Missing, Vocabulary, loader

UP = QualityFirstPolicy("accuracy")
EXECUTORS = [LocalExecutor, ProcessExecutor]


class Filed(AutoPilotModule):
    """Knows the words in a file."""

    def __init__(self, folder: Path) -> None:
        self.file = PathParameter(folder, "*.txt")
        self.loss = Missing()

    def forward(self, batch: Any) -> Any:
        known = self.file.path.joinpath("known.txt").read_text(encoding="utf-8").split()
        self.log("known", len(known))
        return [
            EvalDatum(id=one.id, success=one.metadata["word"] in known, metadata=dict(one.metadata)) for one in batch
        ]

    def configure_optimizers(self) -> Any:
        return RuleOptimizer(self.parameters(), add_word)


def add_word(parameter: Any, gradient: Any) -> Any:
    """Add the first word that is missing."""
    word = gradient.render().split("unknown ")[1].split()[0]
    parameter.write("known.txt", parameter.read("known.txt") + f" {word}".encode())
    return parameter


@pytest.mark.parametrize("kind", EXECUTORS)
def test_the_result_is_the_same_wherever_it_is_evaluated(kind: Any) -> None:
    here, there = Vocabulary(), Vocabulary()
    plain = Trainer(policy=UP).fit(here, loader(), loader(batch_size=1), max_epochs=3)
    with kind(workers=2) as executor:
        other = Trainer(policy=UP, executor=executor).fit(there, loader(), loader(batch_size=1), max_epochs=3)
    assert (other.commit, other.metrics) == (plain.commit, plain.metrics)
    assert there.known.data == here.known.data


@pytest.mark.parametrize("kind", EXECUTORS)
def test_files_are_evaluated_on_copies_and_the_live_ones_hold_what_was_accepted(tmp_path: Path, kind: Any) -> None:
    live = tmp_path / "live"
    live.mkdir()
    (live / "known.txt").write_text("ab")
    module = Filed(live)
    with kind(workers=2) as executor, Experiment("e", path=tmp_path / "record") as experiment:
        trainer = Trainer(policy=QualityFirstPolicy("success"), executor=executor, experiment=experiment)
        result = trainer.fit(module, loader(batch_size=4), loader(batch_size=1), max_epochs=2)
        assert result.metrics == {"success": 0.75, "known": 3.0}
        seen = [one.key for row in result.history for one in experiment.record.evaluations(row.commit)]
        assert len(seen) == len(set(seen)) == 3 * 4 + 2
    assert (live / "known.txt").read_text() == "ab cd ef"
    assert module.file.path == live


@pytest.mark.parametrize("kind", EXECUTORS)
def test_a_live_file_never_holds_a_candidate(tmp_path: Path, kind: Any) -> None:
    (tmp_path / "known.txt").write_text("ab cd")

    def worse(parameter: Any, gradient: Any) -> Any:
        parameter.write("known.txt", b"ab")
        return parameter

    class Worse(Filed):
        def configure_optimizers(self) -> Any:
            return RuleOptimizer(self.parameters(), worse)

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            assert (tmp_path / "known.txt").read_text() == "ab cd"
            return self(batch)

        def __reduce__(self) -> Any:
            return (Filed, (tmp_path,), {**self.__getstate__()})

    module = Worse(tmp_path)
    with kind(workers=2) as executor:
        trainer = Trainer(policy=QualityFirstPolicy("success"), executor=executor)
        result = trainer.fit(module, loader(batch_size=4), loader(batch_size=1), max_epochs=1)
    assert [row.verdict for row in result.history] == ["seed", "discard"]
    assert (tmp_path / "known.txt").read_text() == "ab cd"
