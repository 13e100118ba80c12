"""Every session store of ours tells the stories of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.session_contract import DurableContract, SessionContract
from tests.session.places import AsyncPlace, DatabasePlace, FilePlace, MemoryPlace


class TestMemory(SessionContract):
    @pytest.fixture
    def place(self) -> MemoryPlace:
        return MemoryPlace()


class TestFile(DurableContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> FilePlace:
        return FilePlace(tmp_path)


@pytest.mark.parametrize("url", ["sqlite", "postgresql", "mysql"], indirect=True)
class TestDatabase(DurableContract):
    @pytest.fixture
    def place(self, url: str) -> DatabasePlace:
        return DatabasePlace(url)


@pytest.mark.parametrize("url", ["sqlite", "postgresql", "mysql"], indirect=True)
class TestAsyncDatabase(DurableContract):
    @pytest.fixture
    def place(self, url: str) -> Iterator[AsyncPlace]:
        place = AsyncPlace(url)
        yield place
        place.close()
