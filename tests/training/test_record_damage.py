"""What was changed behind the record's back is found, named, and never restored or believed."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autopilot_runtime.core.errors import ObjectDamaged, StoreError
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.store.refs import Pointed
from autopilot_runtime.store.snapshot import Snapshotter
from autopilot_runtime.training.parameter import Parameter, TextParameter
from autopilot_runtime.training.record import EvalKey, Record
from autopilot_runtime.training.recordcheck import Finding
from autopilot_runtime.training.recordrows import ContextEntry
from tests.training.records import change, one_epoch, ticking

TABLES = {
    "objects": "data",
    "train_commits": "body",
    "train_evaluations": "body",
    "train_epochs": "body",
    "train_events": "body",
    "train_context": "body",
    "train_experiments": "body",
    "train_state": "body",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with three epochs of two experiments."""
    file = tmp_path / "record.db"
    with Record.open(file) as record:
        for slug in ("exp", "other"):
            record.create(slug, config={"slug": slug})
            for epoch in range(3):
                one_epoch(record, slug, epoch, f"text {slug} {epoch} " * 30)
    return file


def found(path: Path) -> list[Finding]:
    with Record.open(path) as record:
        return record.fsck()


def test_a_whole_record_has_nothing_to_find(path: Path) -> None:
    assert found(path) == []


def content(stored: bytes) -> bytes:
    """What a stored form holds, packed or not."""
    try:
        return zlib.decompress(stored)
    except zlib.error:
        return stored


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_found_and_placed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("flip") / "record.db"
    with Record.open(path, clock=ticking()) as record:
        record.create("exp", config={"a": 1})
        for epoch in range(2):
            one_epoch(record, "exp", epoch, f"text {epoch} " * 40)
        table = data.draw(st.sampled_from(sorted(TABLES)))
        column = TABLES[table]
        key = "rowid" if table in ("objects", "train_commits", "train_evaluations", "train_epochs") else "body"
        key = "rowid" if table == "train_experiments" else key
        rows = record.store.rows(f"SELECT {key}, CAST({column} AS BLOB) FROM {table} ORDER BY 1")
    place, body = data.draw(st.sampled_from(rows))
    bit = data.draw(st.integers(0, len(body) * 8 - 1))
    flipped = bytearray(body)
    flipped[bit // 8] ^= 1 << bit % 8
    # A bit that only fills up a packed content is no part of it: what comes out is what went in.
    assume(table != "objects" or content(bytes(flipped)) != content(body))
    new = f"CAST(? AS {'BLOB' if column == 'data' else 'TEXT'})"
    assert change(path, f"UPDATE {table} SET {column} = {new} WHERE {key} = ?", bytes(flipped), place) == 1
    findings = found(path)
    assert findings and all(one.experiment == "exp" or one.commit for one in findings), [str(one) for one in findings]


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_state_is_named_with_parameter_and_epoch_and_nothing_is_restored(path: Path, damage: str) -> None:
    with Record.open(path) as record:
        commit = record.get_commit("epoch-1", "exp")
    digest = bytes.fromhex(commit.parameters["prompt"])
    how = {
        "flip": "UPDATE objects SET data = CAST(replace(hex(data), '0', '1') AS BLOB) WHERE digest = ?",
        "cut": "UPDATE objects SET data = substr(data, 1, length(data) - 3) WHERE digest = ?",
        "gone": "DELETE FROM objects WHERE digest = ?",
    }
    assert change(path, how[damage], digest) == 1
    first, second = TextParameter("as it was", name="prompt"), TextParameter("", name="prompt")
    with Record.open(path) as record:
        wanted = (
            r"parameter 'prompt' in commit .* \(epoch 1 of experiment 'exp'\) is damaged, so nothing was restored"
        )
        with pytest.raises(ObjectDamaged, match=wanted):
            record.bring(commit, [("prompt", first)])
        assert first.data == "as it was"
        record.bring(record.get_commit("epoch-2", "exp"), [("prompt", second)])
        (finding,) = record.fsck()
    assert (finding.experiment, finding.epoch, finding.commit) == ("exp", 1, commit.id)
    assert finding.parameter == "prompt" and digest.hex() in finding.what


class Folder(Parameter):
    """Files below a folder, kept as a tree."""

    def __init__(self, root: Path, **options: str) -> None:
        self.root = root
        super().__init__(**options)

    def keep(self, store):  # type: ignore[no-untyped-def]
        return Snapshotter(store, self.root).take().tree

    @property
    def digest(self) -> str:
        return ""


def test_a_damaged_file_deep_in_a_tree_is_named_by_its_path(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "deep" / "er").mkdir(parents=True)
    (work / "deep" / "er" / "rules.txt").write_bytes(b"all the rules")
    (work / "top.txt").write_bytes(b"top")
    with Record.open(tmp_path / "r.db") as record:
        made = record.commit([("rules", Folder(work, name="rules"))], experiment="exp", epoch=4)
        kinds: list[tuple[Pointed]] = record.store.rows("SELECT kind FROM pins")
        assert kinds == [("tree",)]
        change(tmp_path / "r.db", "UPDATE objects SET data = x'01' WHERE data = CAST('all the rules' AS BLOB)")
        with pytest.raises(ObjectDamaged, match=r"'deep/er/rules.txt' in parameter 'rules' in commit .* \(epoch 4"):
            record.bring(made, [("rules", Folder(work, name="rules"))])
        (finding,) = record.fsck()
        assert (finding.parameter, finding.epoch, finding.commit) == ("rules", 4, made.id)
    assert (work / "deep" / "er" / "rules.txt").read_bytes() == b"all the rules"


def test_a_score_that_was_changed_is_not_used(path: Path) -> None:
    with Record.open(path) as record:
        commit = record.get_commit("epoch-1", "exp").id
    change(path, "UPDATE train_evaluations SET body = replace(body, '1.0', '9.0') WHERE commit_id = ?", commit)
    change(path, "UPDATE train_epochs SET verdict = 'discard' WHERE epoch = 2 AND experiment = 'other'")
    with Record.open(path) as record:
        with pytest.raises(ObjectDamaged, match=f"val evaluation of item 'a' on commit {commit[:12]} is damaged"):
            record.evaluation(EvalKey(commit, "a", "v1", "val", 0))
        with pytest.raises(ObjectDamaged, match="Epoch 2 of experiment 'other' is damaged"):
            record.epochs("other")
        assert sorted(str(one) for one in record.fsck())[1:] == [
            f"commit {commit[:12]}: the val evaluation of item 'b' (replicate 0) is damaged",
            f"experiment 'other', epoch 2, commit {record.ref('other', 'last_accepted')[:12]}: "  # type: ignore[index]
            "the row of the epoch is damaged",
        ]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE {0} SET body = replace(body, '1', '2') WHERE number = 2", "entry 2 ({1}) is not what was written"),
        ("UPDATE {0} SET type = 'x' WHERE number = 3", "entry 3 (x) is not what was written"),
        ("DELETE FROM {0} WHERE number = 2", "entry 2 is missing"),
        ("DELETE FROM {0} WHERE number < 3", "entry 1 to 2 is missing"),
        ("DELETE FROM {0} WHERE number > 1", "entries 2 to {2} at the end are missing"),
        ("DELETE FROM {0}", "entries 1 to {2} at the end are missing"),
        ("DELETE FROM train_heads WHERE chain = '{0}'", "its end is not known"),
        (
            "INSERT INTO {0} SELECT experiment, number + 100, type, body, link FROM {0} WHERE number = 1",
            "entry {3} to 100 is missing",
        ),
    ],
)
@pytest.mark.parametrize(
    ("table", "kind", "last"), [("train_events", "proposed", 12), ("train_context", "policy", 3)]
)
def test_a_log_that_was_tampered_with_says_where(
    path: Path, table: str, kind: str, last: int, statement: str, said: str
) -> None:
    only = " AND experiment = 'exp'" if "WHERE" in statement else " WHERE experiment = 'exp'"
    assert change(path, statement.format(table) + only) >= 1
    assert [str(one) for one in found(path)] == [
        f"experiment 'exp': {table}: " + said.format(table, kind, last, last + 1)
    ]


