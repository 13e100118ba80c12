"""What the schema of an agent file cannot know: where its paths lead, the prompt's text, tools listed twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import AgentFileError, SetupError
from autopilot_runtime.core.shelf import shelf
from autopilot_runtime.runtime.agentfault import at, mark_of
from autopilot_runtime.runtime.agentpaths import (
    PathFault,
    agent_path,
    looks_like_path,
    project_root,
    read_prompt,
    resolve,
    resolve_inside,
    work_folder,
)
from autopilot_runtime.runtime.agentschema import AgentSpec
from autopilot_runtime.runtime.yamlmarks import Key, Marked


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """One entry of `tools:`. `path` is set when the entry is a file of the user's own. `key` is its place.

    `agents` are the files of the agents it may call, by name.
    """

    name: str
    enabled: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    key: Key = ("agent", "tools")
    agents: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The parts of an agent that come from the file system."""

    system_prompt: str
    prompt_path: Path | None
    work_dir: Path
    tools: tuple[ToolChoice, ...]
    skills: tuple[Path, ...]


def resolve_agent(spec: AgentSpec, marked: Marked, *, shown: str, folder: Path) -> Resolved:
    """Everything in `spec` that is relative to `folder`. Raises `AgentFileError` with all faults."""
    return _Resolver(spec, marked, shown=shown, folder=folder).build()


class _Resolver:
    """Gathers all faults before it raises."""

    def __init__(self, spec: AgentSpec, marked: Marked, *, shown: str, folder: Path) -> None:
        self.spec, self.marked, self.shown, self.folder = spec, marked, shown, folder
        self.roots = [project_root(self.folder)]
        self.problems: list[tuple[int, int, str]] = []

    def build(self) -> Resolved:
        spec = self.spec
        for index, written in enumerate(spec.trusted_folders):
            self._add_root(written, ("agent", "trusted_folders", index))
        for index, written in enumerate(spec.runtime.sandbox.writable):
            place = (self.folder / Path(written).expanduser()).absolute()
            if not place.is_dir():
                self._fault(("agent", "runtime", "sandbox", "writable", index), f"there is no folder {place}")
        prompt, prompt_path = self._prompt()
        found = Resolved(
            prompt, prompt_path, self._work_dir(), tuple(self._tools()), tuple(self._folders(spec.skills))
        )
        if self.problems:
            raise AgentFileError([text for *_, text in sorted(self.problems)])
        return found

    def _fault(self, key: Key, text: str) -> None:
        mark = mark_of(self.marked.marks, key)
        line = f"{at(self.shown, (mark.line, mark.column), key)}: {text}"
        self.problems.append((mark.line, mark.column, line))

    def _add_root(self, written: str, key: Key) -> None:
        try:
            root = resolve(written, self.folder)
        except PathFault as fault:
            self._fault(key, str(fault))
            return
        if not root.is_dir():
            self._fault(key, f"there is no folder {root}")
        self.roots.append(root)

    def _prompt(self) -> tuple[str, Path | None]:
        written = self.spec.system_prompt or ""
        if not looks_like_path(written):
            return written.strip(), None
        try:
            text, path = read_prompt(written, self.folder, roots=self.roots)
        except PathFault as fault:
            self._fault(("agent", "system_prompt"), str(fault))
            return "", None
        return text.strip(), path

    def _work_dir(self) -> Path:
        spec = self.spec.runtime
        try:
            return work_folder(spec.work_dir, self.folder, unsafe=spec.unsafe_mode)
        except PathFault as fault:
            self._fault(("agent", "runtime", "work_dir"), str(fault))
            return self.folder

    def _tools(self) -> Iterator[ToolChoice]:
        seen: dict[str, int] = {}
        for index, entry in enumerate(self.spec.tools):
            key: Key = ("agent", "tools", index)
            name = entry if isinstance(entry, str) else entry.name
            line = mark_of(self.marked.marks, key).line
            if name in seen:
                self._fault(key, f"{name!r} is listed twice: on line {seen[name]} and on line {line}; keep one")
            seen[name] = line
            path = self._tool_path(name, key)
            if isinstance(entry, str):
                yield ToolChoice(name, path=path, key=key)
            else:
                config = entry.config.model_dump(exclude_unset=True)
                if entry.config.project is not None:
                    config["project"] = self._project(entry.config.project, key)
                agents = dict(self._agents(entry.config.agents or {}, key))
                yield ToolChoice(name, entry.enabled, config, path=path, key=key, agents=agents)

    def _project(self, written: str, tool: Key) -> str:
        """`./train.py:module` with the path as it is; the name of a workbench as it was written."""
        file, colon, name = written.rpartition(":") if not written.endswith(".py") else (written, "", "")
        if not file.endswith(".py"):
            return written
        shipped = self.folder == shelf("agentfiles").resolve()
        try:
            # A shipped agent works where it is called from: beside its own file there is nothing to work on.
            path = resolve(file, Path.cwd()) if shipped else resolve_inside(file, self.folder, roots=self.roots)
        except PathFault as fault:
            self._fault((*tool, "config", "project"), str(fault))
            return written
        if not path.is_file() and not shipped:
            self._fault((*tool, "config", "project"), f"there is no file {path}")
        return f"{path}{colon}{name}"

    def _tool_path(self, name: str, key: Key) -> Path | None:
        if not (name.endswith(".py") or "/" in name or "\\" in name):
            return None
        try:
            path = resolve_inside(name, self.folder, roots=self.roots)
        except PathFault as fault:
            self._fault(key, str(fault))
            return None
        if path.suffix != ".py" or not path.is_file():
            self._fault(key, f"there is no tool pack {path}; a pack of your own is a .py file")
        return path

    def _agents(self, written: Mapping[str, str], tool: Key) -> Iterator[tuple[str, Path]]:
        for name, text in written.items():
            try:
                path, shipped = agent_path(text)
                path = path if shipped else resolve_inside(text, self.folder, roots=self.roots)
            except (PathFault, SetupError) as fault:
                self._fault((*tool, "config", "agents", name), str(fault))
                continue
            yield name, path

    def _folders(self, written: Iterable[str]) -> Iterator[Path]:
        for index, text in enumerate(written):
            key: Key = ("agent", "skills", index)
            try:
                path = resolve_inside(text, self.folder, roots=self.roots)
            except PathFault as fault:
                self._fault(key, str(fault))
                continue
            if not path.is_dir():
                self._fault(key, f"there is no folder {path}")
            yield path
