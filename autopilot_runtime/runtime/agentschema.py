"""The keys an agent file may have: types, defaults, limits, and the text editors show for each."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from autopilot_runtime.confine.policy import MAX_PROCESSES
from autopilot_runtime.runtime.agentatoms import (
    Count,
    Dollars,
    EnvName,
    Host,
    Line,
    Provider,
    Seconds,
    Url,
    fault,
    file_name,
    is_list,
    is_mapping,
    shape,
)

# What an agent gets whose file has no `tools:`. semantic_search is not here: its first use indexes the whole
# workspace, which somebody should have asked for.
DEFAULT_TOOLS = (
    "read_file", "write_file", "execute", "read_output", "send_input", "terminate_terminal", "find", "ask_user",
    "archive_context", "reveal_context", "list_archived_context",
)  # fmt: skip
_RULE = re.compile(r"([A-Za-z_][\w.]*|\*)(?:\((.*)\))?\Z", re.DOTALL)


class Section(BaseModel):
    """What all sections share: unknown keys are faults, values are taken as they are, nothing changes later."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class ThinkingSpec(Section):
    enabled: bool = False
    """Let the model reason before it answers."""
    budget_tokens: Annotated[int, Field(ge=1024)] | None = None
    """Tokens it may spend on that; only for models that take a fixed budget."""
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    """How hard it thinks; for models that decide the amount themselves."""


class PriceSpec(Section):
    input: Dollars
    """US dollars per million input tokens."""
    output: Dollars
    """US dollars per million output tokens."""
    cache_read: Dollars | None = None
    """US dollars per million tokens read from the prompt cache; like input when left out."""
    cache_write: Dollars | None = None
    """US dollars per million tokens written to it; like input when left out."""


class FallbackSpec(Section):
    provider: Provider | None = None
    """Who serves it; the first model's provider when left out."""
    name: Line
    """Name of the model."""
    api_key_env: EnvName | None = None
    """Environment variable that holds the key."""
    base_url: Url | None = None
    """Address of the endpoint."""
    wire_api: Literal["auto", "chat", "responses"] = "auto"
    """Which OpenAI API the endpoint speaks."""


class ModelSpec(Section):
    provider: Provider
    """Who serves the model."""
    name: Line
    """Name of the model, as the provider calls it."""
    api_key_env: EnvName | None = None
    """Environment variable that holds the key. The provider's usual variable when left out."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Randomness of the answers. Current Anthropic models do not take it: it is dropped, with a warning."""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 8096
    """Longest reply, in tokens."""
    thinking: ThinkingSpec = ThinkingSpec()
    """Extended reasoning."""
    base_url: Url | None = None
    """Address of an OpenAI-compatible endpoint, or of a proxy."""
    wire_api: Literal["auto", "chat", "responses"] = "auto"
    """Which OpenAI API to speak; `auto` means responses at api.openai.com and chat everywhere else."""
    api_version: Line | None = None
    """Version header of the provider's API, for models that need an older one."""
    timeout: Seconds | None = None
    """Seconds without a byte from the provider before the call is tried again."""
    fallbacks: list[
        Annotated[Annotated[Line, Tag("text")] | Annotated[FallbackSpec, Tag("map")], Discriminator(is_mapping)]
    ] = []
    """Models to go on with when this one is down: names at the same provider, or whole entries."""
    retries: Annotated[int, Field(ge=1, le=20)] = 3
    """Tries of one model call, the first one included."""
    price: PriceSpec | None = None
    """What it costs, for a model that is not in the price table."""
    extra_headers: dict[str, str] = {}
    """Headers to send with every request."""
    extra_body: dict[str, Any] = {}
    """Fields to add to every request, as they are."""


class SandboxSpec(Section):
    shell: Literal["auto", "required", "off"] = "auto"
    """Confine shells when the system can (auto), refuse to start when it cannot (required), or never (off)."""
    network: Annotated[
        Annotated[Literal["off", "on"], Tag("one")] | Annotated[list[Host], Tag("list")],
        Discriminator(is_list),
    ] = "off"
    """Network of confined shells: off, on, or only these hosts."""
    writable: list[Line] = []
    """Folders outside work_dir that shells may write."""
    readable: list[Line] = []
    """More files and folders that shells may read. Programs on PATH and the system's own are readable anyway."""
    env: list[EnvName] = []
    """Variables shells may see although they look secret."""
    memory_mb: Annotated[int, Field(ge=64)] | None = None
    """Memory all shells together may use."""
    max_processes: Annotated[int, Field(ge=8, le=1_000_000)] = MAX_PROCESSES
    """Processes and threads all shells together may have."""


