from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from autopilot_runtime.store.objects import Store
from autopilot_runtime.training.experiment import Experiment
from autopilot_runtime.training.explain import explain, flips
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.metric import MeanMetric
from autopilot_runtime.training.parameter import Parameter, TextParameter
from autopilot_runtime.training.record import Record
from autopilot_runtime.training.statediff import changes
from autopilot_runtime.training.story import read_story
from autopilot_runtime.training.trainer import Trainer
from tests.training.story_record import HOSTILE, SLUG, Tried, make
from tests.training.systems import Vocabulary, loader


@pytest.fixture
def record() -> Iterator[Record]:
    with Record.passing() as record:
        make(record)
        yield record


def test_why_a_better_candidate_was_not_kept_is_told_with_its_numbers(record: Record) -> None:
    found = explain(record, SLUG, 9)
    assert (found.verdict, found.reason) == ("discard", "latency 420 does not meet <= 300")
    accuracy, latency = found.metrics
    assert (accuracy.before, accuracy.after, accuracy.better) == (0.702, 0.73, True)
    assert accuracy.sigmas == pytest.approx((0.73 - 0.702) / 0.012)
    assert (latency.before, latency.after, latency.better) == (150, 420, False)
    assert [(gate["gate"], gate["passed"]) for gate in found.gates][-1] == ("MaxGate(latency)", False)
    assert found.base_candidate == 7
    text = str(found)
    for part in (
        "not kept",
        "latency 420 does not meet <= 300",
        "0.702",
        "2.3 x noise",
        "FAIL  MaxGate",
        "Use a longer",
    ):
        assert part in text


def test_a_gain_within_the_noise_is_said_to_be_no_proof(record: Record) -> None:
    notes = " ".join(explain(record, SLUG, 2).notes)
    assert (
        "The gain of 0.005 is 0.4 times what measuring the same state again differs (0.012): within the noise"
        in notes
    )
    assert "that was not shown" in notes


def test_items_that_got_worse_come_first(record: Record) -> None:
    found = explain(record, SLUG, 14)
    assert [one.item for one in found.worse] == ["mail-05", "mail-10"]
    assert [one.item for one in found.better] == ["mail-03", "mail-08"]
    assert found.same == 8
    text = str(found)
    assert text.index("- mail-05: 1 -> 0") < text.index("+ mail-03: 0 -> 1")


def test_scores_of_a_metric_that_falls_are_shown_as_they_were_measured() -> None:
    worse, better, same = flips({"a": -3.0, "b": -3.0, "c": 0.0}, {"a": -5.0, "b": -1.0, "c": 0.0}, rises=False)
    assert [(one.item, one.before, one.after) for one in (*worse, *better)] == [("a", 3.0, 5.0), ("b", 3.0, 1.0)]
    assert same == 1


def test_what_could_not_be_measured_is_said_with_its_error(record: Record) -> None:
    text = str(explain(record, SLUG, 4))
    assert "without a figure, nothing is kept" in text
    assert "mail-01: KeyError: 'tool'" in text


def test_the_diff_is_to_what_it_was_made_from(record: Record) -> None:
    text = str(explain(record, SLUG, 9))
    assert "+9. Use a longer preamble." in text
    assert '-  "examples": 6' in text
    assert "8. Be more polite" not in text


def test_an_explanation_is_ready_for_json(record: Record) -> None:
    for n in range(16):
        found = json.loads(json.dumps(explain(record, SLUG, n).to_dict(), allow_nan=False))
        assert found["candidate"] == n
    assert found["metrics"][0]["better"] is False
    assert {entry["source"] for entry in found["journal"]} == {"optimizer", "policy"}


def test_without_measured_noise_chance_is_not_ruled_out() -> None:
    with Record.passing() as record:
        make(record, run=[Tried("accept", 0.6, "up")])
        with record.store.transaction() as link:
            link.execute("DELETE FROM train_state")
        for row in record.epochs(SLUG):
            row.extra["noise"].clear()  # type: ignore[attr-defined]
            record.put_epoch(row)
        assert "was not measured; the gain may be chance" in str(explain(record, SLUG, 0))


