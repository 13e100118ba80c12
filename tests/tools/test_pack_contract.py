"""Every shipped tool, and one written by a user, keeps the contract of tools."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from autopilot_runtime.tool.define import Tool, define
from autopilot_runtime.tool.pack import load_tools, shipped

_PATH = Path(__file__).parents[1] / "contracts" / "tool_contract.py"
_SPEC = importlib.util.spec_from_file_location("tool_contract", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
contract = importlib.util.module_from_spec(_SPEC)
sys.modules["tool_contract"] = contract
_SPEC.loader.exec_module(contract)

ALL = [(pack, name) for pack, names in shipped().items() for name in names]


@pytest.mark.parametrize(("pack", "name"), ALL, ids=[name for _, name in ALL])
class TestShipped(contract.ToolContract):  # type: ignore[misc, name-defined]
    @pytest.fixture
    def tool(self, pack: str, name: str) -> Tool:
        return next(one for one in load_tools(pack, folder=Path("/nowhere")) if one.name == name)


class TestUsersOwn(contract.ToolContract):  # type: ignore[misc, name-defined]
    @pytest.fixture
    def tool(self) -> Tool:
        def web_search(query: str, *sites: str, limit: int = 5, **options: bool) -> list[str]:
            """Search the web and return the addresses found."""
            return [query, *sites][:limit]

        return define(web_search)
