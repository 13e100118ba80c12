"""Parameters as files for an agent to change, and back: all that it left is checked before any of it is taken."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from autopilot_runtime.block.diff import unified_diff
from autopilot_runtime.block.grammar import Fence, language_and_filename, read_fence
from autopilot_runtime.training.fault import ParameterRefused
from autopilot_runtime.training.parameter import JSONParameter, Parameter, ScalarParameter, TextParameter

MAX_BYTES = 8 << 20
_DEBRIS = frozenset({"__pycache__", ".DS_Store"})


class _Form(Protocol):
    """How one parameter looks as files."""

    parameter: Parameter

    def lay_out(self) -> dict[str, bytes]: ...
    def take(self, found: Mapping[str, bytes]) -> Any:
        """What these files mean, checked; None for no change."""
        ...

    def adopt(self, meant: Any) -> None: ...


class _OneFile:
    """A parameter that is one file."""

    def __init__(self, parameter: Parameter, name: str) -> None:
        self.parameter = parameter
        self.how = kind_of(parameter)
        self.name = f"{name}{'.json' if self.how == 'json' else '.md' if self.how == 'text' else '.txt'}"

    def lay_out(self) -> dict[str, bytes]:
        data = self.parameter.data
        if self.how == "state":
            return {self.name: self.parameter.snapshot()}
        if self.how == "json":
            return {
                self.name: (json.dumps(data, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "surrogatepass")
            }
        return {self.name: str(data).encode("utf-8", "surrogatepass")}

    def take(self, found: Mapping[str, bytes]) -> Any:
        raw, before = found.get(self.name), self.lay_out()[self.name]
        if raw is None:
            raise ParameterRefused(f"{self.name} is gone. A parameter cannot be deleted: write it again.")
        if raw == before:
            return None
        return raw if self.how == "state" else self._meant(raw, before)

    def _meant(self, raw: bytes, before: bytes) -> Any:
        try:
            text = raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise ParameterRefused(f"{self.name} is not UTF-8 (byte {error.start})") from error
        if self.how == "text" and text.endswith("\n") and not before.endswith(b"\n"):
            text = text[:-1]  # many tools end every file with a line end; the value had none
        try:
            value = self.parameter.checked(text if self.how == "text" else text.strip())
            value = json.loads(value) if self.how == "json" and isinstance(value, str) else value
        except (ParameterRefused, ValueError) as error:
            raise ParameterRefused(f"{self.name}: {error}") from error
        return None if value == self.parameter.data and type(value) is type(self.parameter.data) else (value,)

    def adopt(self, meant: Any) -> None:
        if self.how == "state":
            self.parameter.restore(meant)
        else:
            self.parameter.data = meant[0]


class _ManyFiles:
    """A parameter that is files: they lie in a folder of its name."""

    def __init__(self, parameter: Any, name: str) -> None:
        self.parameter: Any = parameter
        self.name = name

    def lay_out(self) -> dict[str, bytes]:
        return {f"{self.name}/{name}": data for name, data in self.parameter.files().items()}

    def take(self, found: Mapping[str, bytes]) -> Any:
        before = self.lay_out()
        mine = {name: data for name, data in found.items() if name.startswith(f"{self.name}/")}
        changed = {name: mine.get(name) for name in before.keys() | mine.keys() if before.get(name) != mine.get(name)}
        return {name.removeprefix(f"{self.name}/"): data for name, data in sorted(changed.items())} or None

    def adopt(self, meant: Mapping[str, bytes | None]) -> None:
        for name, data in meant.items():
            if data is None:
                self.parameter.delete(name)
            else:
                self.parameter.write(name, data)


class ParameterFiles:
    """The parameters as files below `folder`."""

    def __init__(self, folder: Path, parameters: Sequence[Parameter]) -> None:
        self.folder = folder
        self._forms: list[_OneFile | _ManyFiles] = []
        taken: set[str] = set()
        for parameter in parameters:
            name = _file_name(parameter.name, taken)
            many = all(callable(getattr(parameter, one, None)) for one in ("files", "write", "delete"))
            self._forms.append(_ManyFiles(parameter, name) if many else _OneFile(parameter, name))

    def lay_out(self) -> None:
        """Write every parameter as it is."""
        for form in self._forms:
            if isinstance(form, _ManyFiles):
                (self.folder / form.name).mkdir(parents=True, exist_ok=True)
            for name, data in form.lay_out().items():
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def __iter__(self) -> Iterator[tuple[Parameter, str, dict[str, bytes]]]:
        """Each parameter, its file or folder, and its files as it is now."""
        for form in self._forms:
            ending = "/" if isinstance(form, _ManyFiles) else ""
            yield form.parameter, form.name + ending, form.lay_out()

    def difference(self) -> str:
        """What lies there now against the parameters as they are, as a unified diff."""
        before = {name: data for _, _, files in self for name, data in files.items()}
        after = self._found()[0]
        names = sorted(before.keys() | after.keys())
        return "".join(unified_diff(before.get(name, b""), after.get(name, b""), name) for name in names)

    def take_blocks(self, text: str) -> list[str]:
        """Write the fenced blocks of an answer that name one of the files; gives their names."""
        known = {name for _, _, files in self for name in files}
        below = tuple(f"{form.name}/" for form in self._forms if isinstance(form, _ManyFiles))
        named = {name: body for name, body in blocks_in(text) if name in known or _safe_below(name, below)}
        for name, body in named.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body.encode("utf-8", "surrogatepass"))
        return sorted(named)

    def adopt(self) -> list[str]:
        """Make the parameters what the files say; gives the names of those that changed.

        When anything will not do, `ParameterRefused` tells all of it, and no parameter is changed.
        """
        found, faults = self._found()
        meant: list[tuple[_OneFile | _ManyFiles, Any]] = []
        for form in self._forms:
            try:
                value = form.take(found)
            except ParameterRefused as error:
                faults.append(str(error))
                continue
            if value is not None:
                meant.append((form, value))
        if faults:
            raise ParameterRefused("\n".join(faults))
        before = [(form.parameter, form.parameter.snapshot()) for form, _ in meant]
        try:
            for form, value in meant:
                form.adopt(value)
        except BaseException as error:
            for parameter, state in before:
                parameter.restore(state)
            if isinstance(error, (ValueError, OSError)):
                raise ParameterRefused(f"the change cannot be taken: {error}") from error
            raise
        return [form.parameter.name for form, _ in meant]

    def _found(self) -> tuple[dict[str, bytes], list[str]]:
        """Every file below the folder, and what is wrong with what lies there."""
        own = {form.name for form in self._forms if isinstance(form, _OneFile)}
        below = tuple(f"{form.name}/" for form in self._forms if isinstance(form, _ManyFiles))
        found: dict[str, bytes] = {}
        faults: list[str] = []
        for top, folders, files in os.walk(self.folder):
            for name in (*(one for one in folders if Path(top, one).is_symlink()), *files):
                path = Path(top, name)
                rel = path.relative_to(self.folder).as_posix()
                if not _DEBRIS.isdisjoint(Path(rel).parts):
                    continue
                mode = path.lstat()
                if rel not in own and not rel.startswith(below or ("\0",)):
                    faults.append(f"{rel} belongs to no parameter: remove it. You may change only the files named.")
                elif not stat.S_ISREG(mode.st_mode):
                    faults.append(f"{rel} is no regular file: write its content instead")
                elif mode.st_size > MAX_BYTES:
                    faults.append(f"{rel} has {mode.st_size:,} bytes; {MAX_BYTES:,} is the most")
                else:
                    found[rel] = path.read_bytes()
        return found, faults


def blocks_in(text: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a text that name a file: its name, and the exact lines between the fences."""
    opened: Fence | None = None
    name, lines = "", list[str]()
    for line in text.splitlines(keepends=True):
        fence = read_fence(line)
        if opened is None:
            if fence is not None and (found := language_and_filename(fence.rest)[1]):
                opened, name, lines = fence, found, []
        elif fence is not None and fence.bare and fence.reaches(opened):
            yield name, "".join(lines)
            opened = None
        else:
            lines.append(line)


def _safe_below(name: str, below: tuple[str, ...]) -> bool:
    return bool(below) and name.startswith(below) and ".." not in Path(name).parts


def kind_of(parameter: Parameter) -> str:
    """How its value is written down: `json`, `number`, `text`, or `state` for one that says so itself."""
    if isinstance(parameter, JSONParameter):
        return "json"
    if isinstance(parameter, ScalarParameter):
        return "number"
    if isinstance(parameter, TextParameter):
        return "text"
    own_state = type(parameter).snapshot is not Parameter.snapshot or type(parameter).restore is not Parameter.restore
    if own_state:
        return "state"
    return "text" if isinstance(parameter.data, str) else "json"


def _file_name(name: str, taken: set[str]) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name).strip(".") or "parameter"
    chosen, number = plain, 1
    while chosen.casefold() in taken:
        number += 1
        chosen = f"{plain}-{number}"
    taken.add(chosen.casefold())
    return chosen
