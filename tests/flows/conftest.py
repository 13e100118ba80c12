"""The stage of the flows, once for each kind of Runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.house import House
from tests.flows.stage import KEY, KEY_ENV, Stage


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # what undo needs is kept there


@pytest.fixture(params=["sync", "async"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage whose runtimes and servers are gone afterwards."""
    one = Stage(request.param, tmp_path)
    yield one
    await one.close()


@pytest.fixture
def house(tmp_path: Path) -> Any:
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def asking(tmp_path: Path) -> Any:
    made = House(tmp_path, on_unanswered="suspend")
    yield made
    made.close()
