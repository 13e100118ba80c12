"""Agent files: the seed's load as they are, and every fault is named with its place, all at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import AgentFileError, SetupError
from autopilot_runtime.runtime.agentfile import AgentFile, json_schema
from autopilot_runtime.runtime.agentpaths import shipped_agents
from autopilot_runtime.runtime.agentschema import DEFAULT_TOOLS

SMALL = """\
agent:
  name: "CodePilot"
  model:
    provider: "anthropic"
    name: "claude-sonnet-4-5"
    api_key_env: "ANTHROPIC_API_KEY"
"""

SEED = """\
agent:
  name: "BackendEngineer"
  role: "Expert Python backend engineer specialising in FastAPI and PostgreSQL."
  system_prompt: "./prompts/instructions.md"
  model:
    provider: "alibaba"             # "anthropic" | "openai" | "alibaba"
    name: "qwen-max"
    api_key_env: "DASHSCOPE_API_KEY"
    temperature: 0.2
    max_tokens: 8096
    thinking:
      enabled: false
      budget_tokens: 8000
  runtime:
    work_dir: "./workspace"
    max_steps: 30
    unsafe_mode: false
  memory:
    max_context_tokens: 120000
    global_summary_threshold: 0.9
    global_summary_max_tokens: 500
  tools:
    - name: "write_file"
      enabled: true
      config:
        require_permission: false
    - name: "read_file"
      enabled: true
    - name: "execute"
      enabled: true
      config:
        require_permission: true
        max_output_chars: 10000
    - name: "semantic_search"
      enabled: true
      config:
        api_key_env: "VOYAGE_API_KEY"
        model: "voyage-code-3"
        base_url: "https://api.voyageai.com/v1"
        provider: "openai"
        max_results: 5
        timeout: 60
        max_output_chars: 8000
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str, **overrides: object) -> AgentFile:
    Path("agent.yaml").write_text(text, encoding="utf-8")
    return AgentFile.load("agent.yaml", overrides)


def problems(text: str, **overrides: object) -> list[str]:
    with pytest.raises(AgentFileError) as caught:
        load(text, **overrides)
    return caught.value.problems


def with_runtime(lines: str) -> str:
    return SMALL + "  runtime:\n    " + lines.replace("\n", "\n    ") + "\n"


# ------------------------------------------------------------------ what loads


def test_the_seeds_full_example_loads(here):
    (here / "prompts").mkdir()
    (here / "prompts/instructions.md").write_text("Use async SQLAlchemy.\n")
    agent = load(SEED)
    assert agent.name == "BackendEngineer"
    assert agent.system_prompt == "Use async SQLAlchemy."
    assert agent.work_dir == here / "workspace"
    assert agent.model.temperature == 0.2
    assert agent.runtime.max_steps == 30
    assert [t.name for t in agent.tools] == ["write_file", "read_file", "execute", "semantic_search"]
    assert agent.tools[2].config == {"require_permission": True, "max_output_chars": 10000}
    assert agent.tools[3].config["model"] == "voyage-code-3"
    assert agent.secret_env_names() == {"DASHSCOPE_API_KEY", "VOYAGE_API_KEY"}
    assert not (here / "workspace").exists()  # loading makes nothing


def test_a_small_file_gets_the_defaults(here):
    agent = load(SMALL)
    assert tuple(t.name for t in agent.tools) == DEFAULT_TOOLS
    assert agent.work_dir == here
    assert agent.instructions == ("AGENTS.md",)
    assert agent.runtime.control == "auto"
    assert agent.runtime.on_unanswered == "deny"
    assert agent.runtime.sandbox.network == "off"
    assert agent.limits.seconds == 30.0
    assert agent.memory.global_summary_threshold == 0.9


def test_tools_may_be_bare_names_and_an_empty_list_means_none(here):
    assert [t.name for t in load(SMALL + "  tools: [read_file, {name: find, enabled: false}]\n").tools] == [
        "read_file",
        "find",
    ]
    assert load(SMALL + "  tools: []\n").tools == ()


def test_permissions_keep_their_order_and_parts(here):
    text = (
        SMALL
        + "  permissions:\n    - allow: execute(pytest *)\n    - ask: execute(git push (a|b))\n    - deny: find\n"
    )
    rules = load(text).permissions
    assert [(r.action, r.tool, r.pattern) for r in rules] == [
        ("allow", "execute", "pytest *"),
        ("ask", "execute", "git push (a|b)"),
        ("deny", "find", None),
    ]


