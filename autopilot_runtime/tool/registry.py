"""The tools of one runtime, by name and in order."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterator
from typing import Any

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.protocols import ToolSpec
from autopilot_runtime.tool.define import Tool, define, is_tool, tool_of


class ToolRegistry:
    """Name → `Tool`. Public as `runtime.registry`."""

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}

    def register(self, name: str, func: Callable[..., Any] | Tool, replace: bool = False) -> Tool:
        """Add a tool under a name. A name that is taken is an error unless `replace`."""
        tool = func if isinstance(func, Tool) else tool_of(func) if is_tool(func) else define(func, name)
        if tool.name != name:
            tool = _renamed(tool, name)
        old = self._tools.get(name)
        if old is not None and not replace:
            raise SetupError(f"There is already a tool {name!r}; pass replace=True to put yours in its place.")
        if old is not None and not tool.config:
            # A replacement keeps the settings the agent file gave the name: who asked for permission still wants it.
            tool = tool.with_config(old.config)
            tool = tool.with_agents(old.agents) if old.agents else tool
        if old is not None:
            tool = _judged_alike(tool, old)
        self._tools[name] = tool
        return tool

    def remove(self, name: str) -> None:
        """Take a tool away."""
        self[name]
        del self._tools[name]

    def get(self, name: str) -> Tool | None:
        """The tool, or None."""
        return self._tools.get(name)

    def __getitem__(self, name: str) -> Tool:
        tool = self._tools.get(name)
        if tool is None:
            near = difflib.get_close_matches(name[:60], self._tools, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise KeyError(f"No tool {name[:80]!r}.{hint} There are: {', '.join(self._tools) or 'none'}.")
        return tool

    def specs(self) -> dict[str, ToolSpec]:
        """What control blocks and the system prompt know, by name."""
        return {name: tool.spec for name, tool in self._tools.items()}

    def names(self) -> list[str]:
        """The names, in order."""
        return list(self._tools)

    def asks(self, name: str) -> bool:
        """Whether a person is asked before calls of this tool: because of itself, or of the tool it is gated by."""
        tool = self[name]
        gate = self._tools.get(tool.gate) if tool.gate else None
        return tool.asks or (gate is not None and gate.asks)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def __iter__(self) -> Iterator[Tool]:
        return iter(tuple(self._tools.values()))

    def __len__(self) -> int:
        return len(self._tools)


def _judged_alike(tool: Tool, old: Tool) -> Tool:
    """A replacement that does not say what rules judge it by is judged as the tool whose place it takes."""
    has = {param.name for param in tool.spec.params}
    if tool.command_param or tool.path_param or tool.previewer:
        return tool
    return dataclasses.replace(
        tool,
        command_param=old.command_param if old.command_param in has else None,
        path_param=old.path_param if old.path_param in has else None,
        effect=old.effect if tool.effect == "other" else tool.effect,
        labeller=tool.labeller or (old.labeller if old.command_param in has else None),
    )


def _renamed(tool: Tool, name: str) -> Tool:
    return dataclasses.replace(tool, spec=dataclasses.replace(tool.spec, name=name))
