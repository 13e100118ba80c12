"""The same hostile control blocks against the `monty` engine: none reaches anything of the host."""

from __future__ import annotations

import pytest

from autopilot_runtime.sandbox.monty import MontySandbox
from tests.contracts.sandbox_contract import TOOLS, Desk, shown
from tests.sandbox import test_sandbox_escapes as escapes

pytest.importorskip("pydantic_monty")
host = escapes.host
# The interpreter's own folder, which is made up, and the same everywhere.
MADE_UP = "ESCAPED /\n"


def past_the_lint(payload: str) -> str:
    """In a string no check looks into, so that only the interpreter is left."""
    return f"exec({payload!r})\n"


@pytest.mark.parametrize("form", [escapes.as_written, past_the_lint])
@pytest.mark.parametrize("payload", [code for _, code in escapes.ESCAPES], ids=[name for name, _ in escapes.ESCAPES])
async def test_a_hostile_block_reaches_nothing(host: escapes.Host, payload: str, form: object) -> None:
    assert callable(form)
    box, desk = MontySandbox(), Desk({"a.py": "print(1)\n"})
    try:
        result = await box.run(form(host.fill(payload)), tools=TOOLS, call=desk, limits=escapes.LIMITS)
        if shown(result) != MADE_UP:
            escapes.assert_contained(result, desk)
        desk.calls.clear()
        code = 'x = read_file("a.py")\nprint("still here")\n'
        after = await box.run(code, tools=TOOLS, call=desk, limits=escapes.LIMITS)
        if after.failure is not None:
            # A worker whose memory the block filled is replaced; then it works.
            after = await box.run(code, tools=TOOLS, call=desk, limits=escapes.LIMITS)
        assert after.failure is None, after.failure
        assert "still here" in shown(after, "text")
        assert "read_file" in desk.called()
    finally:
        await box.close()
    host.assert_untouched()