@pytest.mark.parametrize(("written", "connect"), [(0.2, 1.0), (3, 3.0), (60, 10.0)])
def test_a_short_timeout_bounds_the_connecting_too(here, written, connect):
    text = SMALL.replace('name: "claude-sonnet-4-5"', f'name: "claude-sonnet-4-5"\n    timeout: {written}')
    limits = load(text).model_settings().timeouts
    assert (limits.connect, limits.first_byte, limits.idle) == (connect, written, written)


def test_model_settings_carry_everything_and_fallbacks_inherit(here):
    text = SMALL.replace(
        'name: "claude-sonnet-4-5"',
        'name: "claude-sonnet-4-5"\n    api_version: 2023-06-01\n    timeout: 20\n    price: {input: 3, output: 15}\n'
        "    base_url: https://proxy.example/v1\n"
        "    fallbacks: [claude-haiku-4-5, {provider: openai, name: gpt-5.1}]",
    )
    settings = load(text).model_settings()
    assert settings.api_version == "2023-06-01"
    assert settings.timeouts.idle == 20
    assert settings.price is not None and settings.price.cache_read == 3
    same, other = settings.fallbacks
    assert (same.provider, same.base_url, same.api_key_env) == (
        "anthropic",
        "https://proxy.example/v1",
        "ANTHROPIC_API_KEY",
    )
    assert (other.provider, other.base_url, other.api_key_env) == ("openai", None, "OPENAI_API_KEY")
    assert load(text).secret_env_names() == {"ANTHROPIC_API_KEY", "OPENAI_API_KEY"}


def test_the_usual_key_variable_is_known_and_a_local_model_needs_none(here):
    text = SMALL.replace('    api_key_env: "ANTHROPIC_API_KEY"\n', "")
    assert load(text).key_env == "ANTHROPIC_API_KEY"
    assert load(text.replace("anthropic", "ollama")).key_env is None


def test_a_missing_key_names_the_variable_and_the_provider_and_no_value(here):
    agent = load(SMALL)
    assert agent.missing_keys({"ANTHROPIC_API_KEY": "sk-x"}) == []
    assert agent.missing_keys({}) == [
        "agent.yaml:6:18 model.api_key_env: the variable ANTHROPIC_API_KEY is not set; anthropic needs its key there"
    ]


def test_a_model_played_from_a_file_needs_no_key(here):
    for provider in ("replay", "scripted"):
        assert load(SMALL.replace('"anthropic"', provider)).missing_keys({}) == []
    assert load(SMALL).missing_keys({"ANTHROPIC_API_KEY": " "}) != []


def test_overrides_replace_values_and_are_checked_too(here):
    agent = load(SMALL, **{"runtime.max_steps": 5, "model.name": "other"})
    assert (agent.runtime.max_steps, agent.model.name) == (5, "other")
    assert "runtime.max_stps: unknown key; did you mean 'max_steps'?" in problems(SMALL, **{"runtime.max_stps": 5})[0]


def test_environment_variables_are_not_interpolated(here, monkeypatch):
    monkeypatch.setenv("SECRET_ROLE", "leaked")
    assert load(SMALL + "  role: ${SECRET_ROLE} $SECRET_ROLE\n").role == "${SECRET_ROLE} $SECRET_ROLE"


def test_every_shipped_agent_loads_and_works_in_the_current_folder(here):
    names = shipped_agents()
    assert {"coder", "reviewer", "devops", "judge", "optimizer"} <= set(names)
    for name in names:
        agent = AgentFile.load(name)
        assert agent.work_dir == here
        assert agent.system_prompt


def test_a_bare_name_never_looks_into_the_current_folder(here):
    (here / "stranger").write_text(SMALL)
    with pytest.raises(SetupError, match=r"No agent 'stranger'\. Shipped: coder, devops"):
        AgentFile.load("stranger")


def test_a_small_file_loads_in_a_few_milliseconds(here):
    load(SMALL)
    took = []
    for _ in range(5):
        began = time.perf_counter()
        AgentFile.load("agent.yaml")
        took.append(time.perf_counter() - began)
    assert min(took) < 0.005


# ------------------------------------------------------------------ what is refused


