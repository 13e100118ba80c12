"""A folder becomes a tree and a tree a folder again: the identity on bytes, modes, links and names."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from autopilot_runtime.core.errors import ObjectDamaged, StoreError
from autopilot_runtime.store import refs
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.restore import restore, restore_tree
from autopilot_runtime.store.rules import Rules, TooLarge
from autopilot_runtime.store.snapshot import Snapshotter
from autopilot_runtime.store.tree import State, bare, difference, encode, find, walk
from autopilot_runtime.store.upkeep import check, collect
from tests.ordinary import as_an_ordinary_user
from tests.store.trees import FOLDERS, make, picture, plant


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.db")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_snapshot_and_restore_are_the_identity(store: Store, work: Path, tmp_path: Path) -> None:
    plant(work)
    tree = Snapshotter(store, work).take().tree
    restore_tree(store, tmp_path / "copy", tree)
    assert picture(tmp_path / "copy") == picture(work)
    assert Snapshotter(store, tmp_path / "copy").take().tree == tree


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=FOLDERS, second=FOLDERS)
def test_any_folder_becomes_any_other(
    tmp_path_factory: pytest.TempPathFactory, first: dict[bytes, Any], second: dict[bytes, Any]
) -> None:
    base = tmp_path_factory.mktemp("t")
    make(base / "one", first)
    make(base / "two", second)
    with Store(base / "store.db", durable=False) as store:
        one, two = (Snapshotter(store, base / name).take().tree for name in ("one", "two"))
        restore_tree(store, base / "one", two, durable=False)
        assert picture(base / "one") == picture(base / "two")
        restore_tree(store, base / "one", one, durable=False)
        assert Snapshotter(store, base / "one").take().tree == one
        restore_tree(store, base / "new", one, durable=False)
        assert picture(base / "new") == picture(base / "one")
        assert check(store) == []


def test_what_did_not_change_is_not_read_again(store: Store, work: Path) -> None:
    plant(work)
    taker = Snapshotter(store, work)
    first = taker.take()
    assert first.read == 7
    limit = time.monotonic() + 10
    while taker.take().read:  # what is younger than a tick of the clock is looked at until it rests
        assert time.monotonic() < limit
    assert Snapshotter(store, work).take().read == 0
    (work / "a.txt").write_bytes(b"changed")
    again = taker.take()
    assert (again.read, again.files) == (1, first.files)
    assert store.get(find(store, again.tree, b"a.txt").digest) == b"changed"  # type: ignore[union-attr]


def test_a_change_within_one_tick_of_the_clock_is_seen(store: Store, work: Path) -> None:
    taker = Snapshotter(store, work)
    for number in range(30):
        (work / "a").write_bytes(b"%02d" % number)
        tree = taker.take().tree
        assert store.get(find(store, tree, b"a").digest) == b"%02d" % number  # type: ignore[union-attr]


def test_a_file_that_is_written_all_the_time_is_kept_as_it_was_read(store: Store, work: Path) -> None:
    stop = Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            (work / "log").write_bytes(b"%08d\n" % number * 2_000)

    thread = Thread(target=write)
    thread.start()
    try:
        for _ in range(15):
            tree = Snapshotter(store, work).take().tree
            if find(store, tree, b"log") is not None:
                store.get(find(store, tree, b"log").digest)  # type: ignore[union-attr]
    finally:
        stop.set()
        thread.join()
    assert check(store) == []


def test_renames_modes_and_deletions_are_differences(store: Store, work: Path) -> None:
    plant(work)
    taker = Snapshotter(store, work)
    before = taker.take().tree
    (work / "a.txt").rename(work / "b.txt")
    (work / "run.sh").chmod(0o700)
    (work / "zero").unlink()
    (work / "sub").chmod(0o755)
    os.utime(work / "read only", (1, 1))
    found = difference(store, before, taker.take().tree)
    assert sorted(found) == [b"a.txt", b"b.txt", b"run.sh", b"sub", b"zero"]
    assert found[b"a.txt"] == (found[b"b.txt"][1], None)
    assert found[b"sub"] == (bare(0o750), bare(0o755))


def test_what_the_rules_leave_out_is_neither_kept_nor_removed(store: Store, work: Path) -> None:
    for folder in ("src", ".git", "node_modules", "venv", "cache", "src/__pycache__", "mine"):
        (work / folder).mkdir(parents=True)
        (work / folder / "f").write_text(folder)
    (work / "venv" / "pyvenv.cfg").write_text("")
    (work / "cache" / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    (work / "src" / ".git").write_text("gitdir: elsewhere")
    rules = Rules(names=frozenset({".git", "node_modules", "__pycache__"}), paths=frozenset({b"mine"}), derived=True)
    tree = Snapshotter(store, work, rules).take().tree
    assert {path for path, _ in walk(store, tree)} == {b"src", b"src/f"}
    (work / "src" / "f").write_text("changed")
    (work / "more").write_text("x")
    assert restore_tree(store, work, tree, rules=rules) == [b"more", b"src/f"]
    assert (work / ".git" / "f").exists() and (work / "src" / ".git").exists() and not (work / "more").exists()


def test_special_and_huge_files_are_counted_and_left_alone(store: Store, work: Path) -> None:
    os.mkfifo(work / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(work / "sock"))
        (work / "huge").write_bytes(b"x" * 2_000)
        rules = Rules(max_file=1_000)
        taker = Snapshotter(store, work, rules)
        taken = taker.take()
        assert taken.left == 3 and taker.take().left == 3
        (work / "small").write_text("s")
        assert restore_tree(store, work, taken.tree, rules=rules) == [b"small"]
        with pytest.raises(StoreError, match="its content was not kept"):
            restore(store, work, {b"huge": find(store, taken.tree, b"huge")})


def test_a_folder_over_the_limits_is_refused(store: Store, work: Path) -> None:
    for n in range(12):
        (work / str(n)).write_bytes(b"x" * 100)
    with pytest.raises(TooLarge, match="more than 10 files"):
        Snapshotter(store, work, Rules(max_files=10)).take()
    with pytest.raises(TooLarge, match="MB"):
        Snapshotter(store, work, Rules(max_bytes=1_000)).take()


def test_a_restore_never_goes_through_a_link(store: Store, work: Path, tmp_path: Path) -> None:
    (work / "sub").mkdir()
    (work / "sub" / "f").write_text("inside")
    tree = Snapshotter(store, work).take().tree
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("precious")
    shutil.rmtree(work / "sub")
    (work / "sub").symlink_to(outside)
    restore_tree(store, work, tree)
    assert (outside / "f").read_text() == "precious" and not (work / "sub").is_symlink()
    shutil.rmtree(work / "sub")
    (work / "sub").symlink_to(outside)
    with pytest.raises(StoreError, match="the folder it was in"):
        restore(store, work, {b"sub/f": find(store, tree, b"sub/f")})
    assert (outside / "f").read_text() == "precious"


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b"])
def test_a_tree_with_a_name_that_leads_elsewhere_is_refused(store: Store, work: Path, name: bytes) -> None:
    head = State("file", 0o644, 1, store.put(b"x")).head
    tree = store.put(encode([(name, head)]))
    with pytest.raises(ObjectDamaged):
        restore_tree(store, work, tree)
    assert list(work.iterdir()) == []


def test_a_damaged_content_stops_a_restore_before_anything_is_touched(store: Store, work: Path) -> None:
    plant(work)
    tree = Snapshotter(store, work).take().tree
    (work / "a.txt").write_text("changed")
    (work / "run.sh").write_text("changed")
    now = picture(work)
    with store.transaction() as link:
        link.execute("UPDATE objects SET data = x'00' WHERE digest = ?", (find(store, tree, b"run.sh").digest,))  # type: ignore[union-attr]
    with pytest.raises(ObjectDamaged):
        restore_tree(store, work, tree)
    assert picture(work) == now


def test_an_ordinary_user_restores_folders_that_may_not_be_changed() -> None:
    with as_an_ordinary_user(), tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "w"
        work.mkdir()
        plant(work)
        with Store(Path(folder) / "s" / "store.db") as store:
            tree, before = Snapshotter(store, work).take().tree, picture(work)
            (work / "locked").chmod(0o755)
            (work / "locked" / "x").write_text("changed")
            (work / "locked" / "y").write_text("new")
            (work / "locked").chmod(0o500)
            restore_tree(store, work, tree)
            assert picture(work) == before
            (work / "locked").chmod(0o755)


def test_old_contents_go_and_the_newest_stay(store: Store, work: Path, tmp_path: Path) -> None:
    plant(work)
    taker = Snapshotter(store, work)
    taker.take(lambda tree: refs.point(store, "last", tree))
    (work / "a.txt").write_text("newer")
    newest = taker.take(lambda tree: refs.point(store, "last", tree)).tree
    before = picture(work)
    refs.drop(store, "last", keep=1)
    assert collect(store) > 0 and check(store) == []
    assert taker.take().tree == newest
    restore_tree(store, tmp_path / "copy", newest)
    assert picture(tmp_path / "copy") == before


def test_what_was_thrown_away_meanwhile_is_read_again(store: Store, work: Path) -> None:
    plant(work)
    taker = Snapshotter(store, work)
    taker.take()
    other = Store(store.path)
    assert collect(other) > 0
    taken = taker.take(lambda tree: refs.point(store, "x", tree))
    assert taken.read == 7 and check(store) == []
