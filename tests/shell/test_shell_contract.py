"""The terminal contract, for every shell that is installed here, behind every wall that can be had."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from autopilot_runtime.confine.wall import Kind, Wall
from autopilot_runtime.shell.environ import child_environment
from autopilot_runtime.shell.terminal import Terminal
from tests.confine.walls import opener
from tests.contracts.terminal_contract import TerminalContract

if sys.platform == "win32":
    pytest.skip("POSIX terminals", allow_module_level=True)

from autopilot_runtime.shell.posix import PosixTerminal


class OnPosix(TerminalContract):
    shell = "bash"
    wall: Kind = "none"

    @pytest.fixture
    async def terminal(self, tmp_path: Path) -> AsyncIterator[Terminal]:
        if shutil.which(self.shell) is None:
            pytest.skip(f"{self.shell} is not installed")
        run_dir = tmp_path.parent / f"{tmp_path.name}-run"
        run_dir.mkdir(mode=0o700)
        wall = Wall() if self.wall == "none" else opener(self.wall, tmp_path)([str(run_dir)])
        terminal = PosixTerminal(
            "main",
            cwd=str(tmp_path),
            env=wall.env(child_environment(os.environ)),
            run_dir=run_dir,
            marker=f"test{os.urandom(6).hex()}/1",
            shell=self.shell,
            wall=wall,
        )
        await terminal.start()
        yield terminal
        await terminal.close()
        wall.close()
        assert not list(run_dir.iterdir()) or not terminal.alive


class TestBash(OnPosix):
    shell = "bash"


class TestBashBehindBubblewrap(OnPosix):
    wall: Kind = "bwrap"


class TestBashBehindLandlock(OnPosix):
    wall: Kind = "landlock"


class TestZsh(OnPosix):
    shell = "zsh"
    interrupted = (130, 0)  # a loop of builtins leaves the code of the last one


class TestZshBehindBubblewrap(TestZsh):
    wall: Kind = "bwrap"


class TestZshBehindLandlock(TestZsh):
    wall: Kind = "landlock"


class TestSh(OnPosix):
    shell = "sh"


class TestShBehindBubblewrap(TestSh):
    wall: Kind = "bwrap"


class TestShBehindLandlock(TestSh):
    wall: Kind = "landlock"
