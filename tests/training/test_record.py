"""The record gives back what was put in: commits by content, evaluations once, epochs, events, refs, reasons."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot_runtime.core.errors import StoreConflict, StoreError
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.store.upkeep import collect
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.parameter import JSONParameter, Parameter, ScalarParameter, TextParameter
from autopilot_runtime.training.record import EpochRow, EvalKey, Evaluation, Record
from autopilot_runtime.training.recordrows import ContextEntry
from tests.training.records import change, evaluation, one_epoch, ticking


@pytest.fixture
def record(tmp_path: Path):  # type: ignore[no-untyped-def]
    with Record.open(tmp_path / "record.db", clock=ticking()) as opened:
        opened.create("exp")
        yield opened


def named(*parameters: Parameter) -> list[tuple[str, Parameter]]:
    return [(one.name, one) for one in parameters]


# ------------------------------------------------------------ commits


def test_a_commit_is_named_by_what_the_parameters_hold(record: Record) -> None:
    prompt, limit = TextParameter("be brief", name="prompt"), ScalarParameter(3, integer=True, name="limit")
    made = record.commit(named(prompt, limit), experiment="exp", why="the seed", source="trainer")
    states = {"limit": hashlib.sha256(b"3").hexdigest(), "prompt": hashlib.sha256(b"be brief").hexdigest()}
    assert made.parameters == states
    assert made.id == hashlib.sha256(json.dumps(states, separators=(",", ":")).encode()).hexdigest()
    assert record.get_commit(made.id) == made == record.commits("exp")[0]
    assert (made.why, made.source, made.epoch, made.parents) == ("the seed", "trainer", 0, ())


def test_the_same_state_again_is_the_same_commit_as_it_first_was(record: Record) -> None:
    prompt = TextParameter("one", name="prompt")
    first = record.commit(named(prompt), experiment="exp", why="first")
    prompt.data = "two"
    record.commit(named(prompt), experiment="exp", parents=[first.id], epoch=1)
    prompt.data = "one"
    again = record.commit(named(prompt), experiment="exp", parents=[first.id], epoch=2, why="back")
    assert again == first and len(record.commits()) == 2


def test_an_experiment_has_its_own_view_of_a_state_that_another_reached_too(record: Record) -> None:
    record.create("other")
    prompt = TextParameter("same", name="prompt")
    one = record.commit(named(prompt), experiment="exp", epoch=4)
    two = record.commit(named(prompt), experiment="other", epoch=9)
    assert one.id == two.id
    assert [commit.epoch for commit in record.commits("other")] == [9]
    assert record.get_commit(one.id, "other").epoch == 9
    assert record.get_commit(one.id).epoch == 4


def test_a_commit_is_found_by_the_beginning_of_its_id_a_ref_a_tag_or_an_epoch(record: Record) -> None:
    made = [one_epoch(record, "exp", epoch, f"text {epoch}") for epoch in range(3)]
    record.point("exp", "tag/good", made[1].id)
    assert record.get_commit(made[0].id[:10]).id == made[0].id
    assert record.get_commit("last_accepted", "exp").id == made[2].id
    assert record.get_commit("good", "exp").id == record.get_commit("tag/good", "exp").id == made[1].id
    assert record.get_commit("epoch-1", "exp").id == record.get_commit("epoch 1", "exp").id == made[1].id


def test_a_commit_that_is_not_there_says_what_may_be_meant(record: Record) -> None:
    one_epoch(record, "exp", 1, "text")
    with pytest.raises(TrainingError, match=r"no commit 'last_acepted'.*Did you mean 'last_accepted'"):
        record.get_commit("last_acepted", "exp")
    with pytest.raises(TrainingError, match="no commit 'epoch-7'"):
        record.get_commit("epoch-7", "exp")
    with pytest.raises(TrainingError, match="no commit 'abc'"):
        record.get_commit("abc")


def test_an_id_that_is_cut_too_short_is_not_guessed(record: Record) -> None:
    ids: dict[str, str] = {}
    for number in range(2000):
        made = record.commit(named(TextParameter(str(number), name="p")), experiment="exp")
        if made.id[:4] in ids:
            break
        ids[made.id[:4]] = made.id
    with pytest.raises(TrainingError, match=f"'{made.id[:4]}' begins 2 commit ids"):
        record.get_commit(made.id[:4])


def test_two_parameters_of_one_name_are_refused(record: Record) -> None:
    with pytest.raises(TrainingError, match="Two parameters are named 'p'"):
        record.commit(named(TextParameter("a", name="p"), TextParameter("b", name="p")), experiment="exp")
    assert record.commits() == []


def test_bringing_a_commit_makes_the_parameters_what_they_were(record: Record) -> None:
    prompt, rules = TextParameter("one\r\n", name="prompt"), JSONParameter({"a": [1, None]}, name="rules")
    made = record.commit(named(prompt, rules), experiment="exp")
    prompt.data, rules.data = "two", {}
    record.bring(made, named(prompt, rules))
    assert (prompt.data, rules.data) == ("one\r\n", {"a": [1, None]})


def test_bringing_into_other_parameters_is_refused_by_name(record: Record) -> None:
    made = record.commit(named(TextParameter("x", name="prompt")), experiment="exp")
    other = TextParameter("stays", name="promt")
    with pytest.raises(TrainingError, match=r"no state for parameter 'promt'.*Did you mean 'prompt'"):
        record.bring(made, named(other))
    with pytest.raises(TrainingError, match="also holds parameter 'prompt'"):
        record.bring(made, [])
    assert other.data == "stays"


class Stubborn(TextParameter):
    """Refuses one text."""

    def restore(self, state: bytes) -> None:
        if state == b"no":
            raise OSError("the disk is full")
        super().restore(state)


def test_what_fails_half_way_is_put_back_as_it_was(record: Record) -> None:
    first, second = TextParameter("old first", name="a"), Stubborn("no", name="b")
    made = record.commit(named(first, second), experiment="exp", epoch=5)
    first.data, second.data = "new first", "new second"
    with pytest.raises(TrainingError, match=r"'b' cannot be brought to commit .*epoch 5 of experiment 'exp'.*full"):
        record.bring(made, named(first, second))
    assert (first.data, second.data) == ("new first", "new second")


def test_cleaning_up_the_store_never_takes_a_commit(record: Record) -> None:
    prompt = TextParameter("kept", name="prompt")
    made = record.commit(named(prompt), experiment="exp")
    record.store.put(b"nobody wants this")
    assert collect(record.store) == 1
    prompt.data = "other"
    record.bring(made, named(prompt))
    assert prompt.data == "kept"


def test_a_text_that_looks_like_the_tree_of_a_folder_is_still_a_text(record: Record) -> None:
    tricky = "autopilot tree 1\n" + "f" * 60
    prompt = TextParameter(tricky, name="prompt")
    made = record.commit(named(prompt), experiment="exp")
    collect(record.store)
    assert record.fsck() == []
    prompt.data = ""
    record.bring(made, named(prompt))
    assert prompt.data == tricky


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text(st.characters()), min_size=1, max_size=6))
def test_any_texts_come_back_from_their_commits(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    with Record.passing() as record:
        prompt = TextParameter(name="p")
        made = []
        for number, text in enumerate(texts):
            prompt.data = text
            made.append(record.commit(named(prompt), experiment="e", epoch=number, why=text, source=text))
        assert len({one.id for one in made}) == len(set(texts))
        for text, commit in zip(texts, made, strict=True):
            record.bring(record.get_commit(commit.id), named(prompt))
            assert prompt.data == text
            assert commit.why == texts[commit.epoch] == text


# ------------------------------------------------------------ refs


def test_a_ref_moves_and_remembers_where_it_was(record: Record) -> None:
    one, two = (one_epoch(record, "exp", epoch, f"text {epoch}") for epoch in (1, 2))
    record.point("exp", "best", one.id, why="first")
    record.point("exp", "best", two.id, why="better")
    assert record.ref("exp", "best") == two.id and record.ref("exp", "worst") is None
    assert [(moved.commit, moved.why) for moved in record.ref_history("exp", "best")] == [
        (two.id, "better"),
        (one.id, "first"),
    ]
    assert record.refs("exp") == {"best": two.id, "last_accepted": two.id}


def test_a_ref_that_somebody_else_moved_is_not_moved_again(record: Record) -> None:
    one, two = (one_epoch(record, "exp", epoch, f"text {epoch}") for epoch in (1, 2))
    record.point("exp", "branch/a", one.id, expect=None)
    with pytest.raises(StoreConflict, match="somebody else moved it"):
        record.point("exp", "branch/a", two.id, expect=None)
    record.point("exp", "branch/a", two.id, expect=one.id)
    with pytest.raises(StoreConflict):
        record.point("exp", "branch/a", one.id, expect=one.id)
    assert record.ref("exp", "branch/a") == two.id


def test_a_ref_only_points_to_what_is_there(record: Record) -> None:
    with pytest.raises(TrainingError, match="no such commit"):
        record.point("exp", "best", "f" * 64)
    assert record.refs("exp") == {}


# ------------------------------------------------------------ evaluations


def test_the_first_evaluation_stays(record: Record) -> None:
    record.put_evaluation(evaluation("c", score=0.25))
    record.put_evaluation(evaluation("c", score=0.75))
    found = record.evaluation(EvalKey("c", "a", "v1", "val", 0))
    assert found is not None and found.metrics == {"score": 0.25}
    assert (found.output, found.feedback, found.ok, found.at) == ({"said": "a"}, "good", True, 1001.0)


def test_an_evaluation_is_another_one_when_any_part_of_its_key_is(record: Record) -> None:
    key = EvalKey("c", "a", "v1", "val", 0)
    record.put_evaluation(Evaluation(key))
    for other in (
        key._replace(commit="d"),
        key._replace(item="b"),
        key._replace(version="v2"),
        key._replace(split="train"),
        key._replace(replicate=1),
    ):
        assert record.evaluation(other) is None
    assert record.evaluation(key) is not None


def test_a_failed_evaluation_is_an_error_and_no_score(record: Record) -> None:
    key = EvalKey("c", "a", "v1", "val", 0)
    record.put_evaluation(Evaluation(key, False, error="TimeoutError: 5 s", cost={"usd": 0.25}, seconds=5.0, at=7.0))
    assert record.evaluation(key) == Evaluation(
        key, False, None, {}, "", "TimeoutError: 5 s", {"usd": 0.25}, seconds=5.0, at=7.0
    )


def test_evaluations_of_a_commit_come_in_the_order_they_were_made(record: Record) -> None:
    record.put_evaluations([evaluation("c", item) for item in "zya"] + [evaluation("d")])
    record.put_evaluation(evaluation("c", "t", split="train"))
    assert [one.key.item for one in record.evaluations("c", "val")] == ["z", "y", "a"]
    assert [one.key.item for one in record.evaluations("c")] == ["z", "y", "a", "t"]


def test_scores_that_are_no_numbers_are_kept_as_they_are(record: Record) -> None:
    record.put_evaluation(Evaluation(EvalKey("c", "a", "", "val", 0), metrics={"x": math.nan, "y": math.inf}))
    found = record.evaluation(EvalKey("c", "a", "", "val", 0))
    assert found is not None and math.isnan(found.metrics["x"]) and found.metrics["y"] == math.inf


def test_an_output_that_json_cannot_say_is_refused_by_item(record: Record) -> None:
    with pytest.raises(TrainingError, match="evaluation of item 'a' holds something that JSON cannot say"):
        record.put_evaluation(Evaluation(EvalKey("c", "a", "", "val", 0), output=object()))
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(TrainingError, match="JSON cannot say"):
        record.put_evaluation(Evaluation(EvalKey("c", "a", "", "val", 0), output=loop))


@settings(max_examples=40, deadline=None)
@given(
    item=st.text(st.characters(), min_size=1),
    feedback=st.text(st.characters()),
    output=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
)
def test_any_evaluation_comes_back_as_it_was(item: str, feedback: str, output: object) -> None:
    with Record.passing(clock=ticking()) as record:
        key = EvalKey("c", item, item, "val", 3)
        made = Evaluation(key, True, output, {"m": 0.5}, feedback, feedback, at=1.0)
        record.put_evaluation(made)
        found = record.evaluation(key)
        assert found is not None
        assert (found.output, found.feedback, found.error) == (output, feedback, feedback)


# ------------------------------------------------------------ epochs, events, state, journal


def test_epochs_come_in_order_and_the_newest_word_on_one_counts(record: Record) -> None:
    for epoch in (2, 1):
        record.put_epoch(EpochRow("exp", epoch, "c", "p", "discard", gates=({"gate": "g", "passed": False},)))
    record.put_epoch(EpochRow("exp", 1, "c", "p", "accept", "it is fine", {"x": 1.0}, extra={"k": [1]}, at=3.0))
    rows = record.epochs("exp")
    assert [(row.epoch, row.verdict) for row in rows] == [(1, "accept"), (2, "discard")]
    assert rows[0] == EpochRow("exp", 1, "c", "p", "accept", "it is fine", {"x": 1.0}, {}, [], {}, 3.0, {"k": [1]})
    assert rows[1].gates == [{"gate": "g", "passed": False}]
    assert len(record.store.rows("SELECT 1 FROM train_epochs")) == 3


def test_events_come_back_in_order_of_a_kind_or_after_those_one_has(record: Record) -> None:
    happened = [Event(n, 5.0, kind, "r", "s", "c", "p", {"n": n}) for n, kind in enumerate(list(EventType)[:6])]
    assert record.put_events("exp", happened[:2]) == 2
    assert record.put_events("exp", happened[2:]) == 6
    assert record.events("exp") == happened
    assert record.events("exp", since=4) == happened[4:]
    assert record.events("exp", types=[happened[1].type, "stream"]) == [happened[1], happened[2]]
    assert record.events("nobody") == []


def test_an_event_with_something_odd_in_it_does_not_stop_the_run(record: Record) -> None:
    record.put_events("exp", [Event(0, 1.0, EventType.LOSS, data={"value": object(), "text": "\ud800"})])
    (found,) = record.events("exp")
    assert found.value.startswith("<object>") and found.text == "\ud800"


def test_state_is_what_was_last_set(record: Record) -> None:
    record.set_state("exp", "optimizer", {"step": 3, "blocked": ["a"]})
    record.set_state("exp", "optimizer", {"step": 4})
    assert record.state("exp", "optimizer") == {"step": 4}
    assert record.state("exp", "nothing", 7) == 7
    assert record.state("other", "optimizer") is None


def test_the_journal_is_asked_by_source_text_and_number(record: Record) -> None:
    for number, source in enumerate(["user", "policy", "user", "optimizer"]):
        record.add_context(
            "exp", ContextEntry(source, f"Reason {number}", decision="rollback" if number == 2 else "")
        )
    assert [entry.text for entry in record.context("exp")] == [f"Reason {number}" for number in range(4)]
    assert [entry.text for entry in record.context("exp", source="user")] == ["Reason 0", "Reason 2"]
    assert [entry.text for entry in record.context("exp", contains="ROLL")] == ["Reason 2"]
    assert [entry.text for entry in record.context("exp", limit=2)] == ["Reason 2", "Reason 3"]
    assert record.context("exp", limit=0) == []
    assert record.context("exp")[0].at == 1001.0


# ------------------------------------------------------------ experiments


def test_experiments_come_in_the_order_they_were_begun_though_the_clock_stands_or_goes_back(tmp_path: Path) -> None:
    times = iter([5.0, 5.0, 1.0, 0.0, 0.0])
    with Record.open(tmp_path / "r.db", clock=lambda: next(times)) as record:
        for name in ("zeta", "alpha", "mid"):
            record.create(name)
        assert [row.slug for row in record.experiments()] == ["zeta", "alpha", "mid"]


def test_a_second_experiment_of_one_name_is_refused_and_the_first_is_as_it_was(record: Record) -> None:
    record.create("other", parent="exp", config={"lr": 1}, tags=["a"], why="to see")
    with pytest.raises(TrainingError, match=r"an experiment 'other' in .* already"):
        record.create("other", config={"lr": 2})
    row = record.experiment("other")
    assert (row.parent, row.config, row.tags, row.why, row.status) == ("exp", {"lr": 1}, ("a",), "to see", "pending")


def test_an_experiment_that_is_not_there_says_which_may_be_meant(record: Record) -> None:
    with pytest.raises(TrainingError, match=r"no experiment 'exq'.*Did you mean 'exp'"):
        record.experiment("exq")
    with pytest.raises(TrainingError, match="Did you mean 'exp'"):
        record.create("new", parent="exq")
    with pytest.raises(TrainingError, match="Did you mean 'completed'"):
        record.set_status("exp", "complete")  # type: ignore[arg-type]
    assert [row.slug for row in record.experiments()] == ["exp"]


@pytest.mark.parametrize("slug", ["", " x", "a\nb", "\ud800"])
def test_a_name_that_nobody_could_type_is_refused(record: Record, slug: str) -> None:
    with pytest.raises(TrainingError, match="is no name for an experiment"):
        record.create(slug)


# ------------------------------------------------------------ the file


def test_all_of_a_transaction_or_nothing(record: Record) -> None:
    with pytest.raises(KeyError), record.transaction():
        made = one_epoch(record, "exp", 1, "text")
        assert record.get_commit(made.id) == made
        raise KeyError
    assert (record.commits(), record.epochs("exp"), record.events("exp"), record.refs("exp")) == ([], [], [], {})
    assert record.context("exp") == [] and record.state("exp", "next") is None and record.evaluations(made.id) == []
    assert one_epoch(record, "exp", 1, "text").id == made.id and record.fsck() == []


def test_threads_share_a_record(record: Record) -> None:
    def work(number: int) -> None:
        for epoch in range(10):
            one_epoch(record, f"e{number}", epoch, f"text {number} {epoch}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert record.fsck() == []
    for number in range(4):
        assert [row.epoch for row in record.epochs(f"e{number}")] == list(range(10))
        assert len(record.events(f"e{number}")) == 40


def test_a_record_that_is_passing_leaves_no_file() -> None:
    record = Record.passing()
    folder = record.store.path.parent
    record.create("x")
    assert folder.exists()
    record.close()
    assert not folder.exists()
    record.close()


def test_a_record_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    Record.open(path).close()
    change(path, "UPDATE meta SET value = 9 WHERE name = 'training'")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer release .version 9"):
        Record.open(path)
    assert path.read_bytes() == before
