"""The files of a folder that a search should see, in a stable order: no links, nothing hidden or ignored."""

from __future__ import annotations

import os
from collections.abc import Iterator
from operator import attrgetter

from autopilot_runtime.search.glob import Include
from autopilot_runtime.search.ignore import Level, Rulebook

EVERYTHING = Include(())
_NAME = attrgetter("name")


class Walk:
    """Iterates over the regular files below `start` (relative to `root`; "" is the root itself).

    Gives `(path relative to root, entry)`, by name in each folder, as if sorted by the components of the path.
    """

    def __init__(self, root: str, start: str = "", *, include: Include = EVERYTHING) -> None:
        self.root = root
        self.include = include
        self._book = Rulebook(root)
        prefix = start + "/" if start else ""
        parent = self._book.down_to(start.rpartition("/")[0])[0] if start else self._book.above
        self._start = (prefix, parent)

    def __iter__(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        stack = [self._folder(*self._start)]
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
                continue
            path, entry, level = found
            if level is None:
                yield path, entry
            else:
                stack.append(self._folder(path + "/", level))

    def _folder(self, prefix: str, level: Level | None) -> Iterator[tuple[str, os.DirEntry[str], Level | None]]:
        """The files of one folder, and (with their level) the folders to go down into."""
        entries, level = self._list(prefix, level)
        for entry in entries:
            path = prefix + entry.name
            try:
                folder = entry.is_dir(follow_symlinks=False)
                if not folder and not entry.is_file(follow_symlinks=False):
                    continue
            except OSError:
                continue  # it went away while we looked
            if self._seen(path, entry.name, level, folder=folder):
                yield path, entry, level if folder else None

    def _seen(self, path: str, name: str, level: Level, *, folder: bool) -> bool:
        if name[0] == "." and (not self.include.hidden or name == ".git"):
            return False
        return not level.ignored(path, name, folder=folder) and (folder or self.include.selects(path, self._start[0]))

    def _list(self, prefix: str, parent: Level | None) -> tuple[list[os.DirEntry[str]], Level]:
        path = os.path.join(self.root, prefix) if prefix else self.root  # noqa: PTH118
        try:
            with os.scandir(path) as found:
                entries = sorted(found, key=_NAME)
        except OSError:
            entries = []  # not to be listed: ripgrep goes on, too
        return entries, self._book.enter(prefix, {entry.name for entry in entries}, parent)
