"""Skills: folders with a SKILL.md. The prompt lists them, the body is read when one is loaded, files on demand."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import AgentFileError, ToolError
from autopilot_runtime.core.message import printable
from autopilot_runtime.runtime.agentpaths import read_regular
from autopilot_runtime.runtime.yamlmarks import load_marked

MAX_DEPTH = 6
MAX_FOLDERS = 2_000
MAX_LISTED = 100
_HEAD_BYTES = 64 * 1024
_FILE_BYTES = 256 * 1024
_BODY_CHARS = 20_000  # about 5,000 tokens
_BODY_LINES = 500
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_PAIR = re.compile(r"^([A-Za-z][\w-]*):[ \t]+(?![|>\"'\[{&*!])(.+?)[ \t]*\r?$", re.MULTILINE)
_SKIPPED = {"node_modules", "__pycache__", "venv"}


@dataclass(frozen=True, slots=True)
class Skill:
    """One skill of the catalogue; its body is read when it is loaded."""

    name: str
    description: str
    folder: Path


def find_skills(folders: Iterable[Path], warnings: list[str] | None = None) -> list[Skill]:
    """The skills in these folders; of two with one name the first found counts. `warnings` is added to.

    Lenient: a skill is left out only when it has no description or its head cannot be read.
    """
    skills: dict[str, Skill] = {}
    warnings = [] if warnings is None else warnings
    for folder in folders:
        for file in _skill_files(folder, warnings):
            skill = _read_head(file, warnings)
            if skill is None:
                continue
            if skill.name in skills:
                warnings.append(f"{file}: {skill.name!r} is already in {skills[skill.name].folder}; left out")
                continue
            skills[skill.name] = skill
    return list(skills.values())


def catalogue(skills: Sequence[Skill]) -> str:
    """The list for the system prompt: one line for each skill."""
    lines = [f"- {skill.name}: {skill.description}" for skill in skills[:MAX_LISTED]]
    if len(skills) > MAX_LISTED:
        lines.append(f"- and {len(skills) - MAX_LISTED} more")
    head = "When a task fits one of these, read it first with a bare `load_skill(name)`."
    return "\n".join([head, "", *lines])


def load_skill(skills: Sequence[Skill], name: str, file: str | None = None) -> str:
    """The instructions of a skill and the names of its files; or one of these files. Raises `ToolError`."""
    skill = next((s for s in skills if s.name == name), None)
    if skill is None:
        known = ", ".join(s.name for s in skills) or "none"
        raise ToolError(f"There is no skill {name!r}. Skills: {known}.")
    if file is not None:
        return _resource(skill, file)
    body = _FRONT.sub("", _text(skill.folder / "SKILL.md"), count=1).strip()
    lines = body.splitlines()
    if len(lines) > _BODY_LINES or len(body) > _BODY_CHARS:
        body = "\n".join(lines[:_BODY_LINES])[:_BODY_CHARS]
        body += f'\n[cut here; the whole text is load_skill({name!r}, "SKILL.md")]'
    files = resources(skill)
    if files:
        body += f"\n\nFiles of this skill, each read with load_skill({name!r}, file): {', '.join(files)}"
    return body


def resources(skill: Skill) -> list[str]:
    """The files beside SKILL.md, relative to the skill's folder."""
    found: list[str] = []
    for folder, files in _walk(skill.folder, MAX_DEPTH):
        found += [(folder / f).relative_to(skill.folder).as_posix() for f in files if f != "SKILL.md"]
        if len(found) >= MAX_LISTED:
            break
    return sorted(found)[:MAX_LISTED]


def _resource(skill: Skill, file: str) -> str:
    try:
        path = (skill.folder / file).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        raise ToolError(f"The skill {skill.name!r} has no file {file!r}.") from None
    if not path.is_relative_to(skill.folder):
        raise ToolError(f"{file!r} is outside the skill {skill.name!r}.")
    return _text(path)


def _text(path: Path) -> str:
    try:
        raw = read_regular(path, _FILE_BYTES)
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(raw) > _FILE_BYTES:
        raise ToolError(f"{path} is longer than {_FILE_BYTES:,} bytes.")
    return printable(raw.decode("utf-8-sig", "replace"))


def _walk(top: Path, depth: int) -> Iterable[tuple[Path, list[str]]]:
    """Folders below `top` with their files, links not followed, hidden folders left out, names in order."""
    for seen, (place, folders, files) in enumerate(os.walk(top), 1):
        if seen > MAX_FOLDERS:
            return
        here = Path(place)
        deep = len(here.relative_to(top).parts) >= depth
        folders[:] = [] if deep else sorted(f for f in folders if f[0] != "." and f not in _SKIPPED)
        yield here, sorted(f for f in files if not (here / f).is_symlink())


def _skill_files(folder: Path, warnings: list[str]) -> Iterable[Path]:
    top = folder.resolve()
    if not top.is_dir():
        warnings.append(f"{folder}: there is no such folder")
        return
    for place, files in _walk(top, MAX_DEPTH):
        if "SKILL.md" in files:
            yield place / "SKILL.md"


def _read_head(file: Path, warnings: list[str]) -> Skill | None:
    try:
        raw = read_regular(file, _HEAD_BYTES)[:_HEAD_BYTES]
        front = _FRONT.match(raw.decode("utf-8-sig", "replace"))
        if front is None:
            raise ToolError("it does not begin with a head between two lines of `---`")
        head = _fields(front.group(1), str(file))
    except (OSError, ToolError, AgentFileError) as error:
        warnings.append(f"{file}: left out: {str(error).splitlines()[0]}")
        return None
    description = " ".join(str(head.get("description") or "").split())
    if not description:
        warnings.append(f"{file}: left out: it has no description")
        return None
    name = str(head.get("name") or file.parent.name).strip()
    if not _NAME.match(name) or len(name) > 64 or name != file.parent.name:
        warnings.append(f"{file}: the name should be the folder's, of a-z, 0-9 and single dashes")
        name = "-".join(re.findall(r"[a-z0-9]+", name.lower()))[:64].strip("-") or "skill"
    if len(description) > 1024:
        warnings.append(f"{file}: the description is longer than 1,024 characters; cut")
    return Skill(name, printable(description[:1024]), file.parent)


def _fields(front: str, name: str) -> dict[str, Any]:
    """The head as data. An unquoted colon in a value is the usual fault: the second try quotes all values."""
    try:
        data = load_marked(front.encode("utf-8", "replace"), name).data
    except AgentFileError:
        quoted = _PAIR.sub(lambda m: f"{m[1]}: '{m[2].replace(chr(39), chr(39) * 2)}'", front)
        data = load_marked(quoted.encode("utf-8", "replace"), name).data
    if not isinstance(data, dict):
        raise ToolError("its head is not `key: value` lines")
    return data
