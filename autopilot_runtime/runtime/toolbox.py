"""The tools of an agent file, loaded into its registry; a name nobody knows is an error with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from autopilot_runtime.core.errors import AgentFileError, SetupError
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.agentresolve import ToolChoice
from autopilot_runtime.runtime.rights import rules_of
from autopilot_runtime.runtime.roster import Roster
from autopilot_runtime.runtime.skills import Skill, find_skills, load_skill
from autopilot_runtime.tool.define import Tool, define
from autopilot_runtime.tool.pack import load_pack, load_tools, shipped
from autopilot_runtime.tool.registry import ToolRegistry

Callees = dict[str, AgentFile]


def fill_registry(
    registry: ToolRegistry, agent: AgentFile, skills: Sequence[Skill], roster: Roster, *, depth: int | None = None
) -> dict[str, Callees]:
    """Register what the file grants, in its order; gives the agents that each tool may call.

    At `depth` 0 the tools that call agents are left out.
    """
    problems: list[str] = []
    callees: dict[str, Callees] = {}
    here = {tool for tools in shipped().values() for tool in tools}
    for choice in agent.tools:
        listed = choice.key in agent.marked.marks  # else it is of the default set, as far as that is shipped
        if not choice.enabled or (not listed and choice.name not in here):
            continue
        try:
            for tool, called in _granted(agent, choice, roster, problems, depth=depth):
                _register(registry, tool)
                callees[tool.name] = called
        except SetupError as error:
            problems.append(agent.problem(choice.key, str(error)))
    if problems:
        raise AgentFileError(problems)
    if skills:
        registry.register("load_skill", define(_skill_tool(skills), "load_skill", effect="read"))
    return callees


def _register(registry: ToolRegistry, tool: Tool) -> None:
    """Add a tool. A pack that comes with another one may be listed, too: that is one tool, not two."""
    have = registry.get(tool.name)
    if have is None or have.func is not tool.func:
        registry.register(tool.name, tool)


def _granted(
    agent: AgentFile, choice: ToolChoice, roster: Roster, problems: list[str], *, depth: int | None
) -> Iterator[tuple[Tool, Callees]]:
    """The tools of an entry, each with the agents it may call; the first one that calls any lists them."""
    tools = load_pack(choice.path) if choice.path else load_tools(choice.name, folder=agent.path.parent)
    calling = [tool for tool in tools if tool.calls_agents]
    if choice.agents and not calling:
        raise SetupError(f"{choice.name} calls no agents; a tool of your own that does is marked @tool(agents=True).")
    called = _callees(agent, choice, roster, problems) if calling else {}
    roles = {name: f"{one.role} (has {_tools_of(one)})".strip() for name, one in called.items()}
    for tool in tools:
        mine = tool.with_config(choice.config)
        if not tool.calls_agents:
            yield mine, {}
        elif depth != 0:
            yield mine.with_agents(roles, listed=tool is calling[0]), called


def _tools_of(agent: AgentFile) -> str:
    return ", ".join(choice.name for choice in agent.tools if choice.enabled)[:200] or "no tools"


def _callees(agent: AgentFile, choice: ToolChoice, roster: Roster, problems: list[str]) -> Callees:
    """The agents an entry names, whole and checked: a fault in one of their files is a fault in this one."""
    if not choice.agents:
        example = "config: {agents: {reviewer: ./reviewer.yaml}}"
        raise SetupError(f"{choice.name} calls other agents, and none is named. Give it e.g. {example}.")
    found = {}
    for name, path in choice.agents.items():
        try:
            found[name] = _enlisted(path, roster)
        except SetupError as error:
            key = (*choice.key, "config", "agents", name)
            problems += [agent.problem(key, text) for text in getattr(error, "problems", [str(error)])]
    return found


def _enlisted(path: Path, roster: Roster) -> AgentFile:
    agent, fresh = roster.enlist(path)
    if fresh:
        rules_of(agent, ())
        registry = ToolRegistry()
        fill_registry(registry, agent, find_skills(agent.skills), roster)
        roster.tools.update(registry.names())
    return agent


def _skill_tool(skills: Sequence[Skill]) -> Callable[..., str]:
    def load(name: str, file: str | None = None) -> str:
        """Read a skill of the catalogue, or one of its files."""
        return load_skill(skills, name, file)

    return load
