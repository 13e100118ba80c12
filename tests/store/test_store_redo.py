"""A restore that is killed at any instant is finished by the next look, and what people did meanwhile stays."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.redo import finish
from autopilot_runtime.store.restore import clear_scratch, restore, restore_tree
from autopilot_runtime.store.rules import SCRATCH
from autopilot_runtime.store.snapshot import Snapshotter
from autopilot_runtime.store.tree import difference
from autopilot_runtime.training.pathparameter import PathParameter
from tests.store.trees import picture, plant

ROOT = Path(__file__).parents[2]

# Children of one process, each killed by itself before its n-th call that changes a file.
KILLED = """
    import os, pathlib, shutil, signal, sys
    from autopilot_runtime.store.objects import Store
    from autopilot_runtime.store.redo import finish
    from autopilot_runtime.store.restore import restore, restore_tree
    from autopilot_runtime.store.tree import difference
    sys.path.insert(0, sys.argv[1])
    from tests.store.trees import picture
    base, old, new = pathlib.Path(sys.argv[2]), bytes.fromhex(sys.argv[3]), bytes.fromhex(sys.argv[4])
    CALLS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.symlink", "open"}
    store = Store(base / "store.db", durable=False)
    changes = {path: after for path, (_, after) in difference(store, old, new).items()}
    store.close()
    pictures = {name: picture(base / name) for name in ("old", "new")}

    def child(last):
        count = 0
        def hook(event, _):
            nonlocal count
            if event in CALLS:
                count += 1
                if count == last:
                    os.kill(os.getpid(), signal.SIGKILL)
        store = Store(base / "store.db", durable=False)
        sys.addaudithook(hook)
        restore(store, base / "work", changes, redo=True)
        os._exit(0)

    last, ends = 0, set()
    while True:
        last += 1
        pid = os.fork()
        if pid == 0:
            child(last)
        _, status = os.waitpid(pid, 0)
        between = {key: one for key, one in picture(base / "work").items() if not key.startswith(".autopilot-")}
        finish(base / "work")
        after = picture(base / "work")
        ends |= {(between in pictures.values(), name) for name, one in pictures.items() if one == after}
        assert after in pictures.values(), (last, sorted(set(after.items()) ^ set(pictures["new"].items()), key=repr))
        assert status or after == pictures["new"]
        if not status:
            break
        with Store(base / "store.db", durable=False) as store:
            restore_tree(store, base / "work", old, durable=False)
        assert picture(base / "work") == pictures["old"]
    print(last, (False, "new") in ends, (True, "old") in ends)
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Two states of a folder, and a folder that is in the first."""
    plant(tmp_path / "old")
    plant(tmp_path / "new")
    new = tmp_path / "new"
    (new / "a.txt").write_text("new\n")
    (new / "zero").unlink()
    (new / "zero").mkdir(mode=0o711)
    (new / "zero" / "in").write_text("in\n")
    (new / "link").unlink()
    (new / "locked").chmod(0o755)
    (new / "locked" / "x").write_text("y\n")
    (new / "locked").chmod(0o555)
    (new / "sub" / "empty").rmdir()
    (new / "sub" / "empty").write_text("a file where a folder was\n")
    (new / "sub" / "big.bin").unlink()
    plant(tmp_path / "work")
    return tmp_path


def states(base: Path) -> tuple[bytes, bytes]:
    with Store(base / "store.db", durable=False) as store:
        return Snapshotter(store, base / "old").take().tree, Snapshotter(store, base / "new").take().tree


def test_a_restore_killed_at_any_instant_is_finished_or_has_touched_nothing(base: Path) -> None:
    old, new = states(base)
    code = textwrap.dedent(KILLED)
    done = subprocess.run(
        [sys.executable, "-c", code, ROOT, base, old.hex(), new.hex()],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    calls, was_mixed, was_untouched = done.stdout.split()
    assert int(calls) > 20
    assert (was_mixed, was_untouched) == ("True", "True")


def cut_off(base: Path) -> None:
    """A restore whose process ends when everything is ready and nothing is in place."""
    old, new = states(base)
    code = f"""
        import os
        from autopilot_runtime.store.objects import Store
        from autopilot_runtime.store.place import Placer
        from autopilot_runtime.store.restore import restore
        from autopilot_runtime.store.tree import difference
        Placer.apply = lambda *_: os._exit(9)
        store = Store({str(base / "store.db")!r})
        changes = difference(store, bytes.fromhex({old.hex()!r}), bytes.fromhex({new.hex()!r}))
        restore(store, {str(base / "work")!r}, {{path: after for path, (_, after) in changes.items()}}, redo=True)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, check=False)
    assert done.returncode == 9


def test_what_was_changed_after_the_kill_stays(base: Path) -> None:
    cut_off(base)
    (base / "work" / "a.txt").write_text("a person's\n")
    (base / "work" / "sub" / "big.bin").write_text("a person's\n")
    assert finish(base / "work") == 1
    assert (base / "work" / "a.txt").read_text() == "a person's\n"
    assert (base / "work" / "sub" / "big.bin").read_text() == "a person's\n"
    assert (base / "work" / "zero" / "in").read_text() == "in\n"
    assert [path for path in (base / "work").iterdir() if path.name.startswith(SCRATCH)] == []
    assert finish(base / "work") == 0


def test_a_parameter_never_holds_half_of_a_restore(base: Path) -> None:
    cut_off(base)
    assert PathParameter(base / "work").digest == states(base)[1].hex()
    assert picture(base / "work") == picture(base / "new")


def test_who_clears_up_finishes_it_too(base: Path) -> None:
    cut_off(base)
    clear_scratch(base / "work")
    assert picture(base / "work") == picture(base / "new")


def test_a_restore_at_work_is_left_alone(base: Path) -> None:
    """Here it waits for a content that comes late; whoever looks meanwhile sees its scratch, and does nothing."""
    old, new = states(base)
    with Store(base / "store.db", durable=False) as store:

        class Late:
            """The store, asked while others look."""

            def get(self, digest: bytes) -> bytes:
                return store.get(digest)

            def get_all(self, digests: list[bytes]) -> dict[bytes, bytes]:
                assert any(path.name.startswith(SCRATCH) for path in (base / "work").iterdir())
                assert finish(base / "work") == 0
                clear_scratch(base / "work")
                return store.get_all(digests)

        changes = {path: after for path, (_, after) in difference(store, old, new).items()}
        restore(Late(), base / "work", changes, redo=True)
    assert picture(base / "work") == picture(base / "new")


def test_a_full_disk_on_the_way_leaves_nothing_half(base: Path) -> None:
    old, new = states(base)
    before = picture(base / "work")
    with Store(base / "store.db", durable=False) as store:

        class Full:
            """The disk is full when the second portion is written."""

            def get(self, digest: bytes) -> bytes:
                return store.get(digest)

            def get_all(self, digests: list[bytes]) -> dict[bytes, bytes]:
                raise StoreError("the disk is full")

        changes = {path: after for path, (_, after) in difference(store, old, new).items()}
        with pytest.raises(StoreError, match="full"):
            restore(Full(), base / "work", changes, redo=True)
        assert picture(base / "work") == before
        restore_tree(store, base / "work", new, durable=False)
    assert picture(base / "work") == picture(base / "new")
