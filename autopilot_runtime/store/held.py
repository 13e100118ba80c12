"""Contents by digest in memory: for the state of a folder that travels without a store."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from autopilot_runtime.core.errors import ObjectDamaged
from autopilot_runtime.store.objects import digest_of

_MAGIC = b"autopilot state 1\n"
_SIZE = struct.Struct(">Q")


class Held:
    """What a `Look` found. Reads like a store."""

    def __init__(self) -> None:
        self.contents: dict[bytes, bytes] = {}

    def put_all(self, contents: dict[bytes, bytes], /) -> int:
        """Keep contents under their digests."""
        self.contents.update(contents)
        return len(contents)

    def get(self, digest: bytes, /) -> bytes:
        """One of them."""
        data = self.contents.get(digest)
        if data is None:
            raise ObjectDamaged(f"This state has no object {digest.hex()}; it cannot be restored.")
        return data

    def get_all(self, digests: Sequence[bytes], /) -> dict[bytes, bytes]:
        """Some of them."""
        return {digest: self.get(digest) for digest in digests}

    def pack(self, tree: bytes) -> bytes:
        """The tree and all contents as bytes: the same for the same."""
        parts = [_MAGIC, tree]
        for digest in sorted(self.contents):
            data = self.contents[digest]
            parts += (_SIZE.pack(len(data)), data)
        return b"".join(parts)

    @classmethod
    def unpack(cls, state: bytes) -> tuple[bytes, Held]:
        """What `pack` gave: the tree, and the contents."""
        if not state.startswith(_MAGIC) or len(state) < len(_MAGIC) + 32:
            raise ObjectDamaged("This is not the state of files, or it is cut off; nothing is restored from it.")
        held, at = cls(), len(_MAGIC) + 32
        while at < len(state):
            size = _SIZE.unpack_from(state, at)[0] if at + _SIZE.size <= len(state) else len(state)
            at += _SIZE.size
            data = state[at : at + size]
            if len(data) != size:
                raise ObjectDamaged("This state of files is cut off; nothing is restored from it.")
            # Named by what it is now: what was changed on the way is then not found under its name.
            held.contents[digest_of(data)] = data
            at += size
        return state[len(_MAGIC) : len(_MAGIC) + 32], held


class Nowhere:
    """Keeps nothing: for a look that wants only the digest."""

    def put_all(self, contents: dict[bytes, bytes], /) -> int:
        """Let go of them."""
        return len(contents)