class LimitsSpec(Section):
    block_seconds: Seconds = 30.0
    """Time one control block may compute; time inside tools does not count."""
    memory_mb: Annotated[int, Field(ge=64, le=65_536)] = 512
    """Memory of one control block."""
    output_chars: Annotated[int, Field(ge=1_000, le=2_000_000)] = 64_000
    """Characters one control block may show to the model."""
    calls: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Tool calls one control block may make."""


class SessionLimits(Section):
    max_cost_usd: Annotated[float, Field(gt=0)] | None = None
    """Dollars all runs of a session may cost together."""
    max_tokens_total: Count | None = None
    """Tokens (in and out) all runs of a session may use together."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds all runs of a session may take together."""


class RuntimeSpec(Section):
    work_dir: Line = "."
    """Where the agent reads and writes, relative to this file. Made when it does not exist."""
    max_steps: Annotated[int, Field(ge=1, le=10_000)] = 30
    """Agentic steps one run() may take."""
    unsafe_mode: bool = False
    """Let file tools work outside work_dir."""
    max_cost_usd: Annotated[float, Field(gt=0)] | None = None
    """Dollars one run() may cost; it stops before the call that would cross it."""
    max_tokens_total: Count | None = None
    """Tokens (in and out) one run() may use."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds one run() may take."""
    per_session: SessionLimits = SessionLimits()
    """The same limits over all runs of one session."""
    control: Literal["auto", "python", "monty"] = "auto"
    """What runs control blocks: a confined Python process, the Monty interpreter, or the best there is."""
    on_unanswered: Literal["wait", "deny", "suspend"] = "deny"
    """When a question or permission finds nobody to answer: wait, say no, or suspend the run until it is answered."""
    sandbox: SandboxSpec = SandboxSpec()
    """Confinement of the shells."""
    limits: LimitsSpec = LimitsSpec()
    """What one control block may use."""


class MemorySpec(Section):
    max_context_tokens: Annotated[int, Field(ge=2_000)] = 120_000
    """Size of the context window to plan with."""
    global_summary_threshold: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Fraction of the window from which older history is summed up, before the model is called."""
    global_summary_max_tokens: Annotated[int, Field(ge=50)] = 500
    """Longest global summary."""
    keep_last_messages: Annotated[int, Field(ge=2, le=1_000)] = 6
    """The newest messages, which are never summed up."""


AgentName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,40}$")]


class ToolConfig(Section):
    """Settings of a tool. Custom tools may have their own keys beside these."""

    model_config = ConfigDict(extra="allow")
    require_permission: bool | None = None
    """Ask a person before every call."""
    max_output_chars: Count | None = None
    """Cut longer output in the middle."""
    timeout: Seconds | None = None
    """Seconds one call may take."""
    max_results: Count | None = None
    """Most results one call may give."""
    api_key_env: EnvName | None = None
    """Environment variable that holds the tool's key."""
    base_url: Url | None = None
    """Address of the tool's service."""
    hosts: list[Host] | None = None
    """The only hosts fetch may reach; one that is named in full may be in a private network."""
    allow_private: bool | None = None
    """Let fetch reach this machine and private networks."""
    agents: dict[AgentName, Line] | None = None
    """Agents it may call: the name it calls each by, and its file, or the name of one we ship (`reviewer`)."""
    max_steps: Count | None = None
    """Steps one call of an agent may take."""
    max_cost_usd: Annotated[float, Field(gt=0)] | None = None
    """Dollars one call of an agent may cost."""
    project: Line | None = None
    """What the tools of training work on: a Python file and the name of the module in it (`./train.py:module`)."""
    max_depth: Annotated[int, Field(ge=1, le=10)] | None = None
    """How deep agents may call agents: 1 means that those it calls call no others. 2 when left out."""

    @model_validator(mode="after")
    def _no_near_misses(self) -> ToolConfig:
        # `require_permision: true` must not be taken for some tool's own key: nobody would ever be asked.
        known = list(type(self).model_fields)
        for key in self.model_extra or {}:
            near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.85)
            if near:
                raise fault(f"unknown key {key[:60]!r}; did you mean {near[0]!r}?", key)
        return self