def test_all_faults_are_told_at_once_in_the_order_of_the_file(here):
    said = problems("""\
agent:
  name: x
  modle: 3
  model:
    provider: antropic
    max_steps: 3
    temperature: 5
    thinking: {enabled: yes}
  runtime:
    max_steps: "12"
    control: pyton
    sandbox: {shell: requierd, network: ["https://x"]}
    limits: []
  memory:
    max_context_tokens: 120_000
""")
    known = "anthropic, openai, alibaba, openrouter, gemini, ollama, vllm, lmstudio, replay, scripted"
    assert said == [
        "agent.yaml:3:3 modle: unknown key; did you mean 'model'?",
        "agent.yaml:4:3 model.name: missing; put `name:` below `model:` (line 4), text",
        f"agent.yaml:5:15 model.provider: 'antropic' is not one of {known}; did you mean 'anthropic'?",
        "agent.yaml:6:5 model.max_steps: 'max_steps' does not belong here; it goes below `runtime:`",
        "agent.yaml:7:18 model.temperature: expected at most 2.0, got 5",
        "agent.yaml:8:25 model.thinking.enabled: expected true or false, got text 'yes'; write true",
        "agent.yaml:10:16 runtime.max_steps: expected a whole number, got text '12'; "
        "write 12 without quotes, commas or underscores",
        "agent.yaml:11:14 runtime.control: 'pyton' is not one of auto, python, monty; did you mean 'python'?",
        "agent.yaml:12:22 runtime.sandbox.shell: 'requierd' is not one of auto, required, off; "
        "did you mean 'required'?",
        "agent.yaml:12:42 runtime.sandbox.network.0: expected a host like pypi.org or *.example.com, "
        "got 'https://x' (no https://, no path)",
        "agent.yaml:13:13 runtime.limits: expected a section (`key: value` lines), got a list",
        "agent.yaml:15:25 memory.max_context_tokens: expected a whole number, got text '120_000'; "
        "write 120000 without quotes, commas or underscores",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "agent.yaml:1:1: the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("- a\n", "the file is a list"),
        ("just text\n", "the file is a single value"),
        ("agent:\n", "agent.yaml:1:7 agent: expected a section"),
        ("agent: []\n", "got a list"),
        ("name: x\n", "'name' does not belong here; it goes below `agent:`"),
        (SMALL + "  tools:\n", "agent.yaml:7:9 tools: expected a list, but it is empty"),
        (SMALL + "  memory: null\n", "agent.yaml:7:11 memory: expected a section"),
        (with_runtime("max_cost_usd:"), "agent.yaml:8:18 runtime.max_cost_usd: expected a value, but it is empty"),
        (SMALL + "  output_schema:\n", "output_schema: expected a value, but it is empty"),
        (SMALL + "  tools: [{name: x, config: {require_permission: }}]\n", "expected a value, but it is empty"),
        (SMALL + "  tools: read_file\n", "write `- ` before each item"),
        (SMALL + "  tools: [3]\n", "tools.0: expected text, got 3; put quotes around it"),
        (SMALL + "  tools: [{nam: find}]\n", "tools.0.nam: unknown key; did you mean 'name'?"),
        (SMALL + "  tools: [find, {name: find}]\n", "'find' is listed twice"),
        (SMALL + "  permissions: [{allow: a, deny: b}]\n", "exactly one of allow, ask, deny"),
        (SMALL + "  permissions: [{alow: a}]\n", "did you mean 'allow'?"),
        (SMALL + "  permissions: [{allow: 'rm -rf'}]\n", "expected tool or tool(pattern)"),
        (SMALL + "  output_schema: {type: objct}\n", "did you mean 'object'?"),
        (SMALL + "  instructions: [../x/AGENTS.md]\n", "plain name of a file"),
        (SMALL + "  mcp_servers: {x: {}}\n", "either `command:`"),
        (SMALL + "  mcp_servers: {'a-b': {command: c}}\n", "letters, digits and _"),
        (SMALL + "  mcp_servers: {x: {comand: c}}\n", "did you mean 'command'?"),
        (SMALL.replace('"CodePilot"', "5"), "name: expected text, got 5; put quotes around it"),
        (SMALL.replace('"CodePilot"', '""'), "expected one line of text that is not empty"),
        (SMALL.replace('"CodePilot"', '"a\\nb"'), "expected one line of text"),
        (SMALL + "  role: [a]\n", "role: expected text, got a list"),
        (with_runtime("unsafe_mode: 'no'"), "expected true or false, got text 'no'; write false"),
        (with_runtime("max_steps: 0"), "expected at least 1, got 0"),
        (with_runtime("max_steps: 2.5"), "expected a whole number, got 2.5"),
        (with_runtime("max_cost_usd: .inf"), "max_cost_usd"),
        (with_runtime("max_cost_usd: .nan"), "max_cost_usd"),
        (with_runtime("sandbox: {network: false}"), "false is not one of off, on"),
        (with_runtime("work_dir: agent.yaml"), "is not a folder"),
    ],
)  # fmt: skip
def test_each_fault_has_its_own_clear_text(here, text, words):
    assert words in "\n".join(problems(text))


