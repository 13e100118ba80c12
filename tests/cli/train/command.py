"""Runs the real command in a folder of the test's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Ended:
    """How it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed for a program."""
        return json.loads(self.out)


@dataclass
class Command:
    """`autopilot` in a folder."""

    folder: Path

    def __call__(self, *words: str, code: int = 0) -> Ended:
        """Run it; it has to end with this code."""
        ran = subprocess.run(
            self.argv(*words), cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        assert ran.returncode == code, f"{words} ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}"
        return Ended(ran.returncode, ran.stdout, ran.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin it."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.argv(*words), cwd=self.folder, env=self.env, stdout=pipe, stderr=pipe, text=True)

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "autopilot_runtime", *words]

    @property
    def env(self) -> dict[str, str]:
        root = str(Path(__file__).parents[3])
        return {**os.environ, "PYTHONPATH": root, "HOME": str(self.folder), "COLUMNS": "120", "NO_COLOR": "1"}

    def cold_start(self) -> Command:
        """The first three lines of a new workspace."""
        self("workspace", "init", "--context", "begin")
        self("project", "init", "myproj", "--context", "begin")
        self("experiment", "create", "exp-1", "--context", "the first try")
        return self
