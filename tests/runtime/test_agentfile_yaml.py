"""What the YAML reader takes, what it refuses, and where it points."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from autopilot_runtime.core.errors import AgentFileError
from autopilot_runtime.runtime.yamlmarks import MAX_DEPTH, load_marked


def refused(raw: bytes) -> str:
    began = time.monotonic()
    with pytest.raises(AgentFileError) as caught:
        load_marked(raw, "agent.yaml")
    assert time.monotonic() - began < 2
    return str(caught.value)


def read(text: str) -> object:
    return load_marked(text.encode(), "agent.yaml").data


def test_plain_data_is_read_as_yaml_1_2():
    text = "{a: off, b: yes, c: true, d: null, e: 12, f: 0x1f, g: 1e3,"
    text += " h: 2023-06-01, i: 1_000, j: 12:30, k: '7', l: 0o17}"
    assert read(text) == {
        "a": "off", "b": "yes", "c": True, "d": None, "e": 12, "f": 31, "g": 1000.0, "h": "2023-06-01",
        "i": "1_000", "j": "12:30", "k": "7", "l": 15,
    }  # fmt: skip


def test_keys_are_always_text():
    assert read("on: 1\n2: b\nnull: c\n") == {"on": 1, "2": "b", "null": "c"}


def test_every_value_knows_its_place_and_the_place_of_its_key():
    marks = load_marked(b"agent:\n  model:\n    provider: x\n  tools:\n    - a\n    - name: b\n", "a").marks
    provider = marks["agent", "model", "provider"]
    assert (provider.line, provider.column, provider.key_line, provider.key_column) == (3, 15, 3, 5)
    assert (marks["agent", "tools", 0].line, marks["agent", "tools", 0].column) == (5, 7)
    assert marks["agent", "tools", 1, "name"].column == 13


def test_aliases_give_the_value_they_stand_for():
    assert read("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


def test_duplicate_keys_are_refused_and_both_lines_named():
    said = refused(b"agent:\n  name: a\n  role: r\n  name: b\n  role: s\n")
    assert "agent.yaml:4:3: the key 'name' is given twice: on line 2 and on line 4" in said
    assert "agent.yaml:5:3: the key 'role' is given twice: on line 3 and on line 5" in said


def test_a_key_written_in_two_ways_is_still_one_key():
    assert "given twice" in refused(b'name: a\n"na\\x6de": b\n')


def test_a_fault_shows_its_line_and_a_caret_under_the_place():
    said = refused(b"agent:\n\tname: x\n").splitlines()
    assert said[0].startswith("agent.yaml:2:1: a tab; YAML is indented with spaces")
    assert said[1] == "    2 |  name: x"
    assert said[2] == "      | ^"


@pytest.mark.parametrize(
    ("raw", "place", "words"),
    [
        (b'a: "x\nb: 1\n', "1:4", "a quote is opened and never closed"),
        (b"a: b: c\n", "1:5", "needs quotes"),
        (b"a: [1, 2\n", "1:9", "','"),
        (b"a: @x\n", "1:4", "cannot start any token"),
        (b"a: 1\n---\nb: 2\n", "2:1", "second document"),
        (b"? [a]\n: b\n", "1:3", "as a key"),
        (b"a: &x {b: c}\nd:\n  <<: *x\n", "3:3", "merge keys"),
        (b"a: &x [*x]\n", "1:8", "the value it stands in"),
        (b"a: *nope\n", "1:4", "not defined"),
        (b"a: x\0y\n", "1:5", "U+0000"),
        (b"a: b\nc: \xe9\n", "2:4", "not UTF-8"),
        ("a: b\n".encode("utf-16"), "1:1", "UTF-16"),
        (b"a: !!python/object/apply:os.system ['x']\n", "1:4", "not allowed"),
        (b"a: !!python/name:os.system\n", "1:4", "not allowed"),
        (b"!!python/object:os.x {a: b}\n", "1:1", "not allowed"),
        (b"!evil a: b\n", "1:1", "not allowed"),
        (b"a: !!timestamp 2020-01-01\n", "1:4", "not allowed"),
        (b"a: !!int x\n", "1:4", "is not a int"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(raw, place, words):
    said = refused(raw)
    assert said.startswith(f"agent.yaml:{place}: "), said
    assert words in said


def test_a_python_tag_runs_nothing(tmp_path):
    target = tmp_path / "made"
    refused(f"a: !!python/object/apply:os.mkdir ['{target}']\n".encode())
    assert not target.exists()


BOMBS = {
    "laughs": b"a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)),
    "maps": b"a0: &a0 {x: 1}\n"
    + b"".join(b"a%d: &a%d {l: *a%d, r: *a%d}\n" % (i, i, i - 1, i - 1) for i in range(1, 40)),
    "merges": b"a0: &a0 {x: 1}\n"
    + b"".join(b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (i, i, i - 1, i - 1) for i in range(1, 40)),
    "flow_nesting": b"[" * 3000 + b"]" * 3000,
    "map_nesting": b"{a: " * 3000 + b"}" * 3000,
    "block_nesting": b"".join(b" " * i + b"a:\n" for i in range(1200)),
    "dash_nesting": b"- " * 3000 + b"x",
    "many_anchors": b"".join(b"- &a%d x\n" % i for i in range(60_000)),
    "many_values": b"a: [" + b"x," * 400_000 + b"]",
    "too_big": b"a: " + b"x" * 10_000_000,
    "open_quote": b"a: '" + b"\n" * 900_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_two_seconds(name):
    assert refused(BOMBS[name]).startswith("agent.yaml:")


def test_the_deepest_bomb_is_named_as_too_deep():
    assert f"nested more than {MAX_DEPTH} levels" in refused(BOMBS["flow_nesting"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bombs_cost_little_memory():
    code = (
        "import re, sys\n"
        "from autopilot_runtime.runtime.yamlmarks import load_marked\n"
        "from autopilot_runtime.core.errors import AgentFileError\n"
        "for raw in (b'[' * 900_000, b'a: [' + b'x,' * 400_000 + b']', b'- &a x\\n' * 100_000):\n"
        "    try:\n"
        "        load_marked(raw, 'a')\n"
        "        sys.exit('read a bomb')\n"
        "    except AgentFileError:\n"
        "        pass\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) < 300


def test_the_parser_in_python_refuses_the_same(monkeypatch):
    # Where PyYAML comes without libyaml there is no CSafeLoader.
    monkeypatch.delattr("yaml.CSafeLoader", raising=False)
    assert read("a: [1, {b: c}]") == {"a": [1, {"b": "c"}]}
    for name in ("laughs", "flow_nesting", "many_anchors"):
        assert refused(BOMBS[name]).startswith("agent.yaml:")
    assert "a tab" in refused(b"agent:\n\tname: x\n")
