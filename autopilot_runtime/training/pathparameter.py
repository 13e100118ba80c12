"""Files as a parameter: one, or those below a folder that the patterns name. Every byte, mode and link comes back."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autopilot_runtime.store.held import Held
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.rules import Rules
from autopilot_runtime.store.tree import walk
from autopilot_runtime.training.fault import ParameterRefused, meant
from autopilot_runtime.training.filetree import FileTree
from autopilot_runtime.training.gradient import Gradient
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.pattern import Single, globs

# What is never a part: the history of a repository, our own records, and what tools make again.
_NEVER = frozenset({".git", ".hg", ".svn", ".jj", ".autopilot", "__pycache__"})
_LINE = re.compile(r":\d+(:\d+)?(-\d+)?$")


class PathParameter(Parameter):
    """A file, or the files below a folder that fit `pattern` (a glob, several, `!` before one that leaves out).

    Without a pattern everything below the folder is meant, empty folders included, but for `.git` and what tools make
    again (environments, caches). `source` is where the files live; `path` is where they are now: during a fit that
    is a scratch copy, so read and write there. With `root`, a relative source is taken from there, and one that
    leaves it is refused.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        pattern: str | Sequence[str] | None = "**/*",
        *,
        root: str | os.PathLike[str] | None = None,
        name: str = "",
        requires_grad: bool = True,
    ) -> None:
        # Not through the parent: it would set `data`, and that is what lies on the disk.
        self.name = name
        self.requires_grad = requires_grad
        self.grad: Gradient | None = None
        self.source = _found(source, root)
        self.pattern = pattern
        self._single = self.source.name if not self.source.is_dir() else ""
        self._rules = Rules(names=_NEVER, derived=True, only=Single(self._single) if self._single else globs(pattern))
        self._live = self._tree = FileTree(self._home, self._rules)

    @property
    def _home(self) -> Path:
        return self.source.parent if self._single else self.source

    # ------------------------------------------------------------ where it is

    @property
    def path(self) -> Path:
        """Where the file or folder is now."""
        return self._tree.base / self._single if self._single else self._tree.base

    @property
    def moved(self) -> bool:
        """Whether it is a copy that is worked on."""
        return self._tree is not self._live

    def move_to(self, folder: str | os.PathLike[str]) -> None:
        """Work on the files in `folder` from now on (`copy_to` puts them there)."""
        self._tree = FileTree(Path(folder).resolve(), self._rules, passing=True)

    def move_back(self) -> None:
        """Work on the source again. What is in the copy stays there."""
        self._tree = self._live

    def at(self, folder: str | os.PathLike[str] | None = None) -> FileTree:
        """The files in another folder, or (None) those of the source."""
        if folder is not None:
            return FileTree(Path(folder).resolve(), self._rules, passing=True)
        return self._live

    # ------------------------------------------------------------ the files

    def names(self) -> list[str]:
        """What belongs to it now, links too, relative to the folder."""
        return self._tree.names()

    def files(self) -> dict[str, bytes]:
        """The ordinary files, name → bytes."""
        return {name: data for name, kind, data in self._all() if kind == "file"}

    def read(self, path: str | os.PathLike[str] = "") -> bytes:
        """The bytes of one file; of the only one, when the source is a file."""
        return self._tree.read(self._own(path))

    def write(self, path: str | os.PathLike[str], data: bytes | str) -> str:
        """Replace or make one file; gives its name. Its mode stays."""
        return self._tree.write(self._own(path), _bytes(data))

    def delete(self, path: str | os.PathLike[str]) -> str:
        """Remove one file or link; gives its name."""
        return self._tree.delete(self._own(path))

    @property
    def text(self) -> str:
        """The text of the only file."""
        return self.read().decode("utf-8", "surrogateescape")

    @text.setter
    def text(self, value: str) -> None:
        self.write("", value)

    def _own(self, path: str | os.PathLike[str]) -> str:
        """A path as the tree takes it: one below the source is meant where the files are now."""
        given = os.fspath(path)
        if given in ("", ".") and self._single:
            return self._single
        if Path(given).is_absolute():
            for base in (self._tree.base, self._home):
                if given.startswith(os.path.join(base, "")):  # noqa: PTH118
                    return os.path.relpath(given, base)
        return given

    def _all(self) -> list[tuple[str, str, bytes]]:
        """Name, kind and content of all files and links."""
        held = Held()
        tree, _ = self._tree.look(held)
        found = [(os.fsdecode(path), state.kind, state.digest) for path, state in walk(held, tree)]
        return sorted((name, kind, held.get(digest)) for name, kind, digest in found if kind in ("file", "link"))

    @property
    def data(self) -> Any:
        """Name → text of all files; bytes where it is no text. Set it to make the files exactly that."""
        return {name: _text(data) for name, data in self.files().items()}

    @data.setter
    def data(self, value: Any) -> None:
        if self._single and isinstance(value, (str, bytes)):
            value = {self._single: value}
        if not isinstance(value, Mapping) or not all(isinstance(one, (str, bytes)) for one in value.values()):
            raise ParameterRefused(f"{self.name or self.path} takes name → text or bytes, not {type(value).__name__}")
        wanted = {self._tree.relative(self._own(name)): _bytes(data) for name, data in value.items()}
        have = self.files()
        for name, data in wanted.items():
            if have.get(name) != data:
                self._tree.write(name, data)
        for name in have.keys() - wanted.keys():
            self._tree.delete(name)

    # ------------------------------------------------------------ feedback

    def owns(self, attribution: str) -> bool:
        """Whether feedback belongs here: it names the parameter or one of the files, maybe with a line."""
        if super().owns(attribution):
            return True
        return any(self._is_mine(one) for one in {attribution, _LINE.sub("", attribution)} if one)

    def _is_mine(self, path: str) -> bool:
        try:
            name = self._tree.relative(self._own(path))
        except ParameterRefused:
            return False
        return any(os.path.lexists(base / name) for base in (self._tree.base, self._home))

    def render(self) -> str:
        """All texts under their names; of anything else, what it is."""
        parts = []
        for name, kind, data in self._all():
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            text = _text(data)
            if kind == "link":
                parts.append(f"--- {shown} -> {os.fsdecode(data)}")
            elif isinstance(text, str) and "\0" not in text:
                parts.append(f"--- {shown}\n{text}")
            else:
                parts.append(f"--- {shown} (binary, {len(data):,} bytes)")
        if not parts:
            return f"(no file fits {self.pattern!r} in {self.path})"
        return "\n".join(parts).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    # ------------------------------------------------------------ the state

    @property
    def digest(self) -> str:
        """Names the state; the same as `keep` gives."""
        return self._tree.look()[0].hex()

    def snapshot(self) -> bytes:
        held = Held()
        tree, _ = self._tree.look(held)
        return held.pack(tree)

    def restore(self, state: bytes) -> None:
        self._tree.unpack(state)

    kept_as = "tree"

    def keep(self, store: Store) -> bytes:
        return self._tree.take(store)

    def bring(self, store: Store, digest: bytes) -> None:
        self._tree.put(store, digest)

    def verify(self, store: Store, digest: bytes) -> None:
        for _, state in walk(store, digest):
            if state.kind in ("file", "link"):
                store.get(state.digest)

    def __getstate__(self) -> dict[str, Any]:
        # A store is open in one process; the copy looks for itself.
        return {**self.__dict__, "_live": None, "_tree": self._tree.base if self.moved else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._live = self._tree = FileTree(self._home, self._rules)
        if state["_tree"] is not None:
            self.move_to(state["_tree"])

    def __repr__(self) -> str:
        return f"PathParameter({self.name or ''}: {self.path})"


def _found(source: str | os.PathLike[str], root: str | os.PathLike[str] | None) -> Path:
    """Where a source is, links resolved."""
    given = Path(source).expanduser()
    base = Path(root).expanduser().resolve() if root is not None else None
    place = ((base or Path.cwd()) / given).resolve()
    if base is not None and place != base and base not in place.parents:
        raise ParameterRefused(f"{source} leads out of the root {base}: the parameter must lie below it")
    if not place.exists():
        near = meant(place.name, [one.name for one in place.parent.iterdir()]) if place.parent.is_dir() else ""
        raise ParameterRefused(f"there is no file or folder {place}: make it first, an empty one will do.{near}")
    return place


def _bytes(data: bytes | str) -> bytes:
    return data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
