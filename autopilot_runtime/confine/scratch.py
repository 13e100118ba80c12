"""The private folders of one wall: its /tmp, its home, its shared memory, its /etc. Gone when the wall is."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from autopilot_runtime.confine import gitidentity
from autopilot_runtime.confine.places import ETC_LIVE, within

_MEMORY = "/dev/shm"


def fast_folder() -> str | None:
    """Where files cost no disk: making one is ten times faster there. None: the usual place."""
    return _MEMORY if sys.platform.startswith("linux") and os.access(_MEMORY, os.W_OK | os.X_OK) else None


class Scratch:
    """Two folders (0700, unpredictable): what may grow lies on disk, what is small in memory where there is such."""

    def __init__(self, home: str, *, away_from: Sequence[str] = ()) -> None:
        """`away_from`: places that programs may write; what is ours may not lie there."""
        self.folders: list[str] = []
        usual = [tempfile.gettempdir(), "/var/tmp", _MEMORY]
        large = self._folder(_elsewhere(usual, away_from))
        small = self._folder(_elsewhere([fast_folder() or usual[0], *usual], away_from))
        self.tmp, self.home, self.shm = f"{large}/tmp", f"{large}/home", f"{small}/shm"
        self.etc, self.no_folder, self.no_file = f"{small}/etc", f"{small}/no-folder", f"{small}/no-file"
        for folder in (self.tmp, self.home, self.shm):
            os.mkdir(folder, 0o700)
        # What stands where nothing may be seen.
        os.mkdir(self.no_folder, 0)
        os.close(os.open(self.no_file, os.O_CREAT | os.O_EXCL, 0))
        settings = gitidentity.settings(home)
        if settings:
            Path(self.home, ".gitconfig").write_text(settings)

    def _folder(self, where: str) -> str:
        self.folders.append(os.path.realpath(tempfile.mkdtemp(prefix="autopilot-scratch-", dir=where)))
        return self.folders[-1]

    def empty_folder(self) -> str:
        """One more folder, with nothing in it."""
        return tempfile.mkdtemp(prefix="empty-", dir=os.path.dirname(self.tmp))

    def fill_etc(self, places: Iterable[str]) -> None:
        """Copy these parts of /etc, so that one mount shows them all; empty ones for those that are to be mounted."""
        os.mkdir(self.etc)
        for place in places:
            copy = f"{self.etc}{place.removeprefix('/etc')}"
            Path(copy).parent.mkdir(parents=True, exist_ok=True)
            if place in ETC_LIVE:
                os.mkdir(copy) if os.path.isdir(place) else Path(copy).touch()
            elif os.path.isdir(place) and not os.path.islink(place):
                with contextlib.suppress(shutil.Error):  # files that only their owner may read are left out
                    shutil.copytree(place, copy, symlinks=True, copy_function=shutil.copyfile)
            else:
                with contextlib.suppress(OSError):
                    shutil.copyfile(place, copy, follow_symlinks=False)

    def close(self) -> None:
        """Remove them, also what programs made unreadable in them."""
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)
            if os.path.exists(folder):
                _open_up(folder)
                shutil.rmtree(folder, ignore_errors=True)


def _elsewhere(candidates: Sequence[str], away_from: Sequence[str]) -> str:
    for folder in candidates:
        if not any(within(os.path.realpath(folder), place) for place in away_from):
            return folder
    raise OSError(28, f"every temporary folder lies in a place that programs may write ({', '.join(away_from)})")


def _open_up(folder: str) -> None:
    """Give back the rights that programs took from folders in it: one without them cannot be emptied."""
    if os.path.islink(folder):
        return
    for base, folders, _ in os.walk(folder):
        for path in (os.path.join(base, name) for name in folders):
            if not os.path.islink(path):
                os.chmod(path, 0o700)
