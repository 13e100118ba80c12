"""`ask_user` gives the answer of a person, or says that nobody is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.tool.context import ToolContext
from autopilot_runtime.tool.pack import load_tools
from autopilot_runtime.tool.workspace import Workspace

(ASK,) = load_tools("ask_user", folder=Path("/nowhere"))


async def test_the_answer_is_the_value(tmp_path: Path) -> None:
    async def answer(question: str) -> str:
        return f"to {question!r}: yes"

    ctx = ToolContext("ask_user", Workspace(tmp_path), on_ask=answer)
    assert (await ASK.call(ctx, {"question": "Go?"})).value == "to 'Go?': yes"
    assert ASK.label({"question": "Go?"}) == "Asking: Go?"


async def test_nobody_there_and_nothing_asked_are_errors(tmp_path: Path) -> None:
    ctx = ToolContext("ask_user", Workspace(tmp_path))
    with pytest.raises(ToolError, match="Nobody is there"):
        await ASK.call(ctx, {"question": "Go?"})
    with pytest.raises(ToolError, match="empty"):
        await ASK.call(ctx, {"question": "  "})
