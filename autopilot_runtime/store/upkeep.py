"""Looking after a store: finding what is damaged, and throwing away what nothing leads to any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autopilot_runtime.core.errors import ObjectDamaged
from autopilot_runtime.store.objects import Store, digest_of, unpacked
from autopilot_runtime.store.tree import entries


@dataclass(frozen=True, slots=True)
class Fault:
    """An object that cannot be given back, and what still leads to it ("" when nothing does)."""

    digest: bytes
    what: str
    needed_by: str = ""


def check(store: Store) -> list[Fault]:
    """Every object that is damaged or missing. Changes nothing."""
    reached, missing = _reached(store, strict=False)
    faults = {digest: Fault(digest, "missing", owner) for digest, owner in missing.items() if not store.has(digest)}
    rows: dict[bytes, int] = {}
    for number, digest, whole in _all(store):
        rows[digest] = number
        if whole is None or digest_of(whole) != digest:
            faults[digest] = Fault(digest, "damaged", reached.get(digest, ""))
    if not _is_found(store, rows):
        # What is looked for by its name may then not be found, though it is there.
        for digest, owner in reached.items():
            if digest not in faults and not _is_given(store, digest):
                faults[digest] = Fault(digest, "not found by its name", owner)
    return list(faults.values())


def _all(store: Store) -> Iterator[tuple[int, bytes, bytes | None]]:
    """Number, digest and content of every object, some at a time; no content for one that cannot be read."""
    question = (
        "SELECT id, CAST(digest AS BLOB), size, packed, CAST(data AS BLOB) FROM objects WHERE id > ? "
        "ORDER BY id LIMIT 100"
    )
    after = -1
    while rows := store.rows(question, (after,)):
        for number, digest, size, packed, data in rows:
            yield number, digest or b"", unpacked(size, packed, data)
            after = number


def _is_found(store: Store, rows: dict[bytes, int]) -> bool:
    """Whether the index of the digests says of each object where it is, in their order."""
    last = b""
    for digest, number in store.rows("SELECT CAST(digest AS BLOB), id FROM objects ORDER BY digest"):
        if digest is None or digest <= last or rows.pop(digest, None) != number:
            return False
        last = digest
    return not rows


def _is_given(store: Store, digest: bytes) -> bool:
    try:
        store.get(digest)
    except ObjectDamaged:
        return False
    return True


def collect(store: Store) -> int:
    """Throw away what no ref and no pin leads to; gives how many objects went. A damaged tree stops it."""
    with store.transaction() as link:
        reached, _ = _reached(store, strict=True)
        link.execute("CREATE TEMP TABLE IF NOT EXISTS reached (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        link.execute("DELETE FROM reached")
        link.executemany("INSERT INTO reached VALUES (?)", [(digest,) for digest in reached])
        gone = link.execute("DELETE FROM objects WHERE digest NOT IN (SELECT digest FROM reached)").rowcount
        if gone:
            # Who remembers files by their stamps must not count on contents that are no more.
            link.execute("DELETE FROM stats WHERE tree NOT IN (SELECT digest FROM reached)")
            link.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
        link.execute("DELETE FROM reached")
    store.rows("PRAGMA incremental_vacuum")
    return int(gone)


def _reached(store: Store, *, strict: bool) -> tuple[dict[bytes, str], dict[bytes, str]]:
    """What the refs and pins lead to, with one who needs it; and what could not be read on the way."""
    reached: dict[bytes, str] = {}
    broken: dict[bytes, str] = {}
    trees: set[bytes] = set()  # apart: a file may hold the bytes of a tree
    roots = store.rows("SELECT digest, kind, name FROM refs UNION SELECT digest, kind, owner FROM pins")
    for digest, kind, name in roots:
        if not store.has(digest):
            broken[digest] = name
        elif kind == "tree":
            _descend(store, digest, name, trees, reached, None if strict else broken)
        reached.setdefault(digest, name)
    return reached, broken


def _descend(
    store: Store,
    tree: bytes,
    owner: str,
    trees: set[bytes],
    reached: dict[bytes, str],
    broken: dict[bytes, str] | None,
) -> None:
    """Everything below a tree. With `broken`, what cannot be read is put there; without, it is an error."""
    waiting = [tree]
    while waiting:
        digest = waiting.pop()
        if digest in trees:
            continue
        trees.add(digest)
        reached.setdefault(digest, owner)
        try:
            held = entries(store, digest)
        except ObjectDamaged:
            if broken is None:
                raise
            broken[digest] = owner
            continue
        for state in held.values():
            if state.kind == "folder":
                waiting.append(state.digest)
            elif state.kind != "left" and state.digest not in reached:
                reached[state.digest] = owner
                if broken is not None and not store.has(state.digest):
                    broken[state.digest] = owner
