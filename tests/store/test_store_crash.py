"""kill -9, two processes at once, a full disk: a snapshot is complete or absent, and a restore all or nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store import refs
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.restore import restore_tree
from autopilot_runtime.store.snapshot import Snapshotter
from autopilot_runtime.store.upkeep import check, collect
from tests.store.trees import picture, plant

ROOT = Path(__file__).parents[2]


def begin(code: str, *args: object) -> subprocess.Popen[str]:
    """A process of its own that uses the store; it writes a line when something is done."""
    head = "import os, sys\nfrom autopilot_runtime.store import refs\n"
    head += "from autopilot_runtime.store.objects import Store\nfrom autopilot_runtime.store.upkeep import collect\n"
    head += "from autopilot_runtime.store.snapshot import Snapshotter\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(code), *map(str, args)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


SNAPSHOTS = """
    store, root = Store(sys.argv[1]), sys.argv[2]
    taker = Snapshotter(store, root)
    for number in range(int(sys.argv[3])):
        for name in range(40):
            with open(f"{root}/{name}", "wb") as file:
                file.write(b"%d %d\\n" % (number, name) * 500)
        taker.take(lambda tree: refs.point(store, root, tree))
        if number % 7 == 6:
            refs.drop(store, root, keep=2)
            collect(store)
        print(number, flush=True)
"""


@pytest.mark.parametrize("lines", [0, 1, 2, 5, 9])
def test_a_killed_snapshot_is_complete_or_absent(tmp_path: Path, lines: int) -> None:
    work = tmp_path / "work"
    work.mkdir()
    plant(work)
    with Store(tmp_path / "store.db") as store:
        Snapshotter(store, work).take(lambda tree: refs.point(store, "first", tree))
        first = picture(work)
    child = begin(SNAPSHOTS, tmp_path / "store.db", work, 1_000)
    assert child.stdout is not None
    for _ in range(lines):
        child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    with Store(tmp_path / "store.db") as store:
        assert check(store) == []
        done = refs.history(store, str(work))
        assert len(done) >= min(lines, 2)
        for ref in done[:2]:
            restore_tree(store, tmp_path / "copy", ref.digest)
            texts = {(tmp_path / "copy" / str(name)).read_bytes().split()[0] for name in range(40)}
            assert len(texts) == 1
        restore_tree(store, work, refs.current(store, "first").digest)  # type: ignore[union-attr]
        assert picture(work) == first


def test_two_processes_share_one_store(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    children = [begin(SNAPSHOTS, tmp_path / "store.db", tmp_path / name, 30) for name in ("one", "two")]
    for child in children:
        out, _ = child.communicate(timeout=120)
        assert (child.returncode, out.split()[-1]) == (0, "29")
    with Store(tmp_path / "store.db") as store:
        assert check(store) == []
        assert {len(refs.history(store, str(tmp_path / name))) for name in ("one", "two")} == {4}


def test_a_full_disk_in_the_middle_of_a_snapshot_leaves_the_earlier_ones(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    plant(work)
    with Store(tmp_path / "store.db") as store:
        tree = Snapshotter(store, work).take(lambda t: refs.point(store, "first", t)).tree
        before = picture(work)
        for number in range(50):
            (work / f"new{number}").write_bytes(os.urandom(20_000))
        store.rows(f"PRAGMA max_page_count = {store.rows('PRAGMA page_count')[0][0] + 20}")
        with pytest.raises(StoreError, match="the disk is full"):
            Snapshotter(store, work).take(lambda t: refs.point(store, "second", t))
        assert check(store) == [] and refs.current(store, "second") is None
        store.rows("PRAGMA max_page_count = 1000000")
        restore_tree(store, work, tree)
        assert picture(work) == before and collect(store) > 0


def test_a_restore_for_which_there_is_no_room_changes_nothing(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "a").write_bytes(b"old")
    (work / "big").write_bytes(os.urandom(200_000))
    with Store(tmp_path / "store.db") as store:
        tree = Snapshotter(store, work).take(lambda t: refs.point(store, "x", t)).tree
    (work / "a").write_bytes(b"new")
    (work / "big").write_bytes(b"small")
    code = """
        import resource, signal
        from autopilot_runtime.store.restore import restore
        from autopilot_runtime.store.tree import find
        store = Store(sys.argv[1])
        tree = bytes.fromhex(sys.argv[3])
        wanted = {name: find(store, tree, name) for name in (b"a", b"big")}
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            restore(store, sys.argv[2], wanted)
        except Exception as error:
            print(error)
    """
    child = begin(code, tmp_path / "store.db", work, tree.hex())
    out, _ = child.communicate(timeout=60)
    assert "big cannot be restored" in out and "Nothing was changed" in out
    assert {path.name: path.read_bytes() for path in work.iterdir()} == {"a": b"new", "big": b"small"}
