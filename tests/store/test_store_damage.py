"""Whatever byte of the file is flipped: what is given is what was put in, and what cannot be given is found."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store import refs
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.snapshot import Snapshotter
from autopilot_runtime.store.tree import walk
from autopilot_runtime.store.upkeep import check
from tests.store.trees import plant


@pytest.fixture
def kept(tmp_path: Path) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """The bytes of a store, what is in it, and the tree that leads to all of it."""
    plant(tmp_path / "work")
    for number in range(40):
        (tmp_path / "work" / f"text {number}").write_text(f"line {number}\n" * 50)
    with Store(tmp_path / "store.db") as store:
        tree = Snapshotter(store, tmp_path / "work", remember=False).take(lambda t: refs.point(store, "best", t)).tree
        digests = {state.digest for _, state in walk(store, tree)} | {tree}
        contents = store.get_all(list(digests))
        store.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    return (tmp_path / "store.db").read_bytes(), contents, tree


@pytest.mark.parametrize("part", range(4))
def test_a_flipped_byte_is_found_and_never_given(
    tmp_path: Path, kept: tuple[bytes, dict[bytes, bytes], bytes], part: int
) -> None:
    data, contents, tree = kept
    dice, lost = random.Random(part), 0
    path = tmp_path / "damaged" / "store.db"
    path.parent.mkdir()
    for _ in range(60):
        at = dice.randrange(len(data))
        for left in path.parent.iterdir():
            left.unlink()
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :])
        with contextlib.suppress(StoreError), Store(path) as store:
            missing = set()
            for digest, content in contents.items():
                try:
                    assert store.get(digest) == content
                except StoreError:
                    missing.add(digest)
            lost += bool(missing)
            if missing:
                found = {fault.digest for fault in check(store)}
                # A page that cannot be read is one error for the whole check; it ends the block above. What nothing
                # leads to any more is not missed.
                now = refs.current(store, "best")
                assert missing <= found or now is None or now.digest != tree, at
    assert lost > 0


def test_what_was_cut_off_is_found(tmp_path: Path, kept: tuple[bytes, dict[bytes, bytes], bytes]) -> None:
    data, contents, _ = kept
    for pages in (1, 3, 10):
        path = tmp_path / f"cut{pages}" / "store.db"
        path.parent.mkdir()
        path.write_bytes(data[: -4096 * pages])
        with pytest.raises(StoreError), Store(path) as store:
            for digest, content in contents.items():
                assert store.get(digest) == content