def test_two_who_write_to_one_log_make_one_chain(path: Path) -> None:
    with Record.open(path) as one, Record.open(path) as two:
        for number in range(10):
            one.put_events("exp", [Event(number, 1.0, EventType.LOSS, data={"value": number})])
            two.put_events("exp", [Event(number, 1.0, EventType.LOSS, data={"value": -number})])
            two.add_context("exp", ContextEntry("user", "why"))
            one.add_context("exp", ContextEntry("user", "why not"))
        assert [event.value for event in one.events("exp", since=12)][:4] == [0, 0, 1, -1]
        assert one.fsck() == [] == two.fsck()


def test_a_ref_to_a_commit_that_is_gone_is_found(path: Path) -> None:
    change(path, "DELETE FROM train_commits WHERE experiment = 'other' AND epoch = 2")
    assert "experiment 'other'" in str(found(path)[0]) and "'last_accepted' points to a commit that is not" in str(
        found(path)[0]
    )


def test_a_file_that_is_no_record_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    path.write_bytes(b"not a database, but a letter" * 100)
    with pytest.raises(StoreError, match=r"record.db is damaged"):
        Record.open(path)
    assert path.read_bytes() == b"not a database, but a letter" * 100


def test_a_full_disk_in_the_middle_of_an_epoch_leaves_the_earlier_ones(path: Path) -> None:
    with Record.open(path) as record:
        record.store.rows(f"PRAGMA max_page_count = {record.store.rows('PRAGMA page_count')[0][0] + 4}")
        with pytest.raises(StoreError, match="the disk is full"), record.transaction():
            one_epoch(record, "exp", 3, "".join(map(chr, range(300, 60_000))))
        assert [row.epoch for row in record.epochs("exp")] == [0, 1, 2]
        assert record.get_commit("last_accepted", "exp").epoch == 2
        assert record.fsck() == []
        record.store.rows("PRAGMA max_page_count = 1000000")
        one_epoch(record, "exp", 3, "short")
    assert found(path) == []
