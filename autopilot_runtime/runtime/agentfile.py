"""Load an agent file: every fault at once, each with its place; paths resolved; nothing started.

Paths in the file are relative to the folder of the *real* file: a link to an agent file finds the prompts that
stand beside the file it points to. There is no interpolation of environment variables: `$HOME` is just text.
Where a secret is needed, the file holds the name of a variable (`api_key_env`), never its value.
"""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from pydantic import ValidationError

from autopilot_runtime.core.errors import AgentFileError
from autopilot_runtime.core.protocols import Limits
from autopilot_runtime.model.compatible import PRESETS
from autopilot_runtime.model.settings import ModelSettings
from autopilot_runtime.runtime.agentfault import at, explain, mark_of
from autopilot_runtime.runtime.agentmodel import key_env, model_settings
from autopilot_runtime.runtime.agentpaths import agent_path, read_regular
from autopilot_runtime.runtime.agentresolve import ToolChoice, resolve_agent
from autopilot_runtime.runtime.agentschema import (
    AgentDocument,
    AgentSpec,
    McpServerSpec,
    MemorySpec,
    ModelSpec,
    PermissionRule,
    RuntimeSpec,
)
from autopilot_runtime.runtime.agentshow import json_schema, masked
from autopilot_runtime.runtime.yamlfault import MAX_BYTES
from autopilot_runtime.runtime.yamlmarks import Key, Marked, load_marked

__all__ = ["AgentFile", "ToolChoice", "json_schema"]


@dataclass(frozen=True, slots=True, weakref_slot=True)
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
        resolved = resolve_agent(spec, marked, shown=str(found), folder=real.parent)
        agent = cls(
            path=real,
            name=spec.name,
            role=spec.role.strip(),
            system_prompt=resolved.system_prompt,
            model=spec.model,
            runtime=spec.runtime,
            memory=spec.memory,
            tools=resolved.tools,
            permissions=tuple(spec.permissions),
            instructions=tuple(spec.instructions),
            skills=resolved.skills,
            output_schema=spec.output_schema,
            mcp_servers=spec.mcp_servers,
            work_dir=resolved.work_dir,
            prompt_path=resolved.prompt_path,
            shown_path=str(found),
            marked=marked,
        )
        return _shared(agent, (str(found), raw, repr(changed)))

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
        return key_env(self.model.provider, self.model.api_key_env)

    @property
    def protected(self) -> tuple[Path, ...]:
        """Files and folders that decide what the agent may do: its own tools must never write them."""
        own = [self.path, *([self.prompt_path] if self.prompt_path else []), *self.skills]
        projects = [tool.config["project"].rpartition(".py")[0] for tool in self.tools if "project" in tool.config]
        return (
            *own,
            *(tool.path for tool in self.tools if tool.path),
            *(Path(f"{one}.py") for one in projects if one),
        )

    def missing_keys(self, environ: Mapping[str, str]) -> list[str]:
        """A line for each variable that holds a key and is not set."""
        env, preset = self.key_env, PRESETS.get(self.model.provider)
        if env is None or environ.get(env, "").strip() or preset is None or preset.family == "local":
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
        return model_settings(self.model, self.path.parent)

    def resolved(self) -> dict[str, Any]:
        """The whole configuration with defaults filled in and paths absolute; secrets left out."""
        return {
            "agent_file": str(self.path),
            "paths_relative_to": str(self.path.parent),
            "name": self.name,
            "role": self.role,
            "system_prompt": str(self.prompt_path) if self.prompt_path else self.system_prompt,
            "model": {**masked(self.model.model_dump()), "api_key_env": self.key_env},
            "runtime": {**self.runtime.model_dump(), "work_dir": str(self.work_dir)},
            "memory": self.memory.model_dump(),
            "tools": [
                {"name": str(t.path or t.name), "enabled": t.enabled, "config": masked(t.config)} for t in self.tools
            ],
            "permissions": [{rule.action: rule.rule} for rule in self.permissions],
            "instructions": list(self.instructions),
            "skills": [str(folder) for folder in self.skills],
            "output_schema": self.output_schema,
            "mcp_servers": {name: masked(s.model_dump()) for name, s in self.mcp_servers.items()},
        }


_loaded: WeakValueDictionary[tuple[str, bytes, str], AgentFile] = WeakValueDictionary()


def _shared(agent: AgentFile, source: tuple[str, bytes, str]) -> AgentFile:
    """The one that is in use already, if it is the same: hundreds of runtimes of one file hold one of it.

    It was read anew all the same, so what has changed around the file (its prompt, say) makes it another one.
    """
    known = _loaded.get(source)
    if known == agent:
        return known
    _loaded[source] = agent
    return agent


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
