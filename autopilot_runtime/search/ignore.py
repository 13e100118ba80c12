"""Which paths `.gitignore`, `.ignore` and `.rgignore` files hide: the same answer as ripgrep's.

Patterns and paths are compared byte by byte, as git does it. So that these can be strings here, a byte is a letter.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator, Set
from pathlib import Path

from autopilot_runtime.search.glob import is_sound, spread, to_regex

# The kinds in the order of their weight; a match of one kind hides all that lighter kinds say.
KINDS = (".rgignore", ".ignore", ".gitignore", "exclude")
_TELLING = frozenset([*KINDS[:3], ".git"])
_MAX_BYTES = 1 << 20
_NONE: list[tuple[int, bool, bool]] = []
_ESCAPED = re.compile(r"\\.", re.DOTALL)  # a slash may be written as `\/`
_PLAIN = re.compile(r"[^*?\[\]{}\\/]+\Z")
_SUFFIX = re.compile(r"\*(\.[^*?\[\]{}\\/.]+)\Z")


class Rules:
    """One ignore file. `decide` gives True for ignored, False for expressly kept, None for not mentioned."""

    def __init__(self, text: str) -> None:
        self._names: dict[str, list[tuple[int, bool, bool]]] = {}
        self._suffixes: dict[str, list[tuple[int, bool, bool]]] = {}
        self._globs: list[tuple[int, bool, bool, re.Pattern[str]]] = []
        self.lines = [line for line in map(_without_trailing_space, text.split("\n")) if line and line[0] != "#"]
        for number, line in enumerate(self.lines):
            self._add(number, line)
        self._globs.reverse()
        self.empty = not (self._names or self._suffixes or self._globs)

    def _add(self, number: int, line: str) -> None:
        ignored = not line.startswith("!")
        glob = _ESCAPED.sub(lambda found: found[0].replace("\\/", "/"), line if ignored else line[1:])
        folder_only = glob.endswith("/")
        glob = glob[:-1] if folder_only else glob
        rule = (number, ignored, folder_only)
        if _PLAIN.match(glob):
            self._names.setdefault(glob, []).append(rule)
        elif suffix := _SUFFIX.match(glob):
            self._suffixes.setdefault(suffix[1], []).append(rule)
        elif glob.strip("/") and is_sound(glob):
            whole = glob.removeprefix("/") if "/" in glob else f"**/{glob}"
            regex = "|".join(f"(?:{to_regex(one)})" for one in spread(whole, empty=False))
            self._globs.append((*rule, re.compile(regex, re.DOTALL)))

    @property
    def loose(self) -> list[str] | None:
        """The lines that mean the same in any folder below, for ripgrep; None when one that keeps files does not."""
        if any("/" in line.removeprefix("!").rstrip("/") and line.startswith("!") for line in self.lines):
            return None
        return [line for line in self.lines if "/" not in line.rstrip("/")]

    def decide(self, path: str, name: str, *, folder: bool) -> bool | None:
        """What the last rule that fits says of `path` (relative to the folder of this ignore file)."""
        best, verdict = -1, None
        rules = self._names.get(name, _NONE)
        if self._suffixes:
            rules = rules + self._suffixes.get(_suffix(name), _NONE)
        for number, ignored, folder_only in rules:
            if number > best and (folder or not folder_only):
                best, verdict = number, ignored
        for number, ignored, folder_only, pattern in self._globs:
            if number <= best:
                break
            if (folder or not folder_only) and pattern.fullmatch(path):
                return ignored
        return verdict


def _as_letters(path: str) -> str:
    return os.fsencode(path).decode("latin-1")


def _suffix(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:] if dot >= 0 else ""


def _without_trailing_space(line: str) -> str:
    return line if line.endswith("\\ ") else line.rstrip(" \t\r\v\f")


class Level:
    """One folder on the way down: its ignore files, and the levels above it.

    `prefix` is that of the paths below it, relative to the root; "" at the root and above. `above`, for a folder
    above the root, is the root's path relative to it, with a final slash. What git hides ends at an `is_top`.
    """

    __slots__ = ("_voices", "above", "is_top", "parent", "prefix", "rules")

    def __init__(
        self, prefix: str, rules: dict[str, Rules], parent: Level | None, *, is_top: bool = False, above: str = ""
    ) -> None:
        self.prefix = prefix
        self.rules = rules
        self.parent = parent
        self.is_top = is_top
        self.above = above
        # Asked once for each file there is: so who is to be heard, and in which order, is settled here.
        self._voices = [
            (level.rules[kind], level.above, len(_as_letters(level.prefix)))
            for kind in KINDS
            for level in self._chain(kind)
            if kind in level.rules
        ]

    def ignored(self, path: str, name: str, *, folder: bool) -> bool | None:
        """True: hidden by a rule. False: expressly kept. None: no rule speaks of it."""
        if not path.isascii():
            path, name = _as_letters(path), _as_letters(name)
        for rules, above, skipped in self._voices:
            verdict = rules.decide(above + path if above else path[skipped:], name, folder=folder)
            if verdict is not None:
                return verdict
        return None

    def _chain(self, kind: str) -> Iterator[Level]:
        level: Level | None = self
        while level is not None:
            yield level
            level = None if level.is_top and kind in (".gitignore", "exclude") else level.parent


class Rulebook:
    """All ignore files that bear on a root: read as one goes down, or asked for a path.

    A `.gitignore` counts without a repository, too. The folders above the root count when a repository of theirs
    holds it; repositories inside keep to themselves when the root is one.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._is_top = Path(root, ".git").exists()
        self.above = _levels_above(root)
        self._known: dict[tuple[str, str], tuple[Level, bool]] = {}

    def enter(self, prefix: str, names: Set[str], parent: Level | None) -> Level:
        """The level of one folder, given the names in it. Costs nothing where there is no ignore file."""
        if parent is not None and _TELLING.isdisjoint(names):
            return parent
        rules = _rules_in(Path(self.root, prefix), names)
        is_top = self._is_top and ".git" in names
        if parent is not None and not rules and not is_top:
            return parent
        return Level(prefix, rules, parent, is_top=is_top)

    def keeps_above(self, start: str) -> bool:
        """Whether an `.ignore` above a folder keeps files. It outweighs a `.gitignore` in the folder, and that is
        what ripgrep cannot be told."""
        level = self.down_to(start.rpartition("/")[0], start)[0] if start else self.above
        while level is not None:
            if any(line[0] == "!" for kind in KINDS[:2] if kind in level.rules for line in level.rules[kind].lines):
                return True
            level = level.parent
        return False

    def loose_above(self) -> list[str]:
        """What the folders above say that ripgrep can be told as rules of the root; the rest is for `hides`."""
        lines: list[str] = []
        level = self.above
        kinds = KINDS[:2] if self._is_top else KINDS
        while level is not None:
            for kind in reversed(kinds):
                more = level.rules[kind].loose if kind in level.rules else []
                if more is None:
                    return []
                lines = more + lines
            level = None if level.is_top else level.parent
        return lines

    def hides(self, path: str, start: str = "") -> bool:
        """Whether a rule hides the file, or a folder it is in below `start`."""
        folders, _, name = path.rpartition("/")
        level, hidden = self.down_to(folders, start)
        return hidden or bool(level.ignored(path, name, folder=False))

    def down_to(self, folder: str, start: str = "") -> tuple[Level, bool]:
        """The level of a folder, and whether it is hidden; `start` itself and all above it never are."""
        known = self._known.get((folder, start))
        if known is None:
            outer, _, name = folder.rpartition("/")
            parent, hidden = self.down_to(outer, start) if folder else (self.above, False)
            if folder and len(folder) > len(start) and parent is not None:
                hidden = hidden or bool(parent.ignored(folder, name, folder=True))
            prefix = folder + "/" if folder else ""
            known = self._known[folder, start] = (
                self.enter(prefix, _names_in(Path(self.root, prefix)), parent),
                hidden,
            )
        return known


