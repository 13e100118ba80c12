"""The fixture of the command line's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_project import Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A fresh project."""
    made = Project(tmp_path)
    yield made
    made.close()
