"""Named pointers to contents, with their history; and pins, which keep contents without a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from autopilot_runtime.core.errors import StoreConflict
from autopilot_runtime.store.objects import Store

Pointed = Literal["tree", "blob"]


class Ref(NamedTuple):
    """Where a name pointed from `at` on, and why."""

    name: str
    digest: bytes
    kind: Pointed
    note: str
    at: float


def point(
    store: Store, name: str, digest: bytes, *, kind: Pointed = "tree", note: str = "", expect: bytes | None = b""
) -> Ref:
    """Let `name` point to a content. With `expect` (None: it must be new), only if it points there until now."""
    with store.transaction() as link:
        if expect != b"":
            now = current(store, name)
            if (now.digest if now else None) != expect:
                raise StoreConflict(f"{name!r} in {store.path} was moved by somebody else; nothing was changed.")
        ref = Ref(name, digest, kind, note, store.clock())
        link.execute(
            "INSERT INTO refs (name, digest, kind, note, at) VALUES (?, ?, ?, ?, ?)",
            (ref.name, ref.digest, ref.kind, ref.note, ref.at),
        )
    return ref


def current(store: Store, name: str) -> Ref | None:
    """Where `name` points."""
    found = history(store, name, limit=1)
    return found[0] if found else None


def history(store: Store, name: str, *, limit: int = -1) -> list[Ref]:
    """Where `name` has pointed, newest first."""
    question = "SELECT name, digest, kind, note, at FROM refs WHERE name = ? ORDER BY id DESC LIMIT ?"
    return [Ref(*row) for row in store.rows(question, (name, limit))]


def names(store: Store, prefix: str = "") -> list[str]:
    """The names that begin so."""
    question = "SELECT DISTINCT name FROM refs WHERE substr(name, 1, ?) = ? ORDER BY name"
    return [row[0] for row in store.rows(question, (len(prefix), prefix))]


def drop(store: Store, name: str, *, keep: int = 0) -> None:
    """Forget a name, or all but the newest `keep` places it pointed to."""
    with store.transaction() as link:
        link.execute(
            "DELETE FROM refs WHERE name = ? AND id NOT IN "
            "(SELECT id FROM refs WHERE name = ? ORDER BY id DESC LIMIT ?)",
            (name, name, keep),
        )


def pin(store: Store, owner: str, digests: Iterable[tuple[bytes, Pointed]]) -> None:
    """Keep contents for as long as `owner` wants them."""
    with store.transaction() as link:
        link.executemany("INSERT OR IGNORE INTO pins VALUES (?, ?, ?)", [(owner, *one) for one in digests])


def unpin(store: Store, owner: str) -> None:
    """`owner` needs its contents no more."""
    with store.transaction() as link:
        link.execute("DELETE FROM pins WHERE owner = ?", (owner,))
