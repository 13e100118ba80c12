"""Trees changed without touching a file: some paths replaced, or two changes of one tree put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.merge3 import Merged, merge3
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.tree import FOLDER_MODE, Difference, State, bare, difference, encode, entries

Changes = Mapping[bytes, State | None]
_EMPTY = encode([])
_NOTHING = State("file", -1, 0, b"")  # where there was none, or something else


class Clash(NamedTuple):
    """A path that both sides changed, each in its own way. `merged` has the lines where all sides are files."""

    path: bytes
    base: State | None
    ours: State | None
    theirs: State | None
    merged: Merged | None = None


def changed(store: Store, tree: bytes | None, changes: Changes) -> bytes:
    """The tree with these paths as they say (None: gone). A folder that still holds something does not go."""
    found = dict(entries(store, tree)) if tree is not None else {}
    here: dict[bytes, State | None] = {}
    below: dict[bytes, dict[bytes, State | None]] = {}
    for path, state in changes.items():
        name, _, rest = path.partition(b"/")
        if rest:
            below.setdefault(name, {})[rest] = state
        else:
            here[name] = state
    for name in here.keys() | below.keys():
        state = _entry(store, name, found.get(name), here, below.get(name, {}))
        if state is None:
            found.pop(name, None)
        else:
            found[name] = state
    return store.put(encode((name, state.head) for name, state in found.items()))


def _entry(
    store: Store, name: bytes, old: State | None, here: Changes, below: dict[bytes, State | None]
) -> State | None:
    """What one name becomes."""
    wanted = here.get(name, old)
    if wanted is not None and wanted.kind != "folder":
        if any(below.values()):
            raise StoreError(f"{name.decode('utf-8', 'replace')!r} cannot be a file and hold files at once.")
        return wanted
    was = old.digest if old is not None and old.kind == "folder" else None
    inner = changed(store, was, below)
    if wanted is None and store.get(inner) == _EMPTY:
        return None
    mode = wanted.mode if wanted is not None else old.mode if was is not None and old is not None else FOLDER_MODE
    return State("folder", mode, 0, inner)


def merge_trees(store: Store, base: bytes | None, ours: bytes, theirs: bytes) -> tuple[bytes, list[Clash]]:
    """Both changes of a tree: by path, then by line. Of what clashes, the tree has ours, or what was not deleted."""
    mine, other = difference(store, base, ours), difference(store, base, theirs)
    wanted: dict[bytes, State | None] = {}
    clashes: list[Clash] = []
    for path, (was, now) in sorted(other.items()):
        if path not in mine:
            if _in_the_way(path, now, mine):
                clashes.append(Clash(path, was, None, now))
            else:
                wanted[path] = now
            continue
        own = mine[path][1]
        if own == now:
            continue
        both = _both(store, path, was, own, now)
        if isinstance(both, State):
            wanted[path] = both
        else:
            clashes.append(both)
            if own is None and now is not None and not _in_the_way(path, now, mine):
                wanted[path] = now
    return changed(store, ours, wanted), clashes


def _both(store: Store, path: bytes, was: State | None, own: State | None, now: State | None) -> State | Clash:
    """A path that both have changed."""
    if own is None or now is None or own.kind != now.kind or own.kind not in ("file", "folder"):
        return Clash(path, was, own, now)
    before = was if was is not None and was.kind == own.kind else _NOTHING
    mode = _mode(before.mode, own.mode, now.mode)
    if own.kind == "folder":
        return Clash(path, was, own, now) if mode is None else bare(mode)
    text = b"" if before is _NOTHING else store.get(before.digest)
    merged = merge3(text, store.get(own.digest), store.get(now.digest))
    if mode is None or merged.conflicts:
        return Clash(path, was, own, now, merged)
    return State("file", mode, len(merged.data), store.put(merged.data))


def _mode(was: int, own: int, now: int) -> int | None:
    """The mode that one side has set; None when both have, and differ."""
    if own in (was, now):
        return now
    return own if now == was else None


def _in_the_way(path: bytes, now: State | None, mine: Difference) -> bool:
    """Whether what we changed above or below leaves no place for it."""
    above = path
    while now is not None and (above := above.rpartition(b"/")[0]):
        state = mine[above][1] if above in mine else None
        if state is not None and state.kind != "folder":
            return True
    if now is None or now.kind == "folder":
        return False
    return any(one.startswith(path + b"/") and after is not None for one, (_, after) in mine.items())
