"""Load an agent file: every fault at once, each with its place; paths resolved; nothing started.

Paths in the file are relative to the folder of the *real* file: a link to an agent file finds the prompts that
stand beside the file it points to. There is no interpolation of environment variables: `$HOME` is just text.
Where a secret is needed, the file holds the name of a variable (`api_key_env`), never its value.
"""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autopilot_runtime.core.errors import AgentFileError
from autopilot_runtime.core.protocols import Limits
from autopilot_runtime.core.secret import NAMES
from autopilot_runtime.model.compatible import PRESETS
from autopilot_runtime.model.settings import ModelSettings, Price, Retries, Thinking, Timeouts
from autopilot_runtime.runtime.agentfault import at, explain, mark_of
from autopilot_runtime.runtime.agentpaths import (
    PathFault,
    agent_path,
    looks_like_path,
    project_root,
    read_prompt,
    read_regular,
    resolve,
    resolve_inside,
    work_folder,
)
from autopilot_runtime.runtime.agentschema import (
    AgentDocument,
    AgentSpec,
    FallbackSpec,
    McpServerSpec,
    MemorySpec,
    ModelSpec,
    PermissionRule,
    PriceSpec,
    RuntimeSpec,
)
from autopilot_runtime.runtime.yamlmarks import MAX_BYTES, Key, Marked, load_marked


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """One entry of `tools:`. `path` is set when the entry is a file of the user's own. `key` is its place."""

    name: str
    enabled: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    key: Key = ("agent", "tools")