def _rules_in(folder: Path, names: Set[str]) -> dict[str, Rules]:
    found = {kind: rules for kind in KINDS[:3] if kind in names and (rules := _read(folder / kind))}
    if ".git" in names and (exclude := _read(folder / ".git" / "info" / "exclude")):
        found["exclude"] = exclude
    return found


def _names_in(folder: Path) -> frozenset[str]:
    return frozenset(name for name in _TELLING if (folder / name).exists())


def _read(path: Path) -> Rules | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError:
        return None  # unreadable: ripgrep goes on without it, too
    rules = Rules(_valid(data.removeprefix(codecs.BOM_UTF8)).decode("latin-1"))
    return None if rules.empty else rules


def _valid(data: bytes) -> bytes:
    """What comes before the first line that is not UTF-8: there ripgrep stops to read."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return data[: data.rfind(b"\n", 0, error.start) + 1]
    return data


def _levels_above(root: str) -> Level | None:
    start = Path(root)
    chain = [(folder, _names_in(folder)) for folder in start.parents]
    if not (start / ".git").exists() and not any(".git" in names for _, names in chain):
        return None
    level: Level | None = None
    for folder, names in reversed(chain):
        above = _as_letters(start.relative_to(folder).as_posix() + "/")
        level = Level("", _rules_in(folder, names), level, is_top=".git" in names, above=above)
    return level
