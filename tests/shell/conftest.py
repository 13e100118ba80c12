"""A pool for every shell that is installed here."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from autopilot_runtime.shell.pool import TerminalPool


@pytest.fixture(params=["bash", "zsh", "sh"])
def shell(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
async def every_shell(shell: str, tmp_path: Path) -> AsyncIterator[TerminalPool]:
    """A pool whose terminals run this shell."""
    pool = TerminalPool(tmp_path, shell=shell)
    yield pool
    await pool.close()
