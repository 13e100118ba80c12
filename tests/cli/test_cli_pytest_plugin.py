"""The fixtures we give to others: run in a pytest of their own, as in a user's project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fake_provider import FakeModel

ROOT = Path(__file__).resolve().parents[2]
AGENT = """
agent:
  name: "Greeter"
  model: {provider: anthropic, name: claude-test, api_key_env: GREETER_KEY}
  tools: [read_file]
"""
APP = """
from autopilot_runtime import Runtime

def greet(name):
    with Runtime("agent.yaml") as runtime:
        runtime.run("Greet " + name)
        return runtime.last.summary

def test_scripted(autopilot_scripted):
    model = autopilot_scripted("Hello!", "Hello again!")
    assert (greet("Ada"), greet("Ada")) == ("Hello!", "Hello again!")
    assert len(model.calls) == 2

def test_recorded(autopilot_replay):
    assert greet("Ada") == "Recorded hello."
"""


def run(folder: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:asyncio"]
    if "autopilot" not in _entry_points():
        command += ["-p", "autopilot_runtime.cli.pytest_plugin"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", **environ}
    return subprocess.run(
        [*command, *options], cwd=folder, capture_output=True, text=True, timeout=60, env=env, check=False
    )


def _entry_points() -> set[str]:
    from importlib.metadata import entry_points

    return {point.name for point in entry_points(group="pytest11")}


def test_a_users_project_is_tested_without_a_key(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(AGENT)
    (tmp_path / "test_app.py").write_text(APP)
    first = run(tmp_path)
    assert "1 passed, 1 error" in first.stdout
    assert "run it once with --autopilot-replay record" in first.stdout
    with FakeModel(["Recorded hello."]) as fake:
        recorded = run(
            tmp_path, "--autopilot-replay", "record", ANTHROPIC_BASE_URL=fake.url, GREETER_KEY="key-of-the-greeter"
        )
        assert "2 passed" in recorded.stdout, recorded.stdout
        assert len(fake.requests) == 1
    cassettes = list((tmp_path / "cassettes" / "test_app" / "test_recorded").iterdir())
    assert len(cassettes) == 1 and "key-of-the-greeter" not in cassettes[0].read_text()
    assert "2 passed" in run(tmp_path).stdout
