"""Build the system prompt: `prompt.md` cut to the granted tools, then the tools, skills and the agent's own text.

The prompt is the same for the life of a session (providers cache it): nothing in it may come from a clock, a
step or the state of the workspace. What changes goes into the messages, see `notes.py`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from autopilot_runtime.core.protocols import ToolSpec
from autopilot_runtime.runtime.notes import defuse
from autopilot_runtime.runtime.skills import Skill, catalogue

_DOC_CHARS = 4_000  # of one tool: a foreign tool's description must not crowd out everything else
_CHECKS = (
    ("execute", "run the tests, or the program"),
    ("read_file", "read the changed lines again"),
)


class Persona(Protocol):
    """What the prompt takes from an agent file."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def system_prompt(self) -> str: ...
    @property
    def output_schema(self) -> Mapping[str, Any] | None: ...


def build_prompt(
    agent: Persona, specs: Iterable[ToolSpec], *, tag: str, skills: Sequence[Skill] = (), shells: str = ""
) -> str:
    """The whole system prompt; `shells` says how they are confined. The same arguments always give the same text."""
    specs = list(specs)
    granted = {spec.name for spec in specs}
    check = next((text for tool, text in _CHECKS if tool in granted), "go through your reasoning once more")
    role = f" {agent.role}" if agent.role else ""
    more = {"confined": bool(shells), "payloads": any(spec.payloads is not None for spec in specs)}
    base = cut(_template(), granted | {word for word, holds in more.items() if holds})
    values = {"name": agent.name, "role": role, "tag": tag, "check": check, "shells": shells}
    for key, value in values.items():
        base = base.replace("{{" + key + "}}", value)
    parts = [base.strip(), _tools(specs, tag)]
    if skills and "load_skill" in granted:
        parts.append("# Skills\n\n" + defuse(catalogue(skills), tag))
    if agent.output_schema is not None:
        parts.append(_output(agent.output_schema))
    if agent.system_prompt.strip():
        parts.append(f"# Your instructions\n\n{agent.system_prompt.strip()}")
    return "\n\n".join(parts) + "\n"


def cut(template: str, granted: Collection[str]) -> str:
    """The template without the parts for tools that are not granted.

    `%% if a !b` keeps what follows, up to its `%% end`, when `a` is granted and `b` is not. Parts may nest.
    """
    kept: list[str] = []
    stack: list[bool] = []
    for line in template.splitlines():
        if line.startswith("%% if "):
            stack.append(all(_holds(word, granted) for word in line.split()[2:]))
        elif line == "%% end":
            stack.pop()
        elif all(stack):
            kept.append(line)
    if stack:
        raise ValueError("prompt.md: a `%% if` without `%% end`")
    return "\n".join(kept)


def _holds(word: str, granted: Collection[str]) -> bool:
    return word[1:] not in granted if word.startswith("!") else word in granted


@cache
def _template() -> str:
    return Path(__file__).with_name("prompt.md").read_text(encoding="utf-8")


def _tools(specs: Sequence[ToolSpec], tag: str) -> str:
    if not specs:
        return "# Tools\n\nYou have no tools: a control block can only compute."
    entries = [f"`{spec.signature}`\n{_doc(spec.doc, tag)}".rstrip() for spec in specs]
    return "# Tools\n\n" + "\n\n".join(entries)


def _doc(doc: str, tag: str) -> str:
    text = inspect.cleandoc(doc)
    if len(text) > _DOC_CHARS:
        text = text[:_DOC_CHARS] + " [...]"
    # A heading in a foreign description would look like a part of this prompt.
    return "\n".join("    " + line if line else "" for line in defuse(text, tag).splitlines())


def _output(schema: Mapping[str, Any]) -> str:
    return (
        "# The form of your final answer\n\n"
        "The completion block holds one JSON value and nothing else. It must fit this JSON Schema:\n\n"
        + json.dumps(schema, ensure_ascii=False, indent=1)
    )
