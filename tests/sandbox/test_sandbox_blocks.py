"""Realistic control blocks do in a sandbox exactly what plain Python does: same output, same calls."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.confine.level import level
from autopilot_runtime.core.protocols import Call, Limits
from autopilot_runtime.sandbox.python import PythonSandbox
from tests.contracts.sandbox_contract import TOOLS, Desk, sections, shown

BLOCKS = sections(Path(__file__).with_name("blocks.txt"))
FILES = {
    "a.py": "import os\n# TODO: tidy up\nprint(1)\n",
    "b.py": "x = 1\n\n",
    "notes.md": "the cat and the dog and the bird\n# TODO write\n",
    "config.json": '{"b": [1, 2], "a": {"deep": null}}',
    "data.csv": "name,a,b\nann,1,2\nbob,3,4\n",
}


def in_plain_python(code: str) -> tuple[str, list[tuple[str, Any, Any]]]:
    """What the block prints, and the calls it makes, when it is simply executed."""
    desk = Desk(FILES)

    def tool(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            outcome = asyncio.run(desk(Call(len(desk.calls), name, args, kwargs)))
            if outcome.error is not None:
                raise FileNotFoundError(outcome.error)
            return outcome.value

        return call

    class Server:
        ping = staticmethod(tool("server.ping"))

    names = {name: tool(name) for name in TOOLS if "." not in name}
    module = type(sys)("__main__")
    module.__dict__.update(names, server=Server)
    before, sys.modules["__main__"] = sys.modules["__main__"], module
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            exec(compile(code, "<control block 1>", "exec", dont_inherit=True), module.__dict__)
    finally:
        sys.modules["__main__"] = before
    return output.getvalue(), [(call.tool, call.args, call.kwargs) for call in desk.calls]


def test_there_are_sixty_blocks() -> None:
    assert len({name for name, _ in BLOCKS}) >= 60


@pytest.mark.skipif(sys.platform != "linux" or not level().workers, reason="no confinement here")
@pytest.mark.parametrize("code", [code for _, code in BLOCKS], ids=[name for name, _ in BLOCKS])
async def test_a_realistic_block_does_what_plain_python_does(code: str) -> None:
    box, desk = PythonSandbox(), Desk(FILES)
    try:
        result = await box.run(code, tools=TOOLS, call=desk, limits=Limits())
    finally:
        await box.close()
    assert result.failure is None, result.failure
    printed, calls = await asyncio.to_thread(in_plain_python, code)
    assert shown(result, "text") == printed
    assert [(call.tool, call.args, call.kwargs) for call in desk.calls] == calls
