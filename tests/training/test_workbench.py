"""A fit that somebody runs by hand: what may be done, what may not, and what is written down of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import EventType
from autopilot_runtime.training import (
    EvalDatum,
    Experiment,
    MinGate,
    ParameterRefused,
    PathParameter,
    TrainingError,
)
from autopilot_runtime.training import benchview as view
from autopilot_runtime.training.fault import BudgetSpent, ExperimentBusy
from autopilot_runtime.training.workbench import Workbench
from tests.training.systems import Vocabulary, loader

TRAIN, VAL = ("ab", "cd", "ef"), ("ab", "gh")


def bench_on(folder: Path, known: str = "", module: Any = None, **settings: Any) -> Workbench:
    settings.setdefault("monitor", "accuracy")
    experiment = Experiment("words", path=folder)
    made = module or Vocabulary(known)
    return Workbench(made, loader(*TRAIN), loader(*VAL), experiment=experiment, **settings)


def to(text: str) -> Any:
    return lambda parameter: setattr(parameter, "data", text)


def test_a_proposal_is_a_candidate_and_changes_nothing_until_it_is_accepted(tmp_path: Path) -> None:
    with bench_on(tmp_path) as bench, bench.at_work() as fit:
        seed = fit.accepted
        assert seed is not None and fit.accepted_metrics["accuracy"] == 0
        made = bench.propose(fit, "known", to("ab"), why="ab is unknown")
        assert made.parents == (seed.id,) and fit.module.known.data == "" and fit.accepted is seed

        done = bench.submit(fit, made.id, "it should help")
        assert done.decision.verdict == "accept" and done.metrics["accuracy"] == 0.5
        assert fit.accepted.id == made.id and fit.module.known.data == "ab"
        row = fit.record.epochs("words")[-1]
        assert (row.verdict, row.commit, row.parent, row.extra["why"]) == (
            "accept",
            made.id,
            seed.id,
            "ab is unknown",
        )


def test_a_worse_candidate_is_discarded_and_its_reason_is_kept(tmp_path: Path) -> None:
    with bench_on(tmp_path, "ab gh") as bench, bench.at_work() as fit:
        made = bench.propose(fit, "known", to("ab"), why="shorter")
        done = bench.submit(fit, made.id, "try")
        assert done.decision.verdict == "discard" and fit.module.known.data == "ab gh"
        rows = view.history(fit, 10)
        assert (
            rows[-1]["verdict"] == "discard"
            and rows[-1]["why"] == "shorter"
            and rows[-1]["metrics"]["accuracy"] == 0.5
        )


def test_evaluating_shows_feedback_and_failures_on_training_data(tmp_path: Path) -> None:
    with bench_on(tmp_path, "ab") as bench, bench.at_work() as fit:
        with pytest.raises(TrainingError, match="no feedback on the accepted state yet"):
            view.trial_of(bench, fit, None)
        trial = bench.evaluate(fit, bench.commit(fit, None), "train")
        assert trial.metrics["accuracy"] == pytest.approx(1 / 3)
        assert view.gradients(view.trial_of(bench, fit, None), "known", None) == {
            "known": ["unknown cd (seen in: item-cd)", "unknown ef (seen in: item-ef)"]
        }
        found = view.failures(view.trial_of(bench, fit, None), 1)
        assert found[0]["item"] == "item-cd" and '"word": "cd"' in found[0]["input"]
        assert fit.module.known.grad is None


def test_what_was_run_before_is_not_run_again(tmp_path: Path) -> None:
    module = Vocabulary()
    with bench_on(tmp_path, module=module, budget={"calls": 100}) as bench, bench.at_work() as fit:
        accepted = bench.commit(fit, None)
        bench.evaluate(fit, accepted, "train", n=2)
        bench.evaluate(fit, accepted, "train")
        trials = [call for call in module.calls if call[0] == "train"]
        assert len(trials) == 3 and len(module.calls) == 5
        made = bench.propose(fit, "known", to("ab"), why="x")
        bench.evaluate(fit, made, "val")
        bench.submit(fit, made.id, "y")
        assert len(module.calls) == 7
    again = Vocabulary()
    with bench_on(tmp_path, module=again) as bench, bench.at_work() as fit:
        assert fit.module.known.data == "ab", "it goes on from what was accepted"
        bench.evaluate(fit, bench.commit(fit, "seed"), "train")
        assert again.calls == []


def test_a_candidate_of_a_state_that_stands_no_more_is_refused(tmp_path: Path) -> None:
    with bench_on(tmp_path) as bench, bench.at_work() as fit:
        one = bench.propose(fit, "known", to("ab"), why="one")
        other = bench.propose(fit, "known", to("gh"), why="other")
        both = bench.propose(fit, "known", to("ab gh"), why="on top", on=one.id)
        bench.submit(fit, one.id, "first")
        with pytest.raises(TrainingError, match=r"was made from .* is accepted now"):
            bench.submit(fit, other.id, "second")
        assert bench.submit(fit, both.id, "it was made on top of what stands").decision.accepted
        again = bench.propose(fit, "known", to("gh"), why="anew")  # the same content, on what stands now
        assert again.id == other.id
        assert bench.submit(fit, again.id, "third").decision.verdict == "discard"


def test_when_somebody_else_moves_the_accepted_state_nothing_is_done_on_the_old_one(tmp_path: Path) -> None:
    with bench_on(tmp_path) as bench, bench.at_work() as fit:
        seed = bench.commit(fit, None)
        one = bench.propose(fit, "known", to("ab"), why="one")
        bench.submit(fit, one.id, "go")
        fit.record.point("words", "last_accepted", seed.id, why="checked out by hand")
        with pytest.raises(TrainingError, match=f"moved to {seed.id[:12]} meanwhile"):
            bench.propose(fit, "known", to("cd"), why="two")
        assert bench.propose(fit, "known", to("cd"), why="two").parents == (seed.id,)


def test_every_act_needs_a_reason_and_the_journal_has_it(tmp_path: Path) -> None:
    with bench_on(tmp_path) as bench, bench.at_work() as fit:
        with pytest.raises(TrainingError, match="Say why"):
            bench.propose(fit, "known", to("ab"), why=" ")
        made = bench.propose(fit, "known", to("ab"), why="because of ab")
        for act in (
            lambda: bench.submit(fit, made.id, ""),
            lambda: bench.rollback(fit, "seed", ""),
            lambda: bench.block(fit, "x", ""),
            lambda: bench.stop(fit, ""),
            lambda: bench.point(fit, "tag/x", made, "", event=EventType.SNAPSHOT),
        ):
            with pytest.raises(TrainingError, match="Say why"):
                act()
        entries = fit.record.context("words", source="agent")
        assert [(one.text, one.decision) for one in entries] == [("because of ab", "propose")]


def test_only_declared_parameters_that_are_not_frozen_take_only_what_they_take(tmp_path: Path) -> None:
    module = Vocabulary()
    with bench_on(tmp_path, module=module) as bench, bench.at_work() as fit:
        with pytest.raises(TrainingError, match="Did you mean 'known'"):
            bench.propose(fit, "knwon", to("x"), why="x")
        with pytest.raises(ParameterRefused, match="takes a text"):
            bench.propose(fit, "known", to(3), why="x")  # type: ignore[arg-type]
        with pytest.raises(ParameterRefused, match="nothing was proposed"):
            bench.propose(fit, "known", to(""), why="x")
        module.known.requires_grad = False
        with pytest.raises(ParameterRefused, match="frozen"):
            bench.propose(fit, "known", to("x"), why="x")


def test_going_back_is_only_to_what_was_accepted(tmp_path: Path) -> None:
    with bench_on(tmp_path) as bench, bench.at_work() as fit:
        one = bench.propose(fit, "known", to("ab"), why="one")
        with pytest.raises(TrainingError, match="was never accepted"):
            bench.rollback(fit, one.id, "skip the gates")
        bench.submit(fit, one.id, "go")
        back = bench.rollback(fit, "seed", "I was wrong")
        assert fit.module.known.data == "" and fit.record.ref("words", "last_accepted") == back.id
        assert bench.rollback(fit, one.id, "I was right").id == one.id
        assert fit.module.known.data == "ab" and fit.accepted_metrics["accuracy"] == 0.5


def test_the_budget_is_asked_before_anything_is_spent(tmp_path: Path) -> None:
    module = Vocabulary()
    with bench_on(tmp_path, module=module, budget={"calls": 3, "proposals": 1}) as bench, bench.at_work() as fit:
        assert view.budget_left(fit) == {"calls": 1, "proposals": 1}
        made = bench.propose(fit, "known", to("ab"), why="one")
        with pytest.raises(BudgetSpent, match="proposals"):
            bench.propose(fit, "known", to("cd"), why="two")
        with pytest.raises(BudgetSpent, match="calls"):
            bench.submit(fit, made.id, "go")
        assert len(module.calls) == 2 and fit.module.known.data == ""
        assert [row.verdict for row in fit.record.epochs("words")] == ["seed"]


def test_after_stop_there_is_only_reading(tmp_path: Path) -> None:
    with bench_on(tmp_path) as bench, bench.at_work() as fit:
        made = bench.propose(fit, "known", to("ab"), why="one")
        bench.stop(fit, "good enough")
        with pytest.raises(TrainingError, match="has ended: good enough"):
            bench.submit(fit, made.id, "one more")
        assert view.read(bench, fit, "known", None, made.id) == "ab"


def test_a_gate_can_end_it(tmp_path: Path) -> None:
    with bench_on(tmp_path, policy=MinGate("accuracy", 0.9, on_fail="stop")) as bench, bench.at_work() as fit:
        made = bench.propose(fit, "known", to("ab"), why="one")
        assert bench.submit(fit, made.id, "go").decision.verdict == "stop"
        with pytest.raises(TrainingError, match="has ended"):
            bench.propose(fit, "known", to("cd"), why="two")


def test_a_candidate_that_cannot_be_measured_is_discarded_without_a_score(tmp_path: Path) -> None:
    class Fragile(Vocabulary):
        def forward(self, batch: Any) -> Any:
            if "boom" in self.known.data:
                raise RuntimeError(f"cannot say {batch[0].metadata['word']}")
            return super().forward(batch)

    with bench_on(tmp_path, module=Fragile()) as bench, bench.at_work() as fit:
        made = bench.propose(fit, "known", to("boom"), why="one")
        done = bench.submit(fit, made.id, "go")
        assert done.decision.verdict == "discard" and done.metrics == {}
        assert "RuntimeError" in fit.record.epochs("words")[-1].reason
        shown = view.history(fit, 1)[0]["reason"]
        assert shown == "1 evaluation on held-out data failed", "the error may quote a held-out item"
        trial = bench.evaluate(fit, made, "train")
        assert "cannot say" in view.failures(trial, 9)[0]["error"]  # type: ignore[arg-type]


def test_held_out_items_and_the_test_data_are_not_for_reading(tmp_path: Path) -> None:
    with bench_on(tmp_path) as bench, bench.at_work() as fit:
        with pytest.raises(TrainingError, match="test data is not for it"):
            bench.evaluate(fit, bench.commit(fit, None), "test")
        everything = str(
            [view.metrics(bench, fit, bench.commit(fit, None)), view.history(fit, 9), view.parameters(bench, fit)]
        )
        assert "gh" not in everything and "item-" not in everything


def test_without_a_measure_of_better_there_is_no_bench() -> None:
    with pytest.raises(TrainingError, match="what better means"):
        Workbench(Vocabulary(), loader(), loader())


def test_while_it_is_open_nobody_else_trains_the_experiment(tmp_path: Path) -> None:
    with bench_on(tmp_path) as bench, bench.at_work(), pytest.raises(ExperimentBusy):
        bench_on(tmp_path).at_work().__enter__()
    with bench_on(tmp_path) as again, again.at_work() as fit:
        assert fit.accepted is not None
    with pytest.raises(TrainingError, match="was closed"), again.at_work():
        pass


def test_what_happens_is_told_and_kept_as_events(tmp_path: Path) -> None:
    heard: list[EventType] = []
    with bench_on(tmp_path) as bench:
        with bench.at_work(lambda event: heard.append(event.type)) as fit:
            made = bench.propose(fit, "known", to("ab"), why="one")
            bench.submit(fit, made.id, "go")
        order = [
            EventType.FIT_START,
            EventType.PROPOSED,
            EventType.EPOCH_START,
            EventType.ACCEPTED,
            EventType.EPOCH_END,
        ]
        assert [one for one in heard if one in order] == order
        record = fit.record
        kept = [event.type for event in record.events("words")]
        assert [one for one in kept if one in order] == order


class Rules(Vocabulary):
    """The words stand in files."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.files = PathParameter(folder, "*.txt")

    def forward(self, batch: Any) -> Any:
        known = " ".join(one.read_text() for one in sorted(self.files.path.glob("*.txt"))).split()
        return [EvalDatum(id=one.id, success=one.metadata["word"] in known) for one in batch]


