"""The fixtures of the training commands' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from command import Command


@pytest.fixture
def autopilot(tmp_path: Path) -> Command:
    """The command in an empty folder."""
    return Command(tmp_path)


@pytest.fixture
def begun(autopilot: Command) -> Command:
    """The command in a workspace with a project and an experiment."""
    return autopilot.cold_start()
