"""What a folder holds, as content: one object per folder, so that what did not change is shared and skipped."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

from autopilot_runtime.core.errors import ObjectDamaged


class Contents(Protocol):
    """Contents by digest: a store, or something that stands for one."""

    def get(self, digest: bytes, /) -> bytes:
        """One, checked; `ObjectDamaged` when it is gone or is not what was put in."""

    def get_all(self, digests: Sequence[bytes], /) -> dict[bytes, bytes]:
        """Some, checked like one."""


Kind = Literal["file", "link", "folder", "left"]
_LETTERS: dict[str, Kind] = {"f": "file", "l": "link", "d": "folder", "x": "left"}
_HEAD = struct.Struct(">cHQ32s")
HEAD_SIZE = _HEAD.size
MAGIC = b"autopilot tree 1\n"


class State(NamedTuple):
    """One entry of a folder. A link's content is where it leads, a folder's is its tree; `left` has none kept.

    The digest of what was left out stands for how it looked: another digest says that it has changed.
    """

    kind: Kind
    mode: int
    size: int
    digest: bytes

    @property
    def head(self) -> bytes:
        """As it stands in a tree, before its name."""
        letter = b"d" if self.kind == "folder" else b"x" if self.kind == "left" else self.kind[:1].encode()
        return _HEAD.pack(letter, self.mode, self.size, self.digest)


FOLDER_MODE = 0o755


def encode(heads: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The object of a folder from `(name, head)` pairs, in any order."""
    return MAGIC + b"".join([head + name + b"\0" for name, head in sorted(heads)])


def read_head(head: bytes) -> State:
    """The state that a head says."""
    letter, mode, size, digest = _HEAD.unpack(head)
    kind = _LETTERS.get(letter.decode("latin-1"))
    if kind is None:
        raise ObjectDamaged(f"A tree holds an entry of the unknown kind {letter!r}.")
    return State(kind, mode, size, digest)


def entries(store: Contents, tree: bytes) -> dict[bytes, State]:
    """What the folder with this tree holds, by name."""
    data = store.get(tree)
    if not data.startswith(MAGIC):
        raise ObjectDamaged(f"Object {tree.hex()} is not the tree of a folder.")
    found: dict[bytes, State] = {}
    at = len(MAGIC)
    while at < len(data):
        end = data.find(b"\0", at + HEAD_SIZE)
        name = data[at + HEAD_SIZE : end]
        # A name that led elsewhere would be written elsewhere.
        if end < 0 or name in (b"", b".", b"..") or b"/" in name:
            raise ObjectDamaged(f"The tree {tree.hex()} holds the name {name!r}, which no folder can hold.")
        found[name] = read_head(data[at : at + HEAD_SIZE])
        at = end + 1
    return found


def find(store: Contents, tree: bytes, path: bytes) -> State | None:
    """What the folder with this tree holds at a path."""
    *above, name = path.split(b"/")
    for part in above:
        state = entries(store, tree).get(part)
        if state is None or state.kind != "folder":
            return None
        tree = state.digest
    return entries(store, tree).get(name)


def walk(store: Contents, tree: bytes, prefix: bytes = b"") -> Iterator[tuple[bytes, State]]:
    """Everything below a folder with its path, folders before what they hold."""
    for name, state in entries(store, tree).items():
        yield prefix + name, state
        if state.kind == "folder":
            yield from walk(store, state.digest, prefix + name + b"/")


Difference = dict[bytes, tuple[State | None, State | None]]


def difference(store: Contents, before: bytes | None, after: bytes | None) -> Difference:
    """Path → how it was and how it is, for all that differs between two trees (None: an empty folder).

    A folder differs when it came, went or has another mode; not when only something in it differs.
    """
    found: Difference = {}
    _compare(store, before, after, b"", found)
    return found


def _compare(store: Contents, before: bytes | None, after: bytes | None, prefix: bytes, found: Difference) -> None:
    if before == after:
        return
    old = entries(store, before) if before else {}
    new = entries(store, after) if after else {}
    for name in old.keys() | new.keys():
        was, now = old.get(name), new.get(name)
        if was == now:
            continue
        path = prefix + name
        if plain(was) != plain(now):
            found[path] = (plain(was), plain(now))
        _compare(store, _tree(was), _tree(now), path + b"/", found)


def plain(state: State | None) -> State | None:
    """The state of a folder without what it holds; of anything else, itself."""
    return state if state is None or state.kind != "folder" else bare(state.mode)


def _tree(state: State | None) -> bytes | None:
    return state.digest if state is not None and state.kind == "folder" else None


@lru_cache(maxsize=64)
def bare(mode: int) -> State:
    """A folder, whatever it holds."""
    return State("folder", mode, 0, bytes(32))