def test_a_measurement_that_repeats_exactly_leaves_no_room_for_chance() -> None:
    with Record.passing() as record:
        make(record, run=[Tried("accept", 0.513, "up")])
        for row in record.epochs(SLUG):
            row.extra["noise"]["accuracy"] = 0.0
            record.put_epoch(row)
        assert "gave the same accuracy: the gain is no chance" in str(explain(record, SLUG, 0))


def test_nothing_that_was_written_can_steer_the_terminal() -> None:
    with Record.passing() as record:
        make(record, run=[Tried("discard", 0.4, HOSTILE, reason=HOSTILE, scores={HOSTILE: 1.0})])
        text = str(explain(record, SLUG, 0))
    assert "\x1b" not in text
    assert "\u202e" not in text
    text.encode()


def test_a_candidate_that_is_not_there_is_named_with_those_that_are(record: Record) -> None:
    with pytest.raises(TrainingError, match="0 to 15"):
        explain(record, SLUG, 17)


# ---------------------------------------------------------------- what differs


class Files(Parameter):
    """Some files, kept as a tree."""

    def __init__(self, name: str, files: dict[str, bytes]) -> None:
        self.files = files
        super().__init__({}, name=name)

    def keep(self, store: Store) -> bytes:
        from autopilot_runtime.store.tree import State, encode

        heads = []
        for name, data in self.files.items():
            mode = 0o755 if name.endswith(".sh") else 0o644
            heads.append((name.encode(), State("file", mode, len(data), store.put(data)).head))
        return store.put(encode(heads))


def test_files_are_compared_one_by_one() -> None:
    with Record.passing() as record:
        record.create("x")
        files = Files("src", {"a.py": b"one\ntwo\n", "gone.txt": b"bye\n", "same": b"x", "pic": b"\0\1"})
        first = record.commit([("src", files)], experiment="x")
        files.files = {"a.py": b"one\r\ntwo\r\n", "new.sh": b"#!/bin/sh\n", "same": b"x", "pic": b"\0\2\3"}
        second = record.commit([("src", files)], experiment="x")
        found = {one.path: one.diff for one in changes(record, first, second)}
        whole = [one.path for one in changes(record, None, second)]
    assert sorted(found) == ["a.py", "gone.txt", "new.sh", "pic"]
    assert "+one\\r" in found["a.py"]
    assert found["gone.txt"].startswith("(file deleted)\n--- a/gone.txt")
    assert found["new.sh"].startswith("(new file)\n")
    assert "Binary file pic changed: 2 -> 3 bytes" in found["pic"]
    assert whole == ["a.py", "new.sh", "pic", "same"]


def test_a_text_that_looks_like_a_tree_is_compared_as_text() -> None:
    with Record.passing() as record:
        record.create("x")
        text = TextParameter("autopilot tree 1\nis how trees begin", name="p")
        first = record.commit([("p", text)], experiment="x")
        text.data = "autopilot tree 1\nis how they begin"
        second = record.commit([("p", text)], experiment="x")
        (found,) = changes(record, first, second)
    assert "-is how trees begin" in found.diff


def test_a_content_that_is_damaged_is_said_to_be() -> None:
    with Record.passing() as record:
        record.create("x")
        text = TextParameter("before", name="p")
        first = record.commit([("p", text)], experiment="x")
        text.data = "after"
        second = record.commit([("p", text)], experiment="x")
        with record.store.transaction() as link:
            link.execute(
                "UPDATE objects SET data = ? WHERE digest = ?", (b"aftxr", bytes.fromhex(second.parameters["p"]))
            )
        (found,) = changes(record, first, second)
    assert "cannot be shown" in found.diff
    assert "damaged" in found.diff


def test_what_a_trained_module_calls_worse_is_told_as_worse() -> None:
    class Frugal(Vocabulary):
        def __init__(self) -> None:
            super().__init__(script=["ab cd"])
            self.size = MeanMetric(of=self.length, name="size", higher_is_better=False)

        def length(self, data: Any, batch: Any) -> int:
            return len(self.known.data)

    with Record.passing() as record:
        Trainer(experiment=Experiment("fit", record=record), monitor="size").fit(Frugal(), loader(), loader())
        (size,) = [one for one in explain(record, "fit", 0).metrics if one.name == "size"]
        assert (size.before, size.after, size.better) == (0, 5, False)
        assert read_story(record, "fit").metric == "size"
