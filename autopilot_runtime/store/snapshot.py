"""The tree of a folder, as content in a store: complete or absent, and cheap when little has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.look import Look
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.rules import EVERYTHING, Rules
from autopilot_runtime.store.stamps import Stamps

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A folder as it was: the digest of its tree, and how much that is. `left` counts what could not be kept."""

    tree: bytes
    files: int
    size: int
    read: int  # files that had to be read
    left: int


class Snapshotter:
    """Takes snapshots of one folder into one store; from one to the next, only what changed is read."""

    def __init__(
        self, store: Store, root: str | os.PathLike[str], rules: Rules = EVERYTHING, *, remember: bool = True
    ) -> None:
        self.store = store
        self.root = Path(os.path.realpath(root))
        self.rules = rules
        chosen = b"" if rules.only is None else b"\0" + rules.only.key
        self._stamps = Stamps(store, os.fsencode(self.root) + chosen, remember=remember)

    def take(
        self,
        keep: Callable[[bytes], object] | None = None,
        *,
        stopped: Callable[[], bool] = bool,
        durable: bool | None = None,
    ) -> Snapshot:
        """The folder as it is now. `keep(tree)` is called in the transaction that makes it complete: point or pin
        there, or the contents are thrown away with the next `collect`. `stopped` is asked now and then."""
        for _ in range(_TRIES):
            self._stamps.load()
            look = Look(self.store, self.root, self.rules, self._stamps.rows, stopped)
            tree = look.everything()
            with self.store.transaction(durable=durable):
                look.write()
                # What others threw away meanwhile may have been counted on.
                if self.store.generation != self._stamps.generation:
                    continue
                self._stamps.save(look.rows)
                if keep is not None:
                    keep(tree)
            self._stamps.adopt(look.rows)
            return Snapshot(tree, look.files, look.size, look.read, look.left)
        raise StoreError(f"No snapshot of {self.root}: its store is being cleaned up again and again.")
