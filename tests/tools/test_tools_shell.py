"""The shell pack: seed signatures, labels, what permissions judge, values and texts. Real terminals."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.shell.pool import TerminalPool
from autopilot_runtime.tool.context import ToolContext
from autopilot_runtime.tool.define import Tool, ToolResult
from autopilot_runtime.tool.pack import load_pack
from autopilot_runtime.tool.permit import decide, parse_rules
from autopilot_runtime.tool.workspace import Workspace

if sys.platform == "win32":
    pytest.skip("POSIX shells", allow_module_level=True)

PACK = Path(__file__).parents[2] / "tools" / "shell.py"
TOOLS: dict[str, Tool] = {tool.name: tool for tool in load_pack(PACK)}


class Desk:
    """Calls tools of the pack as the runtime would."""

    def __init__(self, folder: Path) -> None:
        self.pool = TerminalPool(folder)
        self.workspace = Workspace(folder)
        self.states: dict[str, dict[str, Any]] = {}

    def context(self, name: str, config: Mapping[str, Any] | None = None) -> ToolContext:
        state = self.states.setdefault(name, {})
        return ToolContext(name, self.workspace, config or {}, state=state, open_terminals=lambda: self.pool)

    async def call(self, name: str, config: Mapping[str, Any] | None = None, **arguments: Any) -> Any:
        return await TOOLS[name].call(self.context(name, config), arguments)

    def verdict(self, rules: list[str], name: str, **arguments: Any) -> str:
        tool = TOOLS[name]
        preview = tool.preview(self.context(name), arguments)
        return decide(parse_rules(rules), tool.request(preview)).action


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    await desk.pool.close()


def test_signatures_are_those_of_the_seed() -> None:
    seed = {
        "execute": "session_id, command, timeout=10, new_terminal=False, shell=None",
        "read_output": "session_id, timeout=5",
        "send_input": "session_id, text, timeout=5",
        "terminate_terminal": "session_id",
    }
    for name, wanted in seed.items():
        parameters = [p for p in inspect.signature(TOOLS[name].func).parameters.values() if p.name != "ctx"]
        plain = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters)
        assert plain == wanted


def test_labels_read_like_sentences() -> None:
    assert TOOLS["execute"].label({"session_id": "main", "command": "pytest tests/"}) == "Running `pytest tests/`"
    assert TOOLS["send_input"].label({"session_id": "server", "text": "\x03"}) == "Sending Ctrl+C to terminal server"
    assert TOOLS["read_output"].label({"session_id": "main"}) == "Reading terminal main"
    assert TOOLS["terminate_terminal"].label({"session_id": "main"}) == "Closing terminal main"


async def test_execute_gives_a_dict_to_code_and_a_text_to_the_reader(desk: Desk, tmp_path: Path) -> None:
    result = await desk.call("execute", session_id="main", command="echo hi; (exit 2)")
    assert isinstance(result, ToolResult)
    assert result.value["return_code"] == 2
    assert (result.value["status"], result.value["output"], result.value["cwd"]) == ("completed", "hi", str(tmp_path))
    assert result.shown is not None
    command, head, body = result.shown.split("\n")
    assert command.startswith("$ ")
    assert head.startswith("[main] completed, return_code 2, 0.")
    assert head.endswith(f"s, cwd {tmp_path}")
    assert body == "hi"


async def test_a_conversation_with_a_program(desk: Desk) -> None:
    first = await desk.call("execute", session_id="main", command="read -p 'name? ' n; echo hello $n", timeout=0.3)
    assert first.value["status"] == "running"
    last = await desk.call("send_input", session_id="main", text="ada\n", timeout=10)
    assert last.value["status"] == "completed"
    assert "hello ada" in last.value["output"]
    full = await desk.call("read_output", session_id="main")
    assert full.value["mode"] == "full"
    assert "complete output" in str(full.shown)
    closed = await desk.call("terminate_terminal", session_id="main")
    assert closed == "Terminal main is closed, with everything it had started (it was idle)."


async def test_the_limit_of_an_agent_file_holds(desk: Desk) -> None:
    result = await desk.call("execute", {"max_output_chars": 500}, session_id="main", command="seq 10000")
    assert len(result.value["output"]) < 700
    assert result.value["output"].endswith("10000")
    assert "left out" in result.value["output"]


async def test_errors_are_for_the_model(desk: Desk) -> None:
    for call in (
        desk.call("execute", session_id="nope", command="true"),
        desk.call("execute", session_id="main", command="   "),
        desk.call("read_output", session_id="nope"),
        desk.call("send_input", session_id="main", text="x"),
        desk.call("terminate_terminal", session_id="nope"),
    ):
        with pytest.raises(ToolError):
            await call


async def test_what_is_typed_passes_the_gate_of_execute(desk: Desk) -> None:
    await desk.call("execute", session_id="main", command="sh", timeout=0)
    rules = ["deny: execute(rm *)", "allow: execute(ls *)", "ask: execute"]
    assert desk.verdict(rules, "execute", session_id="main", command="rm -rf x") == "deny"
    assert desk.verdict(rules, "send_input", session_id="main", text="rm -rf x\n") == "deny"
    assert desk.verdict(rules, "send_input", session_id="main", text="curl x | sh\n") == "ask"
    preview = TOOLS["send_input"].preview(desk.context("send_input"), {"session_id": "main", "text": "a\n"})
    assert "running `sh`" in preview.description


async def test_a_line_typed_in_pieces_is_judged_whole(desk: Desk) -> None:
    await desk.call("execute", session_id="main", command="cat", timeout=0)
    await desk.call("send_input", session_id="main", text="first\nr", timeout=0)
    assert desk.verdict(["deny: execute(rm *)"], "send_input", session_id="main", text="m -rf x\n") == "deny"
    await desk.call("send_input", session_id="main", text="\n", timeout=0)
    assert desk.verdict(["deny: execute(rm *)"], "send_input", session_id="main", text="m -rf x\n") == "allow"
