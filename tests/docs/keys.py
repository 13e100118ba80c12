"""Writes the tables of docs/agent-file.md from the schema, so that the page cannot fall behind it.

python -m tests.docs.keys
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autopilot_runtime.runtime.agentfile import json_schema

PAGE = Path(__file__).parents[2] / "docs" / "agent-file.md"
BEGIN, END = "<!-- keys: written by python -m tests.docs.keys -->\n", "<!-- end of keys -->\n"
SECTIONS = {
    "agent": "AgentSpec",
    "agent.model": "ModelSpec",
    "agent.model.thinking": "ThinkingSpec",
    "agent.model.price": "PriceSpec",
    "agent.model.fallbacks": "FallbackSpec",
    "agent.runtime": "RuntimeSpec",
    "agent.runtime.per_session": "SessionLimits",
    "agent.runtime.limits": "LimitsSpec",
    "agent.runtime.sandbox": "SandboxSpec",
    "agent.memory": "MemorySpec",
    "agent.tools": "ToolSpecEntry",
    "agent.tools.config": "ToolConfig",
    "agent.permissions": "PermissionRule",
    "agent.mcp_servers": "McpServerSpec",
}


def tables() -> str:
    """A table for each section of an agent file."""
    return "\n".join(line for section, name in SECTIONS.items() for line in _table(section, name)) + "\n"


def _table(section: str, name: str) -> Iterator[str]:
    definition = json_schema()["$defs"][name]
    yield f"### `{section}`\n\n| key | when left out | what it is |\n|---|---|---|"
    for key, value in definition["properties"].items():
        required = key in definition.get("required", [])
        yield f"| `{key}` | {'needed' if required else _default(value)} | {_cell(value['description'])} |"
    yield ""


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default in (None, "", [], {}) or isinstance(default, dict):
        return ""
    if isinstance(default, list) and len(default) > 1:
        return "see below"
    return f"`{json.dumps(default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def with_tables(page: str) -> str:
    """The page with fresh tables."""
    head, _, rest = page.partition(BEGIN)
    return head + BEGIN + "\n" + tables() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
