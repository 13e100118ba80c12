"""`autopilot store` and `autopilot propose` in a project that was trained."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from command import Command

WORDS = Path("autopilot/projects/myproj/rules/words.txt")


def test_states_are_listed_compared_named_and_brought_back(trained: Command) -> None:
    words = trained.folder / WORDS
    accepted = words.read_text()
    assert [one["verdict"] for one in trained("store", "log", "--json").json] == [
        "seed", "accept", "accept", "accept", "discard", "accept",
    ]  # fmt: skip
    words.write_text("mine\n")
    status = trained("store", "status", "--json").json
    assert (status["kept"], status["changed"]) == (False, ["rules"])
    assert "+mine" in trained("store", "diff").out
    assert trained("store", "status", "--json").json["kept"] is False  # to look at a difference keeps nothing
    kept = trained("store", "snapshot", "--tag", "mine", "--context", "by hand", "--json").json["commit"]
    assert "-hello" in trained("store", "diff", "seed", "last_accepted").out
    trained("store", "checkout", "last_accepted", "--context", "back")
    assert words.read_text() == accepted
    trained("store", "checkout", "mine", "--context", "forth")
    assert words.read_text() == "mine\n"
    assert any(one["name"] == "tag/mine" and one["commit"] == kept for one in trained("store", "list", "--json").json)
    assert "Did you mean 'seed'" in trained("store", "diff", "sed", code=1).err


def test_where_nothing_was_trained_that_is_what_is_said(begun: Command) -> None:
    for words in (["store", "diff"], ["trace", "list"], ["diagnose", "traces"]):
        assert "Nothing is accepted in exp-1 yet: autopilot optimize train" in begun(*words, code=2).err
    assert begun("store", "log").out == "No state is kept yet.\n"


def test_damage_in_what_is_kept_is_named(trained: Command) -> None:
    assert trained("store", "fsck", "--json").json == []
    record = trained.folder / "autopilot/projects/myproj/experiments/record.db"
    _damage(record)
    found = trained("store", "fsck", "--json", code=1).json
    assert any(one["experiment"] == "exp-1" and one["parameter"] == "rules" for one in found)


def _damage(record: Path) -> None:
    with sqlite3.connect(record) as link:
        link.execute("UPDATE objects SET data = zeroblob(length(data))")
    link.close()


def test_a_proposal_is_measured_on_copies_and_changes_nothing_that_is_accepted(trained: Command) -> None:
    words = trained.folder / WORDS
    before = words.read_bytes()
    (trained.folder / "more.txt").write_text("cheap\nfree\nwin\nmoney\n")
    trained("propose", "create", "rules", "--file", "more.txt", "--context", "money is spam")
    trained("propose", "create", "rules", "--path", "words.txt", "--value", "hello", "--context", "worse")
    assert trained("propose", "verify", "1", "--context", "look", "--json").json["verified"]["verdict"] == "accept"
    refused = trained("propose", "verify", "2", "--context", "look", code=3)
    assert "FAIL  MonotonicGate(accuracy)" in refused.out
    trained("propose", "revert", "2", "--context", "it is worse")
    listed = trained("propose", "list", "--json").json
    assert [(one["status"], one["stale"]) for one in listed] == [("open", False), ("reverted", False)]
    assert words.read_bytes() == before
    assert "it is worse" in trained("propose", "verify", "2", "--context", "again", code=2).err
    assert (
        "Did you mean 'rules'" in trained("propose", "create", "rule", "--value", "x", "--context", "y", code=2).err
    )


def test_a_proposal_that_is_submitted_is_an_epoch_and_training_goes_on_from_it(trained: Command) -> None:
    words = trained.folder / WORDS
    before = words.read_bytes()
    trained("propose", "create", "rules", "--value", "hello", "--context", "worse")
    trained("propose", "create", "rules", "--value", "cheap free win money", "--context", "money is spam")
    assert "discard" in trained("propose", "submit", "1", "--context", "is it so?", code=3).out
    assert words.read_bytes() == before
    done = trained("propose", "submit", "2", "--context", "it was measured", "--json").json
    assert (done["epoch"], done["verdict"]) == (6, "accept")
    assert words.read_text() == "cheap free win money"
    assert trained("status", "--json").json["refs"]["last_accepted"] == done["commit"]
    assert [one["status"] for one in trained("propose", "list", "--json").json] == ["discard", "accept"]
    assert "was submitted" in trained("propose", "submit", "2", "--context", "again", code=2).err
    rows = trained("optimize", "train", "--context", "go on", "--json").json["rows"]
    assert rows[-1]["epoch"] == 7


def test_a_proposal_on_a_state_that_is_accepted_no_more_is_refused(trained: Command) -> None:
    stood = trained("status", "--json").json["refs"]["last_accepted"]
    trained("propose", "create", "rules", "--value", "cheap", "--base", stood, "--context", "in time")
    trained("optimize", "train", "--epochs", "6", "--context", "meanwhile")
    late = trained("propose", "create", "rules", "--value", "win", "--base", stood, "--context", "too late", code=1)
    assert "another state was accepted meanwhile" in late.err
    assert "another state was accepted meanwhile" in trained("propose", "verify", "1", "--context", "x", code=1).err
    assert [one["stale"] for one in trained("propose", "list", "--json").json] == [True]
