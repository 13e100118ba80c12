"""The tools of an agent file, loaded into its registry; a name nobody knows is an error with its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autopilot_runtime.core.errors import AgentFileError, SetupError
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.skills import Skill, load_skill
from autopilot_runtime.tool.define import define
from autopilot_runtime.tool.pack import load_pack, load_tools, shipped
from autopilot_runtime.tool.registry import ToolRegistry


def fill_registry(registry: ToolRegistry, agent: AgentFile, skills: Sequence[Skill]) -> None:
    """Register what the file grants, in its order."""
    problems = []
    here = {tool for tools in shipped().values() for tool in tools}
    for choice in agent.tools:
        listed = choice.key in agent.marked.marks  # else it is of the default set, as far as that is shipped
        if not choice.enabled or (not listed and choice.name not in here):
            continue
        try:
            folder = agent.path.parent
            for tool in load_pack(choice.path) if choice.path else load_tools(choice.name, folder=folder):
                registry.register(tool.name, tool.with_config(choice.config))
        except SetupError as error:
            problems.append(agent.problem(choice.key, str(error)))
    if problems:
        raise AgentFileError(problems)
    if skills:
        registry.register("load_skill", define(_skill_tool(skills), "load_skill", effect="read"))


def _skill_tool(skills: Sequence[Skill]) -> Callable[..., str]:
    def load(name: str, file: str | None = None) -> str:
        """Read a skill of the catalogue, or one of its files."""
        return load_skill(skills, name, file)

    return load
