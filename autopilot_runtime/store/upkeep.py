"""Looking after a store: finding what is damaged, and throwing away what nothing leads to any more."""

from __future__ import annotations

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
    faults = [Fault(digest, "missing", owner) for digest, owner in missing.items() if not store.has(digest)]
    after = 0
    while rows := store.rows(
        "SELECT id, digest, size, packed, data FROM objects WHERE id > ? ORDER BY id LIMIT 100", (after,)
    ):
        for number, digest, size, packed, data in rows:
            whole = unpacked(size, packed, data)
            if whole is None or digest_of(whole) != digest:
                faults.append(Fault(digest, "damaged", reached.get(digest, "")))
            after = number
    return faults


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