@dataclass(frozen=True, slots=True)
class AgentFile:
    """An agent, as its file says. Everything in it is checked except tool names, which the packs know."""

    path: Path
    name: str
    role: str
    system_prompt: str
    model: ModelSpec
    runtime: RuntimeSpec
    memory: MemorySpec
    tools: tuple[ToolChoice, ...]
    permissions: tuple[PermissionRule, ...]
    instructions: tuple[str, ...]
    skills: tuple[Path, ...]
    output_schema: Mapping[str, Any] | None
    mcp_servers: Mapping[str, McpServerSpec]
    work_dir: Path
    prompt_path: Path | None = None
    shown_path: str = ""
    marked: Marked = field(default_factory=lambda: Marked({}, {}), repr=False, compare=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> AgentFile:
        """The agent of a file (or of a shipped name). Raises `AgentFileError` with all faults.

        `overrides` replaces values by dotted key (`{"runtime.max_steps": 5}`), as command line flags do.
        """
        found, shipped = agent_path(path)
        raw, real = _read(found)
        marked = load_marked(raw, str(found))
        # A shipped agent works where it is called from: beside its own file there is nothing to work on.
        here = {"runtime.work_dir": str(Path.cwd())} if shipped else {}
        changed = {**here, **(overrides or {})}
        if changed:
            marked = Marked(_overridden(marked.data, changed), marked.marks)
        spec = _checked(marked, str(found))
        return _Builder(cls, spec, marked=marked, shown=str(found), real=real).build()

    def problem(self, key: Key, text: str) -> str:
        """`agent.yaml:12:7 tools.3: text`: a line for an `AgentFileError` about something in this file."""
        mark = mark_of(self.marked.marks, key)
        return f"{at(self.shown_path, (mark.line, mark.column), key)}: {text}"

    @property
    def limits(self) -> Limits:
        """What one control block may use."""
        spec = self.runtime.limits
        return Limits(spec.block_seconds, spec.memory_mb, spec.output_chars, spec.calls)

    @property
    def key_env(self) -> str | None:
        """The variable the model's key is read from; None when the provider needs none."""
        preset = PRESETS.get(self.model.provider)
        return self.model.api_key_env or (preset.key_env if preset else None)

    @property
    def protected(self) -> tuple[Path, ...]:
        """Files and folders that decide what the agent may do: its own tools must never write them."""
        own = [self.path, *([self.prompt_path] if self.prompt_path else []), *self.skills]
        return (*own, *(tool.path for tool in self.tools if tool.path))

    def missing_keys(self, environ: Mapping[str, str]) -> list[str]:
        """A line for each variable that holds a key and is not set."""
        env = self.key_env
        if env is None or environ.get(env):
            return []
        text = f"the variable {env} is not set; {self.model.provider} needs its key there"
        return [self.problem(("agent", "model", "api_key_env"), text)]

    def secret_env_names(self) -> set[str]:
        """The names of all variables this file takes secrets from."""
        names = {self.key_env, *(m.api_key_env for m in self.model_settings().fallbacks)}
        for tool in self.tools:
            names |= {str(v) for k, v in tool.config.items() if k.endswith("_env") and isinstance(v, str)}
        for server in self.mcp_servers.values():
            names |= {*server.env_from, *server.headers_from.values()}
        return {name for name in names if name}

    def model_settings(self) -> ModelSettings:
        """What `model/connect` needs to reach the model."""
        spec = self.model
        shared: dict[str, Any] = {
            "temperature": spec.temperature,
            "max_tokens": spec.max_tokens,
            "thinking": Thinking(spec.thinking.enabled, spec.thinking.budget_tokens, spec.thinking.effort),
            "timeouts": Timeouts(first_byte=spec.timeout, idle=spec.timeout) if spec.timeout else Timeouts(),
            "retries": Retries(attempts=spec.retries),
            "folder": self.path.parent,
        }
        return ModelSettings(
            spec.provider,
            spec.name,
            api_key_env=self.key_env,
            base_url=spec.base_url,
            wire_api=spec.wire_api,
            fallbacks=tuple(self._fallback(f, shared) for f in spec.fallbacks),
            api_version=spec.api_version,
            extra_headers=spec.extra_headers,
            extra_body=spec.extra_body,
            price=_price(spec.price),
            **shared,
        )

    def _fallback(self, entry: str | FallbackSpec, shared: Mapping[str, Any]) -> ModelSettings:
        other = FallbackSpec(name=entry) if isinstance(entry, str) else entry
        provider = other.provider or self.model.provider
        if provider == self.model.provider:  # the same door: key and address are the first model's
            key, url = other.api_key_env or self.key_env, other.base_url or self.model.base_url
        else:
            preset = PRESETS.get(provider)
            key, url = other.api_key_env or (preset.key_env if preset else None), other.base_url
        wire = other.wire_api if other.wire_api != "auto" else self.model.wire_api
        return ModelSettings(provider, other.name, api_key_env=key, base_url=url, wire_api=wire, **shared)

    def resolved(self) -> dict[str, Any]:
        """The whole configuration with defaults filled in and paths absolute; secrets left out."""
        return {
            "agent_file": str(self.path),
            "paths_relative_to": str(self.path.parent),
            "name": self.name,
            "role": self.role,
            "system_prompt": str(self.prompt_path) if self.prompt_path else self.system_prompt,
            "model": {**_masked(self.model.model_dump()), "api_key_env": self.key_env},
            "runtime": {**self.runtime.model_dump(), "work_dir": str(self.work_dir)},
            "memory": self.memory.model_dump(),
            "tools": [
                {"name": str(t.path or t.name), "enabled": t.enabled, "config": _masked(t.config)} for t in self.tools
            ],
            "permissions": [{rule.action: rule.rule} for rule in self.permissions],
            "instructions": list(self.instructions),
            "skills": [str(folder) for folder in self.skills],
            "output_schema": self.output_schema,
            "mcp_servers": {name: _masked(s.model_dump()) for name, s in self.mcp_servers.items()},
        }


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of an agent file, as editors want it: descriptions and no titles."""
    schema = _without_titles(AgentDocument.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _price(spec: PriceSpec | None) -> Price | None:
    if spec is None:
        return None
    read = spec.input if spec.cache_read is None else spec.cache_read
    write = spec.input if spec.cache_write is None else spec.cache_write
    return Price(spec.input, spec.output, read, write)


def _without_titles(value: Any, names: bool = False) -> Any:
    # Below `properties` and `$defs` the keys are names: a property called `title` stays.
    if isinstance(value, dict):
        return {
            key: _without_titles(item, names=not names and key in ("properties", "$defs"))
            for key, item in value.items()
            if names or key != "title"
        }
    return [_without_titles(item) for item in value] if isinstance(value, list) else value


def _masked(value: Any, key: str = "") -> Any:
    """A copy in which values that may be secrets are replaced; names of variables stay."""
    if isinstance(value, Mapping):
        hidden = key in ("env", "headers", "extra_headers")
        return {k: "(set)" if hidden else _masked(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item, key) for item in value]
    secret = isinstance(value, str) and NAMES.search(key) and not key.endswith("_env")
    return "(set)" if secret else value


def _read(found: Path) -> tuple[bytes, Path]:
    try:
        real = found.resolve(strict=True)
        return read_regular(real, MAX_BYTES), real
    except FileNotFoundError:
        near = _near_file(found)
        raise AgentFileError([f"{found}: there is no such file{near}"]) from None
    except (OSError, ValueError, RuntimeError) as error:  # also a NUL in the path, a loop of links
        raise AgentFileError([f"{found}: cannot be read: {error}"]) from None


def _near_file(found: Path) -> str:
    folder = found.parent
    names = [f.name for f in folder.glob("*.y*ml")] if folder.is_dir() else []
    near = difflib.get_close_matches(found.name, names, n=1)
    if near:
        return f"; did you mean {str(found.with_name(near[0]))!r}?"
    return f" (looked in {folder.absolute()})"


def _overridden(data: Any, overrides: Mapping[str, Any]) -> Any:
    data = copy.deepcopy(data)
    for dotted, value in overrides.items():
        at_key = data
        *parents, last = ["agent", *dotted.split(".")]
        for part in parents:
            at_key = at_key.setdefault(part, {}) if isinstance(at_key, dict) else {}
        if isinstance(at_key, dict):
            at_key[last] = value
    return data


def _checked(marked: Marked, shown: str) -> AgentSpec:
    if not isinstance(marked.data, dict):
        got = "empty" if marked.data is None else f"a {'list' if isinstance(marked.data, list) else 'single value'}"
        raise AgentFileError([f"{shown}:1:1: the file is {got}; it starts with `agent:` and sections below it"])
    fault: ValidationError | None = None
    try:
        document = AgentDocument.model_validate(marked.data)
    except ValidationError as error:
        fault = error
    problems = explain(fault, shown, marked)
    if problems:
        raise AgentFileError(problems)
    return document.agent


class _Builder:
    """Resolves what the schema cannot know: paths, prompt text, twice-listed tools. Gathers all faults."""

    def __init__(self, cls: type[AgentFile], spec: AgentSpec, *, marked: Marked, shown: str, real: Path) -> None:
        self.cls, self.spec, self.marked, self.shown, self.real = cls, spec, marked, shown, real
        self.folder = real.parent
        self.roots = [project_root(self.folder)]
        self.problems: list[tuple[int, int, str]] = []

    def build(self) -> AgentFile:
        spec = self.spec
        for index, written in enumerate(spec.trusted_folders):
            self._add_root(written, ("agent", "trusted_folders", index))
        prompt, prompt_path = self._prompt()
        work_dir = self._work_dir()
        tools = tuple(self._tools())
        skills = tuple(self._folders(spec.skills))
        if self.problems:
            raise AgentFileError([text for *_, text in sorted(self.problems)])
        return self.cls(
            path=self.real,
            name=spec.name,
            role=spec.role.strip(),
            system_prompt=prompt,
            model=spec.model,
            runtime=spec.runtime,
            memory=spec.memory,
            tools=tools,
            permissions=tuple(spec.permissions),
            instructions=tuple(spec.instructions),
            skills=skills,
            output_schema=spec.output_schema,
            mcp_servers=spec.mcp_servers,
            work_dir=work_dir,
            prompt_path=prompt_path,
            shown_path=self.shown,
            marked=self.marked,
        )

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
                yield ToolChoice(name, entry.enabled, config, path=path, key=key)

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
