"""A project with a scripted agent, and the real command in a process of its own or on a terminal."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pexpect

ROOT = Path(__file__).parents[2]
FENCE = "```"
Replies = Sequence[str | dict[str, Any]]


def control(code: str, prose: str = "") -> str:
    """A reply with a control block."""
    return f"{prose}\n\n{FENCE}codepilot\n{code}\n{FENCE}\n"


def done(text: str) -> str:
    """A reply that ends the task."""
    return f"{FENCE}completion\n{text}\n{FENCE}\n"


def write(path: str, body: str) -> str:
    """A reply that writes a whole file."""
    return control(f"write_file({path!r})") + f"\n{FENCE}text\n{body}{FENCE}\n"


class Project:
    """A folder with `agent.yaml`, a script, and a workspace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self.work = self.folder / "ws"
        self.work.mkdir()
        self.home = folder / "home"
        self.home.mkdir()
        self.terminals: list[pexpect.spawn] = []

    def agent(self, replies: Replies, *, asks: bool = True, delay: float = 0.0, **sections: Any) -> None:
        """Write an agent that says `replies`. Writing and running ask when `asks`."""
        guarded = {"config": {"require_permission": asks}}
        agent: dict[str, Any] = {
            "name": "Tester",
            "model": {"provider": "scripted", "name": "script.json"},
            "runtime": {"work_dir": "ws", "max_steps": 6},
            "tools": ["read_file", {"name": "write_file", **guarded}, {"name": "execute", **guarded}, "ask_user"],
        }
        for key, value in sections.items():
            agent[key] = {**agent[key], **value} if isinstance(agent.get(key), dict) else value
        (self.folder / "agent.yaml").write_text(json.dumps({"agent": agent}))
        (self.folder / "script.json").write_text(json.dumps({"replies": list(replies), "delay": delay, "chunk": 8}))

    def env(self, **more: str) -> dict[str, str]:
        """A clean environment: no key, no colour wish, a home of its own."""
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.home), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **more}

    def cli(self, *args: str, stdin: Any = subprocess.DEVNULL, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command without a terminal."""
        feed = {"input": stdin} if isinstance(stdin, str) else {"stdin": stdin}
        return subprocess.run(
            [sys.executable, "-m", "autopilot_runtime", *args],
            cwd=self.folder,
            env=self.env(**env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **feed,
        )

    def run(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`autopilot run agent.yaml "do it" ...`."""
        return self.cli("run", "agent.yaml", "do it", *args, **options)

    def popen(self, *args: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start the command and leave it running."""
        command = [sys.executable, "-m", "autopilot_runtime", *args]
        return subprocess.Popen(command, cwd=self.folder, env=self.env(), **options)

    def tty(self, *args: str, columns: int = 100, then: str = "", **env: str) -> pexpect.spawn:
        """The command on a terminal; `then` is what a shell does after it."""
        command = [sys.executable, "-m", "autopilot_runtime", *args]
        program, *rest = ["sh", "-c", f"trap : INT; {shlex.join(command)}; {then}"] if then else command
        child = pexpect.spawn(
            program,
            rest,
            cwd=str(self.folder),
            env=self.env(**env),
            encoding="utf-8",
            timeout=20,
            dimensions=(40, columns),
        )
        self.terminals.append(child)
        return child

    def close(self) -> None:
        """End every terminal that is still open."""
        for child in self.terminals:
            child.close(force=True)


def finish(child: pexpect.spawn) -> int:
    """The exit code of a terminal's command, once it has ended."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus if child.exitstatus is not None else 128 + child.signalstatus
