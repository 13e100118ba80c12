"""Two changes of one text or one tree come together without losing a line, or say where they clash."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.merge3 import merge3, split
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.restore import restore_tree
from autopilot_runtime.store.snapshot import Snapshotter
from autopilot_runtime.store.tree import walk
from autopilot_runtime.store.treemerge import changed, merge_trees
from tests.store.trees import FOLDERS, make, picture

TEXTS = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\r\n", b"\n", b"a", b"\xff\n"]), max_size=12).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(base=TEXTS, ours=TEXTS, theirs=TEXTS)
def test_the_pieces_are_all_three_texts(base: bytes, ours: bytes, theirs: bytes) -> None:
    """So nothing can be lost: all of each side is in a piece, and a piece gives what was changed, or both sides."""
    merged = merge3(base, ours, theirs)
    for at, text in enumerate((base, ours, theirs)):
        assert b"".join(line for piece in merged.pieces for line in piece[at]) == text
    for piece in merged.pieces:
        if piece.is_clean:
            assert piece.lines == (piece.theirs if piece.ours == piece.base else piece.ours)
            assert piece.ours in (piece.base, piece.theirs) or piece.theirs == piece.base
    marked = merged.marked()
    for piece in merged.conflicts:
        for side in (piece.ours, piece.theirs):
            assert b"".join(side).rstrip(b"\n") in marked
    assert (marked == merged.data) == (not merged.conflicts)


@settings(max_examples=200, deadline=None)
@given(base=TEXTS, ours=TEXTS, theirs=TEXTS)
def test_a_merge_does_not_care_whose_side_is_whose(base: bytes, ours: bytes, theirs: bytes) -> None:
    one, other = merge3(base, ours, theirs), merge3(base, theirs, ours)
    assert [(p.base, p.theirs, p.ours) for p in one.pieces] == list(other.pieces)
    if not one.conflicts:
        assert one.data == other.data
    assert merge3(base, ours, base).data == merge3(base, ours, ours).data == merge3(base, base, ours).data == ours


EDITS = st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=1, max_size=14)


@settings(max_examples=300, deadline=None)
@given(size=st.integers(0, 13), mine=EDITS, their=EDITS)
def test_every_line_somebody_wrote_is_there_once_and_those_both_kept(
    size: int, mine: list[tuple[bool, int]], their: list[tuple[bool, int]]
) -> None:
    base = [b"base %d\n" % number for number in range(size)]
    sides, written = [], []
    for name, edits in ((b"ours", mine), (b"theirs", their)):
        fresh, text = count(), []
        for number in range(size + 1):
            keep, more = edits[number % len(edits)]
            text += [b"%s %d\n" % (name, next(fresh)) for _ in range(more)]
            text += base[number : number + 1] if keep else []
        sides.append(text)
        written += [line for line in text if not line.startswith(b"base")]
    merged = merge3(b"".join(base), *map(b"".join, sides))
    lines = split(merged.marked())
    assert [lines.count(line) for line in written] == [1] * len(written)
    for line in base:
        kept = [line in side for side in sides]
        assert lines.count(line) == 1 if all(kept) else lines.count(line) <= 1
        if not any(kept):
            assert line not in lines
    for side in sides:
        own = [line for line in side if line in lines]
        if not merged.conflicts:
            assert [line for line in lines if line in own] == own


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        (b"1\n2\n3\n4\n", b"1!\n2\n3\n4\n", b"1\n2\n3\n4!\n", b"1!\n2\n3\n4!\n"),
        (b"1\n2\n3\n", b"2\n3\n", b"1\n2\n3\n4\n", b"2\n3\n4\n"),
        (b"1\n2\n", b"1\nx\n2\n", b"1\nx\n2\n", b"1\nx\n2\n"),
        (b"1\r\n2\r\n3", b"1\r\n2\r\n3!", b"0\r\n1\r\n2\r\n3", b"0\r\n1\r\n2\r\n3!"),
        (b"", b"a\nb\n", b"a\nx\nb\n", b"a\nx\nb\n"),
        (b"\0a", b"\0a", b"\0b", b"\0b"),
    ],
)
def test_what_only_one_side_changed_is_taken(base: bytes, ours: bytes, theirs: bytes, merged: bytes) -> None:
    found = merge3(base, ours, theirs)
    assert (found.data, found.conflicts) == (merged, [])


def test_a_conflict_shows_both_sides() -> None:
    found = merge3(b"a\nb\nc\n", b"a\nours\nc\n", b"a\ntheirs\nc\n")
    assert found.marked("epoch 3", "epoch 5") == b"a\n<<<<<<< epoch 3\nours\n=======\ntheirs\n>>>>>>> epoch 5\nc\n"
    assert [(piece.base, piece.ours, piece.theirs) for piece in found.conflicts] == [
        ((b"b\n",), (b"ours\n",), (b"theirs\n",))
    ]
    assert merge3(b"x", b"y", b"z").marked() == b"<<<<<<< ours\ny\n=======\nz\n>>>>>>> theirs\n"
    assert len(merge3(b"\0", b"\0y", b"\0z").conflicts) == 1


def keep(store: Store, folder: Path) -> bytes:
    """Its tree."""
    return Snapshotter(store, folder).take().tree


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(base=FOLDERS, ours=FOLDERS, theirs=FOLDERS)
def test_trees_come_together_by_path(
    tmp_path_factory: pytest.TempPathFactory, base: dict[bytes, Any], ours: dict[bytes, Any], theirs: dict[bytes, Any]
) -> None:
    place = tmp_path_factory.mktemp("t")
    with Store(place / "store.db", durable=False) as store:
        trees = []
        for name, content in (("base", base), ("ours", ours), ("theirs", theirs)):
            make(place / name, content)
            trees.append(keep(store, place / name))
        was, mine, other = trees
        assert merge_trees(store, was, mine, was) == (mine, [])
        assert merge_trees(store, was, was, other) == (other, [])
        assert merge_trees(store, was, other, other) == (other, [])
        tree, clashes = merge_trees(store, was, mine, other)
        restore_tree(store, place / "merged", tree, durable=False)
        assert keep(store, place / "merged") == tree
        found, old = dict(walk(store, tree)), dict(walk(store, was))
        named = {clash.path for clash in clashes}
        for side, their in ((mine, other), (other, mine)):
            left = dict(walk(store, their))
            for path, state in walk(store, side):
                if state.kind == "folder" or state == old.get(path) or path in named:
                    continue
                # Somebody wrote this: it is there, or put together with the other's, or its path is said.
                assert path in found or any(path.startswith(one + b"/") for one in named)
                if path in found and left.get(path) in (state, old.get(path)):
                    assert found[path] == state


def test_two_branches_of_a_project(tmp_path: Path) -> None:
    sides = {}
    with Store(tmp_path / "store.db", durable=False) as store:
        for name in ("base", "ours", "theirs"):
            folder = tmp_path / name
            (folder / "src").mkdir(parents=True)
            (folder / "src" / "main.py").write_text("import os\n\n\ndef main():\n    pass\n\n\nmain()\n")
            (folder / "rules.txt").write_text("one\ntwo\nthree\n")
            (folder / "old.txt").write_text("old\n")
            (folder / "run.sh").write_text("true\n")
            sides[name] = folder
        ours, theirs = sides["ours"], sides["theirs"]
        (ours / "src" / "main.py").write_text("import os\nimport sys\n\n\ndef main():\n    pass\n\n\nmain()\n")
        (theirs / "src" / "main.py").write_text("import os\n\n\ndef main():\n    pass\n\n\nmain()\nprint()\n")
        (ours / "rules.txt").write_text("one\nTWO\nthree\n")
        (theirs / "rules.txt").write_text("one\n2\nthree\n")
        (ours / "new.txt").write_text("new\n")
        (theirs / "old.txt").unlink()
        (ours / "run.sh").write_text("false\n")
        (theirs / "run.sh").chmod(0o755)
        tree, clashes = merge_trees(store, *(keep(store, sides[name]) for name in ("base", "ours", "theirs")))
        restore_tree(store, tmp_path / "merged", tree)
        found = picture(tmp_path / "merged")
        text = b"import os\nimport sys\n\n\ndef main():\n    pass\n\n\nmain()\nprint()\n"
        assert found["src/main.py"] == (0o644, text)
        assert (found["run.sh"], found["new.txt"]) == ((0o755, b"false\n"), (0o644, b"new\n"))
        assert "old.txt" not in found
        assert [clash.path for clash in clashes] == [b"rules.txt"]
        assert clashes[0].merged is not None
        assert b"TWO\n=======\n2\n" in clashes[0].merged.marked()
        assert found["rules.txt"] == (0o644, b"one\nTWO\nthree\n")


def test_a_tree_is_changed_without_touching_a_file(tmp_path: Path) -> None:
    make(tmp_path / "t", {b"a": ("file", b"a", 0o644), b"d": {b"x": ("file", b"x", 0o600), b"y": ("link", b"x", 0)}})
    with Store(tmp_path / "store.db", durable=False) as store:
        tree = keep(store, tmp_path / "t")
        state = dict(walk(store, tree))[b"a"]
        now = dict(walk(store, changed(store, tree, {b"d/x": None, b"d/n/m": state, b"a": None})))
        assert sorted(now) == [b"d", b"d/n", b"d/n/m", b"d/y"]
        assert now[b"d/n/m"] == state
        assert sorted(dict(walk(store, changed(store, tree, {b"d": None, b"d/x": None})))) == [b"a", b"d", b"d/y"]
        assert sorted(dict(walk(store, changed(store, tree, {b"d": None, b"d/x": None, b"d/y": None})))) == [b"a"]
        with pytest.raises(StoreError, match="file and hold files"):
            changed(store, tree, {b"a/b": state})
