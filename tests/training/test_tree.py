"""What came from what can be asked and drawn: one experiment as a tree, all of them as a forest."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from autopilot_runtime.training import Forest, Record, TextParameter, Tree
from autopilot_runtime.training.fault import MetricMissing, TrainingError
from autopilot_runtime.training.record import Commit, EpochRow
from autopilot_runtime.training.treedraw import draw


@pytest.fixture
def record() -> Iterator[Record]:
    with Record.passing() as opened:
        yield opened


def tried(record: Record, text: str, epoch: int, parent: Commit | None, verdict: str, score: float) -> Commit:
    """An epoch that tried a text."""
    parents = [parent.id] if parent else []
    prompt = TextParameter(text, name="prompt")
    made = record.commit([("prompt", prompt)], experiment="exp", parents=parents, epoch=epoch, why=text)
    record.put_epoch(EpochRow("exp", epoch, made.id, "".join(parents), verdict, "said so", {"accuracy": score}))
    if verdict in ("seed", "accept"):
        record.point("exp", "last_accepted", made.id)
    return made


@pytest.fixture
def commits(record: Record) -> dict[str, Commit]:
    """seed -> bad, seed -> good -> worse, good -> better"""
    record.create("exp")
    made = {"seed": tried(record, "seed", -1, None, "seed", 0.5)}
    made["bad"] = tried(record, "bad", 0, made["seed"], "discard", 0.9)
    made["good"] = tried(record, "good", 1, made["seed"], "accept", 0.6)
    made["worse"] = tried(record, "worse", 2, made["good"], "rollback", float("nan"))
    made["better"] = tried(record, "better", 3, made["good"], "accept", 0.8)
    record.point("exp", "best", made["better"].id)
    return made


def test_states_hang_on_what_they_were_made_from(record: Record, commits: dict[str, Commit]) -> None:
    tree = Tree(record, "exp")
    assert [node.commit.why for node in tree.roots] == ["seed"]
    assert [node.commit.why for node in tree.children(commits["good"])] == ["worse", "better"]
    assert [node.commit.why for node in tree.path("best")] == ["seed", "good", "better"]
    assert tree.node("epoch-0").verdict == "discard" and tree.node(commits["bad"].id[:8]).parent is tree.roots[0]
    assert len(tree) == 5 and [node.commit.why for node in tree][:2] == ["seed", "bad"]


def test_the_best_state_is_an_accepted_one_with_a_number(record: Record, commits: dict[str, Commit]) -> None:
    tree = Tree(record, "exp")
    best = tree.best()
    assert best is not None and best.id == commits["better"].id
    assert tree.best("accuracy") is best
    assert tree.best("accuracy", accepted=False).id == commits["bad"].id  # type: ignore[union-attr]
    assert tree.best("accuracy", higher_is_better=False).id == commits["seed"].id  # type: ignore[union-attr]
    with pytest.raises(MetricMissing, match=r"'accuracey'.*Did you mean 'accuracy'"):
        tree.best("accuracey")


def test_a_tree_is_drawn_with_its_accepted_line_straight_down(record: Record, commits: dict[str, Commit]) -> None:
    ids = {name: commit.id[:10] for name, commit in commits.items()}
    assert str(Tree(record, "exp")).splitlines() == [
        f"● seed {ids['seed']}  accuracy 0.5  seed",
        f"├─ ✗ epoch 0 {ids['bad']}  accuracy 0.9  bad",
        f"● epoch 1 {ids['good']}  accuracy 0.6  good",
        f"├─ ↩ epoch 2 {ids['worse']}  accuracy nan  worse",
        f"● epoch 3 {ids['better']}  accuracy 0.8  (best, last_accepted)  better",
    ]


def test_a_tree_goes_into_json(record: Record, commits: dict[str, Commit]) -> None:
    found = json.loads(json.dumps(Tree(record, "exp").to_dict()))
    assert found["roots"] == [commits["seed"].id]
    assert found["nodes"][commits["good"].id]["children"] == [commits["worse"].id, commits["better"].id]
    assert found["nodes"][commits["bad"].id]["verdict"] == "discard"


def test_a_state_whose_origin_is_in_another_experiment_is_a_root(record: Record, commits: dict[str, Commit]) -> None:
    record.create("child", parent="exp")
    prompt = TextParameter("from there", name="prompt")
    record.commit([("prompt", prompt)], experiment="child", parents=[commits["better"].id])
    assert len(Tree(record, "child").roots) == 1
    with pytest.raises(TrainingError, match=r"Did you mean 'child'"):
        Tree(record, "chill")


def test_a_line_of_ten_thousand_is_drawn_without_going_deep() -> None:
    children = {number: [number + 1, -number - 1] for number in range(10_000)}
    lines = draw([0], lambda node: children.get(node, []), str).splitlines()
    assert len(lines) == 20_001
    assert max(map(len, lines)) < 20
    comb = {number: [number + 1] for number in range(10_000)}
    assert len(draw([0], lambda node: comb.get(node, []), str).splitlines()) == 10_001


def test_experiments_hang_on_what_they_were_begun_from(record: Record, commits: dict[str, Commit]) -> None:
    record.create("shorter", parent="exp", why="fewer words")
    record.create("longer", parent="exp")
    record.create("shortest", parent="shorter")
    record.create("alone")
    forest = Forest(record)
    assert [node.slug for node in forest.roots] == ["exp", "alone"]
    assert [node.slug for node in forest.path("shortest")] == ["exp", "shorter", "shortest"]
    assert [node.slug for node in forest.children("exp")] == ["shorter", "longer"]
    assert forest.best("accuracy").slug == "exp"  # type: ignore[union-attr]
    assert forest.to_dict()["shorter"]["parent"] == "exp"
    assert forest.tree("exp").best().id == commits["better"].id  # type: ignore[union-attr]
    assert forest.draw("accuracy").splitlines() == [
        "exp  [pending]  accuracy 0.8",
        "├─ longer  [pending]",
        "shorter  [pending]  fewer words",
        "shortest  [pending]",
        "alone  [pending]",
    ]
    with pytest.raises(TrainingError, match="Did you mean 'alone'"):
        forest.node("alon")


def test_an_invalidated_experiment_is_not_the_best(record: Record, commits: dict[str, Commit]) -> None:
    record.set_status("exp", "invalidated", "leaked")
    assert Forest(record).best("accuracy") is None
