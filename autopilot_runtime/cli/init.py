"""`autopilot init`: an agent file for this project, with the model whose key is there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autopilot_runtime.cli import safe
from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.files import write_atomic

SCHEMA = Path(".autopilot") / "agent.schema.json"
_OLLAMA_HOST = ("127.0.0.1", 11434)
_OLLAMA_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Choice:
    """A model to begin with, and why it was chosen."""

    provider: str
    name: str
    key_env: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Project:
    """What kind of project lies here, and how its tests are run."""

    kind: str
    test: str | None


_KEYS = (
    ("ANTHROPIC_API_KEY", "anthropic", "claude-sonnet-4-5"),
    ("OPENAI_API_KEY", "openai", "gpt-5.1"),
    ("DASHSCOPE_API_KEY", "alibaba", "qwen-plus"),
)
_PROJECTS = (
    (("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt"), Project("Python", "pytest")),
    (("package.json",), Project("Node", "npm test")),
    (("Cargo.toml",), Project("Rust", "cargo test")),
    (("go.mod",), Project("Go", "go test")),
    (("pom.xml",), Project("Java (Maven)", "mvn test")),
    (("build.gradle", "build.gradle.kts"), Project("Java (Gradle)", "gradle test")),
    (("Gemfile",), Project("Ruby", "bundle exec rake test")),
    (("Makefile",), Project("Make", "make test")),
)


def init_command(folder: Path, *, force: bool) -> ExitCode:
    """Write agent.yaml and the schema beside it; never over what is there."""
    if not folder.is_dir():
        raise SetupError(f"There is no folder {str(folder)!r}.")
    target = folder / "agent.yaml"
    if target.exists() and not force:
        raise SetupError(f"{target} is there already. --force replaces it.")
    from autopilot_runtime.runtime.agentfile import AgentFile, json_schema  # after the quick refusals

    choice, project = choose_model(os.environ), project_of(folder)
    text = agent_yaml(choice, project, name=folder.resolve().name or "agent")
    trial = target.with_name(".agent.yaml.new")
    write_atomic(trial, text.encode(), mode=0o644)
    try:
        AgentFile.load(trial)  # a home folder, say, is refused as a place to work in
        trial.replace(target)
    except SetupError as error:
        raise SetupError(f"No agent file was written: {error}".replace(f"{trial}", f"{target}")) from error
    finally:
        trial.unlink(missing_ok=True)
    schema = folder / SCHEMA
    schema.parent.mkdir(mode=0o755, exist_ok=True)
    write_atomic(schema, (json.dumps(json_schema(), indent=2) + "\n").encode(), mode=0o644)
    for line in _told(target, choice, project):
        sys.stdout.write(f"{line}\n")
    return ExitCode.DONE


def choose_model(env: Mapping[str, str]) -> Choice:
    """The first provider whose key is set; else Ollama when it runs here; else Anthropic, and how to get a key."""
    for key_env, provider, name in _KEYS:
        if env.get(key_env, "").strip():
            return Choice(provider, name, key_env, f"{key_env} is set")
    model = ollama_model()
    if model is not None:
        host, port = _OLLAMA_HOST
        return Choice("ollama", model, None, f"Ollama answers on {host}:{port}")
    key_env, provider, name = _KEYS[0]
    return Choice(provider, name, key_env, "no key was found")


def ollama_model() -> str | None:
    """The first model of a running Ollama, or None."""
    from http.client import HTTPConnection, HTTPException  # only asked when there is no key

    connection = HTTPConnection(*_OLLAMA_HOST, timeout=_OLLAMA_SECONDS)
    try:
        connection.request("GET", "/api/tags")
        models = json.loads(connection.getresponse().read(1_000_000))["models"]
        return str(models[0]["name"]) if models else "qwen3"
    except (OSError, HTTPException, ValueError, KeyError, TypeError, IndexError):
        return None
    finally:
        connection.close()


def project_of(folder: Path) -> Project:
    """The kind of project, by the files at its top."""
    for names, project in _PROJECTS:
        if any((folder / name).is_file() for name in names):
            return project
    return Project("unknown", None)


def agent_yaml(choice: Choice, project: Project, *, name: str) -> str:
    """The commented agent file."""
    key = (
        f'\n    api_key_env: "{choice.key_env}"' + " " * 4 + "# the NAME of the variable, never the key"
        if choice.key_env
        else ""
    )
    kind = "" if project.test is None else f" for a {project.kind} project"
    allow = (
        f'\n    - allow: "execute({project.test} *)"\n    - allow: "execute({project.test})"' if project.test else ""
    )
    return f"""# yaml-language-server: $schema={SCHEMA.as_posix()}
# An agent{kind}. Paths are relative to this file. Check it with: autopilot lint agent.yaml
agent:
  name: {json.dumps(safe.one_line(name, 100), ensure_ascii=False)}
  role: "A careful senior software engineer."

  # Instructions of your own: text, or the path of a .md file.
  # system_prompt: "prompt.md"

  model:
    provider: "{choice.provider}"    # {choice.why}
    name: {json.dumps(choice.name)}{key}
    max_tokens: 8096

  runtime:
    work_dir: "."          # what it may read and write
    max_steps: 30
    max_cost_usd: 2.0      # stops before the call that would cost more

  # Exactly these. Without `tools:` it has the default set.
  tools:
    - "read_file"
    - "write_file"
    - "execute"
    - "read_output"
    - "send_input"
    - "terminate_terminal"
    - "find"
    - "ask_user"

  # A deny always wins; else the first rule that fits decides.
  permissions:
    - deny: "write_file(.env)"
    - deny: "write_file(.git/*)"{allow}
    - ask: "execute(*)"

  # Project instructions that are read at the start of a task, when they are there.
  instructions: ["AGENTS.md"]
"""


def _told(target: Path, choice: Choice, project: Project) -> list[str]:
    lines = [f"Wrote {target} and {target.parent / SCHEMA}"]
    lines.append(f"Model: {choice.provider}/{safe.one_line(choice.name)} ({choice.why})")
    lines.append(f"Project: {project.kind}" + (f", tests with `{project.test}`" if project.test else ""))
    if choice.why == "no key was found":
        lines.append(f"First: export {choice.key_env}=...   (or start Ollama, and run init again)")
    place = target if target.parent != Path() else Path("agent.yaml")
    lines.append(f'Next: autopilot run {place} "Explain what this project does"')
    return lines
