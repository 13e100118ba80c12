"""What is found before anything runs, what is let pass, and what a block is said to show."""

from __future__ import annotations

import ast
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot_runtime.core.protocols import Outcome
from autopilot_runtime.sandbox.check import check
from autopilot_runtime.sandbox.display import bare_name, describe, label, mark, receipt, restore, splice
from autopilot_runtime.sandbox.value import bounded_repr
from tests.contracts.sandbox_contract import TOOLS


def said(code: str, payloads: int = 0) -> str:
    failure = check(code, TOOLS, payloads=payloads)
    return "" if failure is None else f"{failure.kind}: {failure.text}"


@pytest.mark.parametrize(
    "code",
    [
        'read_file("a")',
        'read_file(path="a", start=None)',
        "read_file(name)",
        "read_file(*names)",
        "read_file(**options)",
        "read_file(f'{x}.py', start=1.0)",
        "echo(1)\necho([1])\necho(None)",
        "slow(1)\nslow(0.5)",
        "server.ping(1)",
        "server = thing()\nserver.ping('anything', 1, 2)",
        "def read_file(a, b, c): ...\nread_file(1, 2, 3)",
        "for find in range(3): find()",
        "[execute() for execute in functions]",
        "def f(echo): return echo(1, 2, 3)",
        "unknown_function(1)",
        "class A:\n    def find(self): ...\nA().find()",
        "import os\nos.path.join('a', 'b')\nos.sep",
        "import os.path as p\np.basename('a/b')",
        "from pathlib import Path, PurePath\nPath('a') / 'b'\nPath('x.py').stem",
        "import json, re, math, collections, dataclasses, datetime, textwrap, threading, asyncio",
        "table.open()\nfile.read_text()",
        'text = "import subprocess; open(1)"  # os.system("x")',
        "x = '\\d'",
    ],
)
def test_what_may_run_is_let_pass(code: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert said(code) == ""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("read_file(start='x', path='a')", ["check", "'start'", "'x'", "Signature: read_file(path: str"]),
        ("if late:\n    read_file(3)", ["check", "line 2", "str for 'path'"]),
        ("x = [find(patern='a') for _ in y]", ["check", "did you mean 'pattern'"]),
        ("read_file('a', path='b')", ["check", "'path' twice"]),
        ("server.ping()", ["check", "misses 'number'"]),
        ("import subprocess", ["security", "call execute()"]),
        ("from os import system", ["security", "call execute()"]),
        ("import os as o\no.popen('x')", ["security", "line 2", "call execute()"]),
        ("import os\nos.environ['KEY']", ["security", "no environment"]),
        ("import os\nprint(os.path.exists('a'))", ["security", "read_file()"]),
        ("open('a.py').read()", ["security", "read_file()/write_file()"]),
        ("from pathlib import Path\nfor p in (Path('a') / 'b').rglob('*'): ...", ["security", "find()"]),
        ("import urllib.request", ["security", "no network"]),
        ("import ctypes", ["security", "no native code"]),
        ("__import__('socket')", ["security", "no network"]),
        ("import importlib\nimportlib.import_module('subprocess')", ["security", "execute()"]),
        ("await read_file('a')", ["syntax", "without await"]),
        ("async for x in y: pass", ["syntax", "without await"]),
        ("x = 1\n  y = 2", ["syntax", "line 2", "^"]),
        ("print('a'", ["syntax", "line 1", "^"]),
        ("a\0b", ["syntax", "NUL"]),
    ],
)
def test_what_must_not_run_is_said_with_the_way_out(code: str, words: list[str]) -> None:
    text = said(code)
    assert all(word in text for word in words), text
    assert "Nothing of this block ran." in text


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("write_file('a')\nwrite_file('b')", 2),
        ("write_file('a', 'text')\nwrite_file('b', text)\nwrite_file('c', content=text)", 0),
        ("with x:\n    write_file('a')", 1),
        ("print(write_file('a'), [write_file('b')])", 2),
        ("for x in y:\n    write_file(x)", 0),
        ("if x:\n    write_file('a')", 0),
        ("def f():\n    write_file('a')\nf()", 0),
        ("try:\n    write_file('a')\nexcept OSError: pass", 0),
        ("write_file('a')\nif x:\n    raise SystemExit\nwrite_file('b')", 1),
        ("x and write_file('a')", 0),
        ("write_file('a') if x else 1", 0),
        ("f = lambda: write_file('a')", 0),
        ("# write_file('a')\ns = 'write_file(1)'", 0),
        ("write_file(*args)", 0),
    ],
)
def test_payloads_that_are_certainly_needed_are_counted(code: str, needed: int) -> None:
    assert said(code, payloads=needed) == ""
    if needed:
        few = said(code, payloads=needed - 1)
        assert ("take 2 payload blocks, but 1 follows" if needed == 2 else "takes 1 payload block, but none") in few


