"""Where git keeps the repository of a workspace that does not hold it: a linked worktree, a part of a whole."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from autopilot_runtime.confine.places import within
from autopilot_runtime.confine.plainfile import read_small


@dataclass(frozen=True, slots=True)
class Repository:
    """Folders to show for it, those of them that git must write, and what in those must stay as it is."""

    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()


def outside(work_dir: str) -> Repository:
    """What of a repository lies outside of its workspace."""
    mark = os.path.join(work_dir, ".git")
    if os.path.isdir(mark):
        with contextlib.suppress(OSError):  # without the folder, one could be made and filled
            os.makedirs(os.path.join(mark, "hooks"), exist_ok=True)
        return Repository(protected=(os.path.join(mark, "hooks"),))
    if os.path.isfile(mark):
        return _linked(mark)
    for folder in Path(work_dir).parents:
        above = folder / ".git"
        if above.is_dir():
            # History can be looked at from a part of the tree. Committing reaches beyond it.
            return Repository(readable=(str(above),))
        if above.exists() or folder == Path.home():
            break
    return Repository()


def _linked(mark: str) -> Repository:
    """A linked worktree. Its mark may say anything, so the folder it names must name the workspace in return."""
    folder = os.path.realpath(os.path.join(os.path.dirname(mark), _line(mark).removeprefix("gitdir:").strip()))
    back = _line(os.path.join(folder, "gitdir"))
    common = os.path.realpath(os.path.join(folder, _line(os.path.join(folder, "commondir"))))
    # The repository itself must hold the link: everything in the workspace may be forged.
    held = os.path.dirname(folder) == os.path.join(common, "worktrees")
    forged = within(folder, os.path.dirname(os.path.realpath(mark)))
    if not held or forged or not back or os.path.realpath(back) != os.path.realpath(mark):
        return Repository()
    if not os.path.isdir(os.path.join(common, "refs")):
        return Repository()
    # Whoever uses the other worktrees runs what stands there.
    return Repository(writable=(common,), protected=tuple(os.path.join(common, name) for name in ("hooks", "config")))


def _line(path: str) -> str:
    return read_small(path).strip()
