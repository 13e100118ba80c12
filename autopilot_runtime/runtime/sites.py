"""Where the paths of a run are: in the workspace, or (absolute ones) anywhere on the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping

from autopilot_runtime.runtime.trail import shown
from autopilot_runtime.store.folder import Folder
from autopilot_runtime.store.look import look_at
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.restore import clear_scratch, restore
from autopilot_runtime.store.tree import State, bare

MAX_FILE = 64 << 20


class Sites:
    """The workspace, held open, and the rest of the machine."""

    def __init__(self, work_dir: str, store: Store) -> None:
        os.makedirs(work_dir, exist_ok=True)  # noqa: PTH103
        self._work_dir = work_dir
        self._store = store
        self._inside = Folder.root(work_dir)

    def __enter__(self) -> Sites:
        return self

    def __exit__(self, *_: object) -> None:
        self._inside.close()

    def look(self, path: bytes) -> State | None:
        """How a path is now; its content is kept."""
        if not _is_outside(path):
            return look_at(self._store, self._inside, path, max_file=MAX_FILE)
        anchor, rest = _anchored(path)
        with Folder.root(anchor) as root:
            return look_at(self._store, root, rest, max_file=MAX_FILE)

    def restore(self, wanted: Mapping[bytes, State | None]) -> list[bytes]:
        """Make paths what they should be; gives the folders that had to stay."""
        stay = restore(self._store, self._work_dir, {p: s for p, s in wanted.items() if not _is_outside(p)})
        outside: dict[str, dict[bytes, State | None]] = {}
        for path, state in wanted.items():
            if _is_outside(path):
                # Written aside in the nearest folder that is there: the root of a machine is not for that.
                near = _nearest(path, wanted)
                outside.setdefault(near, {})[os.fsencode(os.path.relpath(shown(path), near))] = state
        for near, some in outside.items():
            stay += [os.fsencode(os.path.join(near, shown(one))) for one in restore(self._store, near, some)]  # noqa: PTH118
        return stay

    def missing_folders(self, wanted: Mapping[bytes, State | None]) -> dict[bytes, State | None]:
        """The folders that must come for what is wanted, where they are gone by now."""
        found: dict[bytes, State | None] = {}
        for path, state in wanted.items():
            above = path.rpartition(b"/")[0]
            while (
                state is not None and above and above not in wanted and above not in found and not _is_outside(path)
            ):
                if self.look(above) is not None:
                    break
                found[above] = bare(0o755)
                above = above.rpartition(b"/")[0]
        return found

    def clear_scratch(self) -> None:
        """Remove what a killed restore had written aside."""
        clear_scratch(self._work_dir)


def _is_outside(path: bytes) -> bool:
    return os.path.isabs(shown(path))  # noqa: PTH117


def _anchored(path: bytes) -> tuple[str, bytes]:
    anchor = os.path.splitdrive(shown(path))[0] + os.sep
    return anchor, path[len(os.fsencode(anchor)) :]


def _nearest(path: bytes, wanted: Mapping[bytes, State | None]) -> str:
    """The innermost folder above a path that is there, and stays."""
    above = os.path.dirname(path)  # noqa: PTH120
    while above in wanted or not os.path.isdir(above):  # noqa: PTH112
        above = os.path.dirname(above)  # noqa: PTH120
    return shown(above)
