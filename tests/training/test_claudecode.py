"""Claude Code as an agent: a real executable on a PATH of its own, good, bad and stuck."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import SetupError
from autopilot_runtime.core.process import started
from autopilot_runtime.training import AgentOptimizer, ClaudeCodeAgent, TextGradient, TextParameter

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in is a script with a #! line")

HEAD = f"""#!{sys.executable}
import json, os, sys, subprocess, time
from pathlib import Path
task = sys.stdin.read()
Path("{{folder}}/seen.json").write_text(json.dumps(
    dict(argv=sys.argv[1:], task=task, env=dict(os.environ), cwd=os.getcwd(), pid=os.getpid())))
def end(**said):
    print(json.dumps(dict(type="result", subtype="success", is_error=False, num_turns=3, **said)))
"""


class Claude:
    """A stand-in for the executable, on the PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.setenv("PATH", str(folder))

    def does(self, code: str) -> None:
        path = self.folder / "claude"
        path.write_text(HEAD.replace("{folder}", str(self.folder)) + code)
        path.chmod(0o755)

    @property
    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "seen.json").read_text())
        return found


@pytest.fixture
def claude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claude:
    (tmp_path / "bin").mkdir()
    return Claude(tmp_path / "bin", monkeypatch)


def run(agent: ClaudeCodeAgent, task: str = "Go") -> Any:
    return asyncio.run(agent.run(task))


def test_it_edits_the_files_it_is_given(claude: Claude) -> None:
    claude.does(
        'Path("prompt.md").write_text("Be kind.\\n")\n'
        'end(result="Strategy: tone\\nKinder.", total_cost_usd=0.25, usage=dict(input_tokens=5, '
        "cache_read_input_tokens=100, cache_creation_input_tokens=10, output_tokens=7))"
    )
    prompt = TextParameter("Be brief.", name="prompt")
    prompt.receive(TextGradient("too curt"))
    agent = ClaudeCodeAgent(model="sonnet", max_turns=5, max_budget_usd=1.5)
    optimizer = AgentOptimizer(agent=agent, parameters=[prompt])
    assert optimizer.step() == 1
    assert prompt.data == "Be kind." and optimizer.why == "Strategy: tone\nKinder."
    assert optimizer.usage.cost_usd == 0.25 == agent.usage.cost_usd
    assert (optimizer.usage.input_total, optimizer.usage.cache_read, optimizer.usage.output) == (115, 100, 7)
    argv = claude.seen["argv"]
    assert argv[:5] == ["-p", "--output-format", "json", "--permission-mode", "acceptEdits"]
    assert argv[argv.index("--allowedTools") + 1] == "Read,Edit,Write,Glob,Grep"
    assert argv[argv.index("--model") + 1] == "sonnet" and argv[argv.index("--max-budget-usd") + 1] == "1.5"
    assert "too curt" in claude.seen["task"] and "too curt" not in " ".join(argv)
    assert claude.seen["cwd"] != str(Path.cwd())


def test_it_gets_its_own_key_and_no_other_secret(claude: Claude, monkeypatch: pytest.MonkeyPatch) -> None:
    claude.does('end(result="ok")')
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-its-own-key-0123456789")
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2hunter2")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other-0123456789abcdef")
    monkeypatch.setenv("MY_CA", "ordinary")
    run(ClaudeCodeAgent(env=["MY_CA"]))
    env = claude.seen["env"]
    assert env["ANTHROPIC_API_KEY"] == "sk-ant-its-own-key-0123456789" and env["MY_CA"] == "ordinary"
    assert "DATABASE_PASSWORD" not in env and "OPENAI_API_KEY" not in env


def test_without_the_executable_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    agent = ClaudeCodeAgent()
    with pytest.raises(SetupError, match=r"not on the PATH.*npm install -g @anthropic-ai/claude-code.*RuntimeAgent"):
        run(agent)
    with pytest.raises(SetupError, match="'claude'"):
        AgentOptimizer(agent, [TextParameter("x", name="p")])


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ('print("Invalid API key", file=sys.stderr); sys.exit(1)', "failed", "exit code 1: Invalid API key"),
        ('print("not json")', "failed", "exit code 0: not json"),
        ("pass", "failed", "exit code 0: it said nothing"),
        ("os.kill(os.getpid(), 9)", "failed", "exit code -9"),
        (
            'print(json.dumps(dict(type="result", subtype="error_max_turns", is_error=True)))',
            "max_steps",
            "error_max_turns",
        ),
        (
            'print(json.dumps(dict(subtype="error_max_budget_usd", is_error=True, total_cost_usd=2.0))); sys.exit(1)',
            "budget",
            "error_max_budget_usd",
        ),
        ('end(result="no credit"); sys.exit(2)', "failed", "no credit"),
    ],
)
def test_every_bad_end_is_a_result_that_says_why(claude: Claude, code: str, status: str, told: str) -> None:
    claude.does(code)
    result = run(ClaudeCodeAgent())
    assert result.status == status and told in str(result.error)


def test_noise_before_the_answer_does_no_harm(claude: Claude) -> None:
    claude.does('print("warning: update available"); end(result="fine")')
    result = run(ClaudeCodeAgent())
    assert (result.status, result.summary, result.steps) == ("completed", "fine", 3)


def test_a_long_task_and_a_long_answer_do_not_block_each_other(claude: Claude) -> None:
    claude.does('print("x" * 5_000_000, file=sys.stderr); end(result=str(len(task)))')
    assert run(ClaudeCodeAgent(), "t" * 3_000_000).summary == "3000000"


def test_one_that_never_reads_its_task_does_no_harm(claude: Claude) -> None:
    path = claude.folder / "claude"
    path.write_text('#!/bin/sh\necho \'{"type": "result", "subtype": "success", "result": "deaf"}\'\n')
    path.chmod(0o755)
    assert run(ClaudeCodeAgent(), "t" * 3_000_000).summary == "deaf"


CHILD = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
NOTE = 'Path("{folder}/child").write_text(str(child.pid))\n'


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    return started(pid) is None


def test_when_its_time_is_over_it_ends_with_all_it_started(claude: Claude) -> None:
    claude.does((CHILD + NOTE).replace("{folder}", str(claude.folder)) + "time.sleep(600)")
    agent = ClaudeCodeAgent(timeout=1.5)
    result = run(agent)
    assert result.status == "failed" and "did not end within 1.5 s" in str(result.error)
    if (claude.folder / "child").exists():  # else it was ended before it came that far
        until(lambda: gone(int((claude.folder / "child").read_text())))
        until(lambda: gone(claude.seen["pid"]))


def test_cancelling_the_run_ends_the_process(claude: Claude) -> None:
    claude.does((CHILD + NOTE).replace("{folder}", str(claude.folder)) + "time.sleep(600)")

    async def cancelled() -> None:
        task = asyncio.create_task(ClaudeCodeAgent().run("Go"))
        await asyncio.to_thread(until, (claude.folder / "child").exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    until(lambda: gone(claude.seen["pid"]))
    until(lambda: (claude.folder / "child").read_text() != "" and gone(int((claude.folder / "child").read_text())))


def test_a_program_it_left_behind_does_not_hold_up_the_answer(claude: Claude) -> None:
    claude.does((CHILD + NOTE).replace("{folder}", str(claude.folder)) + 'end(result="done")')
    assert run(ClaudeCodeAgent(timeout=60)).summary == "done"
    until(lambda: gone(int((claude.folder / "child").read_text())))
