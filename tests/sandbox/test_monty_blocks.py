"""Which realistic control blocks the `monty` engine runs, written down: a change either way must be seen."""

from __future__ import annotations

import asyncio

import pytest

from autopilot_runtime.core.protocols import Limits
from autopilot_runtime.sandbox.monty import MontySandbox
from tests.contracts.sandbox_contract import TOOLS, Desk, shown
from tests.sandbox.test_sandbox_blocks import BLOCKS, FILES, in_plain_python

pytest.importorskip("pydantic_monty")

# These it cannot run, and says so before anything runs.
REFUSED = {
    "json with a custom encoder",
    "dataclass with defaults and asdict",
    "frozen slots dataclass",
    "generator pipeline",
    "generator send and close",
    "class hierarchy with super",
    "properties, static and class methods",
    "enum",
    "custom exception and chaining",
    "catch a tool error and write a default",
    "csv in memory",
    "functools",
    "heap and bisect",
    "graphlib order",
    "textwrap and string template",
    "difflib",
    "re.sub with a function and verbose pattern",
    "ast: find functions",
    "tokenize comments",
    "walrus, star, slices",
    "bytes, hashes, base64",
    "struct and bytearray",
    "decimal and fractions",
    "statistics and math",
    "context managers",
    "decorators and closures",
    "descriptors and metaclass",
    "abstract base and protocol",
    "typing annotations",
    "xml and html",
    "html parser subclass",
    "urls and paths without touching anything",
    "sqlite in memory",
    "thread pool over tools",
    "logging to stderr is quiet on stdout",
    "unittest inside the block",
    "pickle, copy, uuid, pprint",
    "redirect output and traceback as text",
    "exception groups",
    "inspect own source",
}
# These fail only when the line is reached: a method or attribute the interpreter does not have.
FAILS = {
    "json decode error position",
    "string methods",
}


@pytest.mark.parametrize("name", [name for name, _ in BLOCKS])
async def test_a_realistic_block_runs_as_in_plain_python_or_is_listed_here(name: str) -> None:
    code = dict(BLOCKS)[name]
    box, desk = MontySandbox(), Desk(FILES)
    try:
        result = await box.run(code, tools=TOOLS, call=desk, limits=Limits())
    finally:
        await box.close()
    if name in REFUSED:
        assert result.failure is not None
        assert result.failure.kind == "check"
        assert "Nothing of this block ran" in result.failure.text
        assert desk.calls == []
    elif name in FAILS:
        assert result.failure is not None
        assert result.failure.kind == "error"
        assert result.failure.line is not None
    else:
        assert result.failure is None, result.failure
        printed, calls = await asyncio.to_thread(in_plain_python, code)
        assert shown(result, "text") == printed
        assert [(call.tool, call.args, call.kwargs) for call in desk.calls] == calls


def test_the_list_names_blocks_there_are() -> None:
    assert {name for name, _ in BLOCKS} >= REFUSED | FAILS
    assert not REFUSED & FAILS
