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
from tests.contracts.terminal_contract import CMD, POWERSHELL, PosixShellContract, TerminalContract

if sys.platform == "win32":
    from autopilot_runtime.shell.windows import WINDOWS_DIALECTS
    from autopilot_runtime.shell.windows import WindowsTerminal as SystemTerminal

    PROGRAMS = {name: dialect.programs for name, dialect in WINDOWS_DIALECTS.items()}
else:
    from autopilot_runtime.shell.posix import PosixTerminal as SystemTerminal

    PROGRAMS = {name: (name,) for name in ("bash", "zsh", "sh")}


class OnThisSystem:
    shell = ""
    wall: Kind = "none"

    @pytest.fixture
    async def terminal(self, tmp_path: Path) -> AsyncIterator[Terminal]:
        if not any(map(shutil.which, PROGRAMS.get(self.shell, ()))):
            pytest.skip(f"{self.shell} is not a shell of this system, or not installed")
        run_dir = tmp_path.parent / f"{tmp_path.name}-run"
        run_dir.mkdir(mode=0o700)
        wall = Wall() if self.wall == "none" else opener(self.wall, tmp_path)([str(run_dir)])
        terminal = SystemTerminal(
            "main",
            cwd=str(tmp_path),
            env=wall.env(child_environment(os.environ)),
            run_dir=run_dir,
            marker=f"test{os.urandom(6).hex()}/1",
            shell=self.shell,
            **({} if sys.platform == "win32" else {"wall": wall}),
        )
        await terminal.start()
        yield terminal
        await terminal.close()
        wall.close()
        assert not list(run_dir.iterdir()) or not terminal.alive


class TestBash(OnThisSystem, PosixShellContract):
    shell = "bash"


class TestBashBehindBubblewrap(TestBash):
    wall: Kind = "bwrap"


class TestBashBehindLandlock(TestBash):
    wall: Kind = "landlock"


class TestZsh(OnThisSystem, PosixShellContract):
    shell = "zsh"


class TestZshBehindBubblewrap(TestZsh):
    wall: Kind = "bwrap"


class TestZshBehindLandlock(TestZsh):
    wall: Kind = "landlock"


class TestSh(OnThisSystem, PosixShellContract):
    shell = "sh"


class TestShBehindBubblewrap(TestSh):
    wall: Kind = "bwrap"


class TestShBehindLandlock(TestSh):
    wall: Kind = "landlock"


class TestPowerShell(OnThisSystem, TerminalContract):
    shell = "powershell"
    words = POWERSHELL


class TestCmd(OnThisSystem, TerminalContract):
    shell = "cmd"
    words = CMD