class ToolSpecEntry(Section):
    name: Line
    """A tool (`read_file`), a pack (`files`), or a path to your own pack (`./my_tools.py`)."""
    enabled: bool = True
    """false leaves the tool out."""
    config: ToolConfig = ToolConfig()
    """Settings of the tool."""


class PermissionRule(Section):
    """One rule: exactly one of allow, ask, deny, as `tool` or `tool(pattern)`."""

    allow: str | None = None
    """Calls that run without asking, such as execute(pytest *)."""
    ask: str | None = None
    """Calls a person decides about."""
    deny: str | None = None
    """Calls that are refused, such as write_file(.env)."""

    @model_validator(mode="after")
    def _exactly_one(self) -> PermissionRule:
        given = [k for k in ("allow", "ask", "deny") if getattr(self, k) is not None]
        if len(given) != 1:
            raise fault("a rule has exactly one of allow, ask, deny; write one list item for each rule")
        if not _RULE.match(self.rule):
            raise fault(f"expected tool or tool(pattern), got {self.rule[:80]!r}; for example execute(pytest *)")
        return self

    @property
    def action(self) -> Literal["allow", "ask", "deny"]:
        return "allow" if self.allow is not None else "ask" if self.ask is not None else "deny"

    @property
    def rule(self) -> str:
        """The rule as written: `execute(pytest *)`."""
        return (self.allow or self.ask or self.deny or "").strip()

    @property
    def tool(self) -> str:
        found = _RULE.match(self.rule)
        return found.group(1) if found else ""

    @property
    def pattern(self) -> str | None:
        """What stands in the brackets; None when the rule is about every call of the tool."""
        found = _RULE.match(self.rule)
        return found.group(2) if found else None


class McpServerSpec(Section):
    """An MCP server: either a command to start, or the url of one that runs."""

    command: Line | None = None
    """Program to start."""
    args: list[str] = []
    """Its arguments."""
    env: dict[str, str] = {}
    """Variables for it, as plain text. For secrets use env_from."""
    env_from: list[EnvName] = []
    """Names of variables that it gets with the value they have here."""
    url: Url | None = None
    """Address of a running server."""
    headers: dict[str, str] = {}
    """Headers to send, as plain text. For secrets use headers_from."""
    headers_from: dict[str, EnvName] = {}
    """Headers whose value is read from the named variable."""
    timeout: Seconds = 60.0
    """Seconds one call may take."""
    require_permission: bool = True
    """Ask a person before every call."""
    enabled: bool = True
    """false leaves the server out."""

    @model_validator(mode="after")
    def _one_way(self) -> McpServerSpec:
        if (self.command is None) == (self.url is None):
            raise fault("a server has either `command:` (started here) or `url:` (running elsewhere)")
        return self


ServerName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,40}$")]


class AgentSpec(Section):
    name: Annotated[Line, Field(max_length=200)]
    """Name of the agent; sessions are called after it."""
    role: str = ""
    """One sentence on what it is; the first thing the model reads."""
    system_prompt: str | None = None
    """Instructions of your own: the text itself, or the path of a .md file relative to this file."""
    model: ModelSpec
    """The model it thinks with."""
    runtime: RuntimeSpec = RuntimeSpec()
    """Where it works, and how much it may use."""
    memory: MemorySpec = MemorySpec()
    """When older conversation is summed up."""
    tools: list[
        Annotated[Annotated[Line, Tag("text")] | Annotated[ToolSpecEntry, Tag("map")], Discriminator(is_mapping)]
    ] = list(DEFAULT_TOOLS)
    """Exactly the tools it has. Without this key: the default set. `[]`: none."""
    permissions: list[PermissionRule] = []
    """Rules on what runs, what asks and what is refused: a deny always wins, else the first match."""
    instructions: list[Annotated[str, AfterValidator(file_name)]] = ["AGENTS.md"]
    """Files with project instructions, looked for from the repository's root down to work_dir. `[]`: none."""
    skills: list[Line] = []
    """Folders with skills (each a folder with a SKILL.md)."""
    output_schema: Annotated[dict[str, Any], AfterValidator(shape)] | None = None
    """JSON Schema the final answer must fit."""
    mcp_servers: dict[ServerName, McpServerSpec] = {}
    """MCP servers whose tools it may use as server.tool(...)."""
    trusted_folders: list[Line] = []
    """Folders outside the project from which prompts, skills and tool packs may be read."""


class AgentDocument(Section):
    """An agent: who it is, which model it thinks with, what it may do."""

    agent: AgentSpec
    """The agent."""