def test_a_payload_counter_that_breaks_counts_as_none() -> None:
    from dataclasses import replace

    def broken(known: object) -> int:
        raise KeyError("x")

    tools = {"write_file": replace(TOOLS["write_file"], payloads=broken)}
    assert check("write_file('a')", tools, payloads=0) is None


def test_a_long_block_is_checked_in_linear_time() -> None:
    code = "".join(f"x{n} = read_file('f{n}')\nread_file('g')\n" for n in range(5_000))
    begun = time.perf_counter()
    assert said(code) == ""
    assert time.perf_counter() - begun < 5


# ---------------------------------------------------------------- display


CODE = """\
# ü in front
x = read_file("a")
for n in range(2):
    read_file(
        f"{n}"
    ); find("ü"); server.ping(1)
if (echo)(1): echo(2)
(server
 .ping)(2)
def local(find):
    find("mine")
x
"""


def test_the_text_form_and_the_tree_form_say_the_same() -> None:
    spliced = splice(CODE, TOOLS, last=True)
    assert spliced.count("\n") == CODE.count("\n")
    marked = ast.unparse(mark(ast.parse(CODE), TOOLS))
    assert ast.unparse(ast.parse(spliced)) == marked
    assert marked.count("__bare__") == 4
    assert "__show__(x)" in marked


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_splicing_keeps_every_kind_of_line(newline: str) -> None:
    code = CODE.replace("\n", newline)
    assert splice(code, TOOLS).count(newline) == code.count(newline)
    assert restore(splice(code, TOOLS), TOOLS).replace("(server" + newline, "") != ""


def test_names_come_back_as_the_model_wrote_them() -> None:
    text = f"in {bare_name('read_file')} and {bare_name('server.ping')}"
    assert restore(text, TOOLS) == "in read_file and server.ping"


def test_lines_of_calls_do_not_move() -> None:
    tree = mark(ast.parse(CODE), TOOLS)
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call)]
    plain = [node.lineno for node in ast.walk(ast.parse(CODE)) if isinstance(node, ast.Call)]
    assert sorted(set(lines)) == sorted({*plain, len(CODE.splitlines())})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x" * 1204, "str, 1204 chars"),
        (b"ab", "bytes, 2 bytes"),
        ([1, 2], "list, 2 items"),
        ({}, "dict, 0 keys"),
        (None, "None"),
        (3, "3"),
        (True, "True"),
        pytest.param(10**5000, "<int of 16610 bits>", id="huge"),
    ],
)
def test_a_receipt_says_type_and_size(value: object, words: str) -> None:
    assert describe(value) == words
    assert receipt("read_file", ("a.py",), {}, Outcome(value)) == f'read_file("a.py") -> {words}'


def test_a_receipt_says_how_it_went_where_the_tool_does() -> None:
    outcome = Outcome({"return_code": 1}, note="completed, return_code 1")
    assert (
        receipt("execute", ("main", "false"), {}, outcome) == 'execute("main", "false") -> completed, return_code 1'
    )


def test_a_receipt_is_one_short_line_whatever_is_in_it() -> None:
    line = receipt("read_file", ["a\nb" * 1000], {"k" * 5000: [["x"] * 100] * 100}, Outcome(error="e\n\r" * 10_000))
    assert "\n" not in line
    assert len(line) < 400
    assert label("f", ['say "hi"'], {}) == "f('say \"hi\"')"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
        lambda inner: (
            st.lists(inner)
            | st.tuples(inner)
            | st.tuples(inner, inner)
            | st.dictionaries(st.text(), inner)
            | st.frozensets(st.integers(), max_size=1)
            | st.sets(st.integers(), max_size=1)
        ),
        max_leaves=20,
    )
)
@settings(max_examples=200, deadline=None)
def test_a_small_value_is_shown_as_repr_would(value: object) -> None:
    assert bounded_repr(value, chars=100_000, nodes=10_000) == repr(value)


def test_a_value_that_is_huge_only_written_out_is_cut() -> None:
    value: list[object] = ["x"] * 10
    for _ in range(30):
        value = [value] * 10
    loop: list[object] = []
    loop.append(loop)
    begun = time.perf_counter()
    assert len(bounded_repr(value, chars=1000)) <= 1003
    assert len(bounded_repr(loop)) < 500
    assert len(bounded_repr("x" * 10**8, chars=1000)) <= 1003
    assert len(bounded_repr({"k" * 10**6: 1}, chars=1000)) <= 1003
    assert time.perf_counter() - begun < 1
