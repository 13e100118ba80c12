"""Two states that came of one are put together, and nothing anybody wrote is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot_runtime.store.merge3 import merge3
from autopilot_runtime.store.objects import Store
from autopilot_runtime.training.experiment import Experiment
from autopilot_runtime.training.merge import ComponentMerger, both_sides
from autopilot_runtime.training.parameter import JSONParameter, Parameter, ScalarParameter, TextParameter
from autopilot_runtime.training.pathparameter import PathParameter
from autopilot_runtime.training.record import Record
from autopilot_runtime.training.selector import Candidate, ParetoSelector
from autopilot_runtime.training.stepcheck import StepCheck
from autopilot_runtime.training.trainer import Trainer
from tests.training.systems import Vocabulary, loader


@pytest.fixture
def store() -> Iterator[Store]:
    with Record.passing() as record:
        yield record.store


def merged(store: Store, kind: type[Parameter], base: Any, ours: Any, theirs: Any) -> tuple[Any, Any]:
    states = [{"it": kind(value, name="it").keep(store).hex()} for value in (base, ours, theirs)]
    found = ComponentMerger().merge(*states, parameters=[("it", kind(base, name="it"))], store=store)
    after = kind(base, name="it")
    after.bring(store, bytes.fromhex(found.states["it"]))
    return after.data, found


def test_what_one_side_left_alone_is_the_other_sides(store: Store) -> None:
    base = {"a": "0" * 64, "b": "1" * 64, "c": "2" * 64, "d": "3" * 64}
    ours, theirs = {**base, "a": "a" * 64, "d": "d" * 64}, {**base, "b": "b" * 64, "d": "d" * 64}
    found = ComponentMerger().merge(base, ours, theirs, parameters=[], store=store)
    assert found.states == {"a": "a" * 64, "b": "b" * 64, "c": "2" * 64, "d": "d" * 64}
    assert found.taken == {"a": "ours", "b": "theirs", "c": "same", "d": "same"}
    assert found.why() == "merged: b theirs"


def test_a_text_that_both_changed_has_the_changes_of_both(store: Store) -> None:
    text, found = merged(store, TextParameter, "a\nb\nc\nd\n", "a\nB\nc\nd\n", "a\nb\nc\nd\ne\n")
    assert text == "a\nB\nc\nd\ne\n"
    assert found.taken == {"it": "both"}
    assert not found.conflicts


def test_where_both_changed_the_same_line_both_lines_stay_and_it_is_said(store: Store) -> None:
    text, found = merged(store, TextParameter, "be kind", "be brief", "be exact")
    assert text == "be brief\nbe exact"
    assert found.conflicts == ("it: be brief",)
    assert "1 conflicts, both sides kept" in found.why()


LINES = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "d\r\n", "é\n", "\n"]), max_size=12)
TEXT = st.builds(lambda lines, end: "".join(lines) + end, LINES, st.sampled_from(["", "a", "z"]))


def lines_of(text: bytes) -> set[bytes]:
    return set(text.split(b"\n"))


@settings(max_examples=400, deadline=None)
@given(TEXT, TEXT, TEXT)
def test_no_line_that_a_side_wrote_is_ever_lost(base: str, ours: str, theirs: str) -> None:
    was, mine, other = (text.encode() for text in (base, ours, theirs))
    found = both_sides(merge3(was, mine, other))
    written = (lines_of(mine) | lines_of(other)) - lines_of(was) - {b""}
    assert written <= lines_of(found)
    # a line that was there once, and that neither deleted; of one that was there twice, each may delete another
    once = {line for line in lines_of(was) - {b""} if was.split(b"\n").count(line) == 1}
    assert once & lines_of(mine) & lines_of(other) <= lines_of(found)
    assert lines_of(found) - {b""} <= lines_of(mine) | lines_of(other)  # and nothing was made up


@settings(max_examples=100, deadline=None)
@given(TEXT, TEXT)
def test_a_side_that_changed_nothing_changes_nothing(base: str, ours: str) -> None:
    was, mine = base.encode(), ours.encode()
    assert both_sides(merge3(was, mine, was)) == mine
    assert both_sides(merge3(was, was, mine)) == mine
    assert both_sides(merge3(was, mine, mine)) == mine


def test_a_document_is_merged_by_key_and_its_lists_have_the_new_entries_of_both(store: Store) -> None:
    base = {"rules": ["a"], "deep": {"x": 1, "y": 1}, "gone": 1, "kept": 1}
    ours = {"rules": ["a", "b"], "deep": {"x": 2, "y": 1}, "kept": 1}
    theirs = {"rules": ["a", "c"], "deep": {"x": 1, "y": 3}, "gone": 1, "kept": 2, "new": None}
    document, found = merged(store, JSONParameter, base, ours, theirs)
    assert document == {"rules": ["a", "b", "c"], "deep": {"x": 2, "y": 3}, "kept": 2, "new": None}
    assert found.conflicts == ("it.rules",)


def test_a_value_that_one_deleted_and_the_other_changed_stays(store: Store) -> None:
    document, found = merged(store, JSONParameter, {"a": 1}, {}, {"a": 2})
    assert document == {"a": 2}
    assert found.conflicts == ("it.a",)


def test_of_two_numbers_ours_stays_and_it_is_said(store: Store) -> None:
    number, found = merged(store, ScalarParameter, 1.0, 2.0, 3.0)
    assert number == 2.0
    assert found.taken == {"it": "conflict"}


def test_files_are_merged_by_path_then_by_line(store: Store, tmp_path: Path) -> None:
    def kept(**files: bytes | None) -> dict[str, str]:
        for name, data in files.items():
            file = tmp_path / "live" / f"{name}.txt"
            file.parent.mkdir(exist_ok=True)
            if data is None:
                file.unlink()
            else:
                file.write_bytes(data)
        return {"code": PathParameter(tmp_path / "live", name="code").keep(store).hex()}

    base = kept(a=b"1\n2\n3\n", b=b"x\n", c=b"c")
    ours = kept(a=b"one\n2\n3\n", b=b"ours\n", mine=b"\0\1")
    theirs = kept(a=b"1\n2\nthree\n", b=b"theirs\n", c=None, mine=None)
    where = PathParameter(tmp_path / "live", name="code")
    found = ComponentMerger().merge(base, ours, theirs, parameters=[("code", where)], store=store)
    where.bring(store, bytes.fromhex(found.states["code"]))
    assert where.files() == {"a.txt": b"one\n2\nthree\n", "b.txt": b"ours\ntheirs\n", "mine.txt": b"\0\1"}
    assert found.conflicts == ("code: b.txt",)


def of(commit: str, parent: str, *scores: float) -> Candidate:
    return Candidate(commit, {str(at): score for at, score in enumerate(scores)}, parent=parent)


def test_the_pair_is_the_one_with_most_to_gain_from_each_other() -> None:
    pool = [
        of("seed", "", 0, 0, 0, 0),
        of("left", "seed", 1, 1, 0, 0),
        of("right", "seed", 0, 0, 1, 0),
        of("far", "left", 1, 1, 0, 0.5),
    ]
    pair = ComponentMerger().pair(pool)
    assert pair is not None
    assert [one.commit for one in pair] == ["far", "right", "seed"]
    assert ComponentMerger().pair(pool, tried=[frozenset(("far", "right"))]) is None
    assert ComponentMerger(min_gain=0.3).pair(pool) is None


def test_a_state_and_what_came_of_it_are_no_pair() -> None:
    assert ComponentMerger().pair([of("seed", "", 0, 1), of("child", "seed", 1, 0)]) is None
    assert ComponentMerger().pair([]) is None


class Apart(ParetoSelector):
    """Starts from the first state twice, so that two branches come of it."""

    def select(self, pool: Any, *, rng: Any) -> Candidate:
        return pool[0]  # type: ignore[no-any-return]


def branches(folder: Path, epochs: int, *, resume: bool = False) -> tuple[Trainer, Any, Vocabulary]:
    module = Vocabulary("x\n", script=["ab\nx\n", "x\ncd\n", "x\n"])
    trainer = Trainer(
        policy=None,
        selector=Apart(),
        merger=ComponentMerger(),
        monitor="accuracy",
        experiment=Experiment("e", path=folder),
    )
    result = trainer.fit(
        module, loader(batch_size=4), loader(), max_epochs=epochs, ckpt_path="last" if resume else None
    )
    return trainer, result, module


def test_a_trainer_proposes_the_merge_of_two_branches_and_keeps_it_when_it_is_better(tmp_path: Path) -> None:
    trainer, result, module = branches(tmp_path, 3)
    row = result.history[-1]
    assert row.verdict == "accept"
    assert row.metrics["accuracy"] == 0.5
    assert module.known.data == "ab\nx\ncd\n"
    assert trainer.global_step == 2  # the third epoch made no step
    record = trainer.experiment.record
    assert len(record.get_commit(row.commit).parents) == 2
    assert record.context("e", contains="merged")[0].decision == "merge"


def test_no_two_are_merged_twice_also_after_a_resume(tmp_path: Path) -> None:
    _, result, _ = branches(tmp_path, 3)
    _, again, _ = branches(tmp_path, 4, resume=True)
    assert [row.extra["merged"] for row in again.history[1:]] == [[], [], result.history[-1].extra["merged"], []]


def test_a_merge_in_a_fit_with_checked_steps(tmp_path: Path) -> None:
    module = Vocabulary("", script=["ab", "cd"])
    trainer = Trainer(selector=Apart(), merger=ComponentMerger(), monitor="accuracy", step_check=StepCheck())
    result = trainer.fit(module, loader("ab", "cd", batch_size=2), loader(), max_epochs=3)
    assert result.metrics["accuracy"] == 0.5
    assert set(module.known.data.split()) == {"ab", "cd"}
