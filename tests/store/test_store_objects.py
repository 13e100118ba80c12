"""Contents by digest: what comes out is what went in, or an error that names it."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot_runtime.core.errors import ObjectDamaged, StoreConflict, StoreError
from autopilot_runtime.store import refs
from autopilot_runtime.store.objects import Store, digest_of
from autopilot_runtime.store.upkeep import check, collect


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "kept" / "store.db")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=400), st.text(max_size=400).map(lambda t: t.encode() * 40)), max_size=8))
def test_what_comes_out_is_what_went_in(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    with Store(tmp_path_factory.mktemp("s") / "store.db") as store:
        digests = [store.put(data) for data in contents]
        assert [store.get(digest) for digest in digests] == contents
        assert store.get_all(digests) == dict(zip(digests, contents, strict=True))


def test_the_file_is_for_its_owner_alone(store: Store) -> None:
    store.put(b"x" * 10_000)
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in store.path.parent.iterdir()} == {0o600}


def test_content_that_packs_is_packed(store: Store) -> None:
    digest = store.put(b"line\n" * 100_000)
    size = store.rows("SELECT length(data) FROM objects WHERE digest = ?", (digest,))[0][0]
    assert size < 10_000


@pytest.mark.parametrize(
    "change", ["data = x'00'", "data = substr(data, 1, length(data) - 3)", "size = 3, packed = 1"]
)
def test_a_damaged_content_is_named_and_never_given(store: Store, change: str) -> None:
    digest = store.put(b"precious " * 100)
    refs.point(store, "best", digest, kind="blob")
    with store.transaction() as link:
        link.execute(f"UPDATE objects SET {change} WHERE digest = ?", (digest,))
    with pytest.raises(ObjectDamaged, match=digest.hex()):
        store.get(digest)
    assert [(fault.digest, fault.what, fault.needed_by) for fault in check(store)] == [(digest, "damaged", "best")]


def test_a_content_that_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(ObjectDamaged, match="has no object 0000"):
        store.get(bytes(32))


def test_a_transaction_is_kept_whole_or_not_at_all(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        kept = store.put(b"inside")
        refs.point(store, "name", kept)
        _ = 1 / 0
    assert not store.has(digest_of(b"inside")) and refs.current(store, "name") is None
    store.put(b"after")
    assert store.has(digest_of(b"after"))


def test_a_full_disk_changes_nothing_and_is_called_that(store: Store) -> None:
    kept = store.put(b"kept " * 1_000)
    pages = store.rows("PRAGMA page_count")[0][0]
    store.rows(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match=r"the disk is full.*intact"):
        store.put(os.urandom(1_000_000))
    assert store.get(kept) == b"kept " * 1_000 and check(store) == []
    store.rows("PRAGMA max_page_count = 1000000")
    store.put(os.urandom(1_000_000))


def test_refs_have_a_history_and_move_only_from_where_they_were(store: Store) -> None:
    one, two = store.put(b"1"), store.put(b"2")
    refs.point(store, "best", one, kind="blob", note="first", expect=None)
    refs.point(store, "best", two, kind="blob", note="better", expect=one)
    assert [(ref.digest, ref.note) for ref in refs.history(store, "best")] == [(two, "better"), (one, "first")]
    with pytest.raises(StoreConflict, match="best"):
        refs.point(store, "best", one, expect=one)
    with pytest.raises(StoreConflict):
        refs.point(store, "best", one, expect=None)
    assert refs.current(store, "best").digest == two  # type: ignore[union-attr]
    assert refs.names(store, "be") == ["best"]
    refs.drop(store, "best", keep=1)
    assert len(refs.history(store, "best")) == 1


def test_what_nothing_leads_to_goes(store: Store) -> None:
    named, pinned, lost = store.put(b"named"), store.put(b"pinned"), store.put(b"lost")
    refs.point(store, "n", named, kind="blob")
    refs.pin(store, "run", [(pinned, "blob")])
    before = store.generation
    assert collect(store) == 1
    assert store.has(named) and store.has(pinned) and not store.has(lost)
    assert store.generation == before + 1
    refs.unpin(store, "run")
    refs.drop(store, "n")
    assert collect(store) == 2


def test_a_file_that_is_no_store_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match=r"damaged.*Move it away"):
        Store(tmp_path / "x.db")


def test_a_store_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    Store(tmp_path / "x.db").close()
    link = sqlite3.connect(tmp_path / "x.db")
    link.execute("PRAGMA user_version = 99")
    link.close()
    with pytest.raises(StoreError, match="newer release"):
        Store(tmp_path / "x.db")


def test_many_threads_share_one_store(store: Store) -> None:
    def work(number: int) -> None:
        for n in range(20):
            digest = store.put(b"%d %d" % (number % 3, n))
            refs.point(store, f"t{number}", digest, kind="blob")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(refs.history(store, f"t{n}")) == 20 for n in range(6))
    assert check(store) == []