def test_the_live_files_only_ever_hold_what_was_accepted(tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    (live / "a.txt").write_bytes(b"cd\r\n")
    with bench_on(tmp_path / "kept", module=Rules(live)) as bench, bench.at_work() as fit:
        one = bench.propose(fit, "files", lambda p: p.write("b.txt", b"ab gh"), why="more")
        worse = bench.propose(fit, "files", lambda p: p.delete("a.txt"), why="fewer")
        assert (
            view.difference(bench, fit, None, one.id)
            == "--- a/files/b.txt\n+++ b/files/b.txt\n@@ -0,0 +1 @@\n+ab gh\n\\ No newline at end of file\n"
        )
        with pytest.raises(TrainingError, match=r"no file 'c\.txt'"):
            view.read(bench, fit, "files", "c.txt", None)
        assert view.read(bench, fit, "files", "a.txt", None) == "cd\r\n"
        with pytest.raises(ParameterRefused):
            bench.propose(fit, "files", lambda p: p.write("../out.txt", b"x"), why="escape")
        assert sorted(path.name for path in live.iterdir()) == ["a.txt"]
        bench.submit(fit, one.id, "go")
        assert (live / "b.txt").read_bytes() == b"ab gh"
        with pytest.raises(TrainingError, match="is accepted now"):
            bench.submit(fit, worse.id, "go")
    assert sorted(path.name for path in live.iterdir()) == ["a.txt", "b.txt"]
    assert (live / "a.txt").read_bytes() == b"cd\r\n"


def test_two_candidates_become_one_where_they_changed_different_parameters(tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    (live / "a.txt").write_text("")
    with bench_on(tmp_path / "kept", module=Rules(live)) as bench, bench.at_work() as fit:
        one = bench.propose(fit, "known", to("text"), why="one")
        other = bench.propose(fit, "files", lambda p: p.write("a.txt", b"ab"), why="other")
        both, merged = bench.merge(fit, one.id, other.id, "both help")
        assert not merged.conflicts
        assert view.read(bench, fit, "known", None, both.id) == "text"
        assert view.read(bench, fit, "files", "a.txt", both.id) == "ab"
        assert set(both.parents) == {one.id, other.id}
        assert bench.submit(fit, both.id, "go").decision.accepted


def test_two_candidates_that_changed_one_text_are_merged_by_line_and_no_line_is_lost(tmp_path: Path) -> None:
    with bench_on(tmp_path, "a\nb\nc\n") as bench, bench.at_work() as fit:
        top = bench.propose(fit, "known", to("A\nb\nc\n"), why="top")
        end = bench.propose(fit, "known", to("a\nb\nC\n"), why="end")
        both, merged = bench.merge(fit, top.id, end.id, "both")
        assert view.read(bench, fit, "known", None, both.id) == "A\nb\nC\n" and not merged.conflicts
        clash = bench.propose(fit, "known", to("X\nb\nc\n"), why="top, too")
        both, merged = bench.merge(fit, top.id, clash.id, "both")
        assert view.read(bench, fit, "known", None, both.id) == "A\nX\nb\nc\n"
        assert merged.conflicts == ("known: A",)
