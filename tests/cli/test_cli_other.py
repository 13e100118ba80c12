"""The commands around `run`: help, init, schema, lint, doctor, dry runs, replay, and errors word for word."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from cli_project import ROOT, Project, control, done

from autopilot_runtime import __version__


def test_help_comes_at_once_and_shows_examples_and_exit_codes(project: Project) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = project.cli("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ran.returncode == 0
    for text in ("autopilot run coder", "Exit codes", "143 stopped by SIGTERM", "Set up", "--install-completion"):
        assert text in ran.stdout
    # The budget is 0.4 s on a quiet machine; a busy one may take twice that.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.8


def test_help_loads_no_runtime(project: Project) -> None:
    heavy = "{'pydantic', 'autopilot_runtime.runtime.runtime', 'anthropic', 'openai'}"
    code = f"import sys, autopilot_runtime.cli.app; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=project.env(), capture_output=True, text=True, timeout=30, check=True
    )
    assert ran.stdout == "[]\n"


def test_version(project: Project) -> None:
    assert project.cli("--version").stdout == f"autopilot {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_knows_the_shipped_agents(project: Project, shell: str) -> None:
    words = {"COMP_WORDS": "autopilot run co", "COMP_CWORD": "2", "_TYPER_COMPLETE_ARGS": "autopilot run co"}
    ran = project.cli(_AUTOPILOT_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_FISH_ACTION="get-args", **words)
    assert "coder" in ran.stdout and "Usage" not in ran.stdout


def test_an_unknown_command_is_a_usage_error_with_a_hint(project: Project) -> None:
    ran = project.cli("rum", "x")
    assert ran.returncode == 2
    assert "Did you mean 'run'?" in ran.stderr


def test_every_fault_of_an_agent_file_has_its_line(project: Project) -> None:
    (project.folder / "agent.yaml").write_text(
        'agent:\n  name: "X"\n  model: {provider: antropic, nam: y}\n  tools: [red_file]\n'
    )
    ran = project.run()
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith("error: agent.yaml:3:")
    assert "did you mean 'anthropic'?" in ran.stderr
    assert "unknown key; did you mean 'name'?" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert project.cli("lint", "agent.yaml").stderr == ran.stderr


def test_debug_shows_where(project: Project) -> None:
    ran = project.cli("run", "nowhere.yaml", "x", "--debug")
    assert ran.returncode == 2
    assert "Traceback" in ran.stderr


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("nope", "x"), "error: No agent 'nope'. Shipped: "),
        (("agent.yml", "x"), "error: agent.yml: there is no such file; did you mean 'agent.yaml'?\n"),
        (("agent.yaml", " "), "error: The task is empty. Give it in quotes, or - to read it from standard input.\n"),
        (
            ("agent.yaml", "x", "--allow", "what is this"),
            "error: A rule reads tool or tool(pattern), such as execute(pytest *)",
        ),
        (
            ("agent.yaml", "x", "--model", "gpt"),
            "error: --model reads provider/name, such as ollama/qwen3; got 'gpt'.\n",
        ),
    ],
)
def test_errors_word_for_word(project: Project, args: tuple[str, ...], text: str) -> None:
    project.agent([done("ok")])
    ran = project.cli("run", *args)
    assert ran.returncode == 2
    assert ran.stderr.startswith(text)


def test_a_dry_run_needs_no_key_and_calls_nothing(project: Project) -> None:
    ran = project.cli("run", "reviewer", "Look at this", "--dry-run", "--max-steps", "3")
    assert ran.returncode == 0, ran.stderr
    for text in (
        "max_steps: 3",
        "missing: ",
        "ANTHROPIC_API_KEY",
        "read_file(path: str",
        "first call: about",
        "Nothing was sent.",
    ):
        assert text in ran.stdout
    assert f"work_dir: {project.folder}" in ran.stdout


def test_a_dry_run_as_json(project: Project) -> None:
    project.agent([done("ok")], model={"provider": "openai", "name": "some-new-model"})
    found = json.loads(project.run("--dry-run", "--output", "json", "--deny", "execute").stdout)
    assert found["config"]["runtime"]["work_dir"] == str(project.work)
    assert found["estimate"]["first_call_input_usd"] is None  # unknown, not zero
    assert found["estimate"]["first_call_input_tokens"] > 500
    assert found["rules_from_flags"] == ["deny: execute"]


@pytest.mark.parametrize(
    ("env", "file", "expected"),
    [
        (
            {"OPENAI_API_KEY": "k", "DASHSCOPE_API_KEY": "k"},
            "package.json",
            ('provider: "openai"', "execute(npm test *)"),
        ),
        ({"ANTHROPIC_API_KEY": "k"}, "pyproject.toml", ('provider: "anthropic"', "execute(pytest *)")),
        ({"DASHSCOPE_API_KEY": "k"}, "Cargo.toml", ('provider: "alibaba"', "execute(cargo test *)")),
    ],
)
def test_init_finds_the_key_and_the_kind_of_project(
    project: Project, env: dict[str, str], file: str, expected: tuple[str, ...]
) -> None:
    (project.folder / file).touch()
    ran = project.cli("init", **env)
    assert ran.returncode == 0, ran.stderr
    text = (project.folder / "agent.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=.autopilot/agent.schema.json\n")
    assert all(one in text for one in expected)
    assert "Next: autopilot run agent.yaml" in ran.stdout
    assert json.loads((project.folder / ".autopilot/agent.schema.json").read_text())["$defs"]
    assert project.cli("lint", "agent.yaml").returncode == 0


def test_init_replaces_nothing_unless_told(project: Project) -> None:
    (project.folder / "agent.yaml").write_text("mine")
    ran = project.cli("init")
    assert (ran.returncode, ran.stderr) == (2, "error: agent.yaml is there already. --force replaces it.\n")
    assert (project.folder / "agent.yaml").read_text() == "mine"
    assert project.cli("init", "--force").returncode == 0


def test_init_takes_any_folder_name(project: Project) -> None:
    odd = project.folder / 'a "b" \n: #x'
    odd.mkdir()
    assert project.cli("init", str(odd)).returncode == 0


def test_schema_is_json_schema(project: Project) -> None:
    found = json.loads(project.cli("schema").stdout)
    assert found["$schema"].endswith("2020-12/schema")


def test_doctor_proves_the_sandbox_and_never_shows_a_key(project: Project) -> None:
    ran = project.cli("doctor", "--json", ANTHROPIC_API_KEY="sk-ant-very-secret-value")
    found = json.loads(ran.stdout)
    status = {check["name"]: check["status"] for check in found["checks"]}
    assert (ran.returncode, found["ok"]) == (0, True)
    assert status["sandbox"] in ("ok", "warn")
    assert status["terminals"] == "ok"
    assert "very-secret" not in ran.stdout + ran.stderr


def test_doctor_fails_with_the_fix_when_something_needed_is_missing(project: Project) -> None:
    project.agent([], model={"provider": "openai", "name": "gpt-5"})
    ran = project.cli("doctor", "agent.yaml")
    assert ran.returncode == 1
    assert "✗ key" in ran.stdout
    assert "→ export OPENAI_API_KEY=..." in ran.stdout


def test_doctor_says_when_the_models_address_does_not_answer(project: Project) -> None:
    model = {"provider": "vllm", "name": "m", "base_url": "http://127.0.0.1:9/v1"}
    project.agent([], model=model)
    assert project.cli("doctor", "agent.yaml").returncode == 0
    ran = project.cli("doctor", "agent.yaml", "--online")
    assert ran.returncode == 1
    assert "✗ model address" in ran.stdout


def test_the_output_of_a_run_can_be_replayed(project: Project) -> None:
    project.agent([control("read_file('a.txt')", "I look first."), done("It says hi.")])
    (project.work / "a.txt").write_text("hi\n")
    (project.folder / "rec.jsonl").write_text(project.run("--output", "jsonl").stdout)
    ran = project.cli("replay", "rec.jsonl", "--speed", "0")
    assert ran.returncode == 0
    assert ran.stdout == "I look first.\nIt says hi.\n"
    assert "task: do it" in ran.stderr
    assert "✓ Reading a.txt" in ran.stderr
    assert "2 steps" in ran.stderr


def test_a_cassette_is_replayed_reply_by_reply(project: Project) -> None:
    record = {
        "v": 1,
        "match": {"step": 1, "prompt": "Fix it"},
        "chunks": [["I fix ", 5], ["it.\n\n```codepilot\nread_file('a')\n", 5], ["```\n", 0]],
        "usage": {"input_total": 10, "output": 5, "cost_usd": 0.018, "cost_source": "provider"},
        "model": "m",
    }
    (project.folder / "tape.jsonl").write_text(json.dumps(record) + "\n")
    ran = project.cli("replay", ".", "--speed", "0")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "I fix it."
    assert "read_file('a')" in ran.stderr
    assert "1 model call · recorded $0.0180, spent $0.00" in ran.stderr


@pytest.mark.parametrize(
    "content", ["", "not json\n", "[1]\n", '{"a": 1}\n', '{"seq": 1, "type": "step", "ts": "x"}\n']
)
def test_what_is_no_recording_is_said(project: Project, content: str) -> None:
    (project.folder / "x.jsonl").write_text(content)
    ran = project.cli("replay", "x.jsonl")
    assert ran.returncode in (1, 2)
    assert ran.stderr.startswith("error: x.jsonl")
    assert "Traceback" not in ran.stderr


def test_the_module_and_the_command_are_one() -> None:
    scripts = (Path(ROOT) / "pyproject.toml").read_text()
    assert 'autopilot = "autopilot_runtime.__main__:main"' in scripts