def test_a_misspelt_safety_switch_is_not_taken_for_a_tools_own_key(here):
    text = SMALL + "  tools:\n    - name: execute\n      config: {require_permision: true}\n"
    assert "did you mean 'require_permission'?" in problems(text)[0]
    assert "expected true or false" in problems(text.replace("permision: true", "permission: 'yes'"))[0]
    assert load(text.replace("require_permision", "colour")).tools[0].config == {"colour": True}


def test_a_key_pasted_where_its_variable_belongs_is_refused_and_not_shown(here):
    key = "sk-ant-" + "a1B2" * 8
    said = "\n".join(problems(SMALL.replace("ANTHROPIC_API_KEY", key)))
    assert "not the name of an environment variable" in said
    assert key not in said
    said = "\n".join(problems(SMALL.replace("api_key_env", "api_key").replace("ANTHROPIC_API_KEY", key)))
    assert "unknown key; did you mean 'api_key_env'?" in said
    assert key not in said


def test_an_address_with_a_password_is_refused(here):
    text = SMALL + "    base_url: https://me:hunter2@proxy/v1\n"
    said = problems(text)[0]
    assert "user or password" in said and "hunter2" not in said


def test_a_missing_file_names_its_neighbour(here):
    load(SMALL)
    with pytest.raises(AgentFileError, match=r"did you mean 'agent\.yaml'"):
        AgentFile.load("agnt.yaml")
    with pytest.raises(AgentFileError, match="cannot be read"):
        AgentFile.load(str(here) + "/")
    with pytest.raises(AgentFileError, match="cannot be read"):
        AgentFile.load("a\0.yaml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_does_not_hang(here):
    os.mkfifo("agent.yaml")
    with pytest.raises(AgentFileError, match="not a regular file"):
        AgentFile.load("agent.yaml")


# ------------------------------------------------------------------ paths


def test_a_prompt_path_that_does_not_exist_is_a_fault_and_text_is_text(here):
    assert "looks like a path, but there is no" in problems(SMALL + "  system_prompt: ./nope.md\n")[0]
    assert "looks like a path, but there is no" in problems(SMALL + "  system_prompt: nope.md\n")[0]
    assert "ends in .md or .txt" in problems(SMALL + "  system_prompt: ./agent.yaml\n")[0]
    assert load(SMALL + "  system_prompt: Follow the rules in style.md\n").system_prompt.endswith("style.md")
    assert load(SMALL + "  system_prompt: |\n    ./a.md\n    two lines\n").system_prompt == "./a.md\ntwo lines"


def test_a_prompt_outside_the_project_needs_a_word_of_consent(here):
    inside, outside = here / "project", here / "elsewhere"
    inside.mkdir()
    outside.mkdir()
    (outside / "p.md").write_text("secret")
    (inside / "link.md").symlink_to(outside / "p.md")
    os.chdir(inside)
    for written in ("../elsewhere/p.md", "./link.md", str(outside / "p.md")):
        said = problems(SMALL + f"  system_prompt: {written}\n")
        assert "leads outside the project" in said[0] and "trusted_folders" in said[0]
        assert (
            load(SMALL + f"  system_prompt: {written}\n  trusted_folders: [../elsewhere]\n").system_prompt == "secret"
        )


def test_the_project_is_the_repository_around_the_file(here):
    (here / ".git").mkdir()
    (here / "p.md").write_text("shared")
    (here / "agents").mkdir()
    os.chdir(here / "agents")
    assert load(SMALL + "  system_prompt: ../p.md\n").system_prompt == "shared"


def test_a_linked_agent_file_finds_what_stands_beside_the_real_one(here):
    (here / "real").mkdir()
    (here / "links").mkdir()
    (here / "real/p.md").write_text("beside")
    (here / "real/agent.yaml").write_text(SMALL + "  system_prompt: p.md\n")
    (here / "links/agent.yaml").symlink_to(here / "real/agent.yaml")
    agent = AgentFile.load("links/agent.yaml")
    assert agent.system_prompt == "beside"
    assert agent.work_dir == here / "real"
    assert agent.resolved()["paths_relative_to"] == str(here / "real")


def test_home_and_root_are_no_workspace_unless_unsafe(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    monkeypatch.setenv("USERPROFILE", str(here / "home"))
    (here / "home/project").mkdir(parents=True)
    for wide in ("/", "~", str(here), str(here / "home/project/..")):
        assert "is everything you have" in problems(with_runtime(f"work_dir: '{wide}'"))[0]
        assert load(with_runtime(f"work_dir: '{wide}'\nunsafe_mode: true")).work_dir
    assert load(with_runtime("work_dir: ~/project")).work_dir == here / "home/project"


def test_a_pack_of_your_own_is_found_beside_the_file(here):
    (here / "mine.py").write_text("")
    agent = load(SMALL + "  tools: [./mine.py, find]\n")
    assert agent.tools[0].path == here / "mine.py"
    assert agent.tools[1].path is None
    said = problems(SMALL + "  tools: [./none.py, /etc/passwd]\n")
    assert "there is no tool pack" in said[0]
    assert "leads outside the project" in said[1]


def test_a_tool_entry_can_be_pointed_at_later(here):
    agent = load(SMALL + "  tools:\n    - find\n    - raed_file\n")
    choice = agent.tools[1]
    assert agent.problem(choice.key, "unknown tool") == "agent.yaml:9:7 tools.1: unknown tool"


def test_what_decides_about_the_agents_rights_is_protected(here):
    (here / "p.md").write_text("x")
    (here / "mine.py").write_text("")
    (here / "skills").mkdir()
    agent = load(SMALL + "  system_prompt: p.md\n  tools: [./mine.py]\n  skills: [skills]\n")
    assert set(agent.protected) == {here / n for n in ("agent.yaml", "p.md", "mine.py", "skills")}


# ------------------------------------------------------------------ what is shown


def test_the_resolved_configuration_holds_no_secret_values(here):
    text = (
        SMALL
        + "    extra_headers: {X-Auth: hunter2}\n"
        + (
            "  mcp_servers:\n    gh: {command: c, env: {TOKEN: hunter2}, env_from: [GH_TOKEN]}\n"
            "  tools:\n    - name: find\n      config: {service_token: hunter2, api_key_env: FIND_KEY}\n"
        )
    )
    agent = load(text)
    assert "hunter2" not in str(agent.resolved())
    assert "GH_TOKEN" in str(agent.resolved()) and "FIND_KEY" in str(agent.resolved())
    assert agent.secret_env_names() == {"ANTHROPIC_API_KEY", "GH_TOKEN", "FIND_KEY"}


def test_the_schema_is_what_editors_want():
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert "$defs" in schema and schema["additionalProperties"] is False
    model = schema["$defs"]["ModelSpec"]
    assert "anthropic" in model["properties"]["provider"]["enum"]
    assert model["required"] == ["provider", "name"]

    def walk(value: object, names: bool) -> None:
        if isinstance(value, dict):
            assert names or not isinstance(value.get("title"), str)
            for key, item in value.items():
                walk(item, not names and key in ("properties", "$defs"))

    walk(schema, False)
    for name, section in schema["$defs"].items():
        for key, prop in section["properties"].items():
            assert prop.get("description") or "$ref" in prop or "anyOf" in prop, f"{name}.{key} says nothing"


def test_loading_an_agent_file_imports_no_sdk():
    code = (
        "import sys; from autopilot_runtime.runtime.agentfile import AgentFile; AgentFile.load('coder');"
        "print([m for m in ('anthropic', 'openai', 'sqlalchemy', 'httpx2', 'rich', 'typer') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=root, check=True
    )
    assert done.stdout.strip() == "[]"
