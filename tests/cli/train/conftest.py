"""The fixtures of the training commands' tests."""

from __future__ import annotations

import shutil
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


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose project was trained: epochs 0, 1, 2 and 4 were accepted, 3 was not."""
    command = Command(tmp_path_factory.mktemp("trained")).cold_start()
    command("optimize", "train", "--epochs", "5", "--context", "train")
    return command.folder


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Command:
    """The command in a copy of it."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    return Command(tmp_path)
