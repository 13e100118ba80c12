"""What a model does wrong in its reply: nothing runs by mistake, the model hears why, and the task goes on."""

from __future__ import annotations

import time

import pytest

from autopilot_runtime import EventType
from tests.fake_provider import Reply
from tests.flows.stage import Stage, act, finish

WRITE = "```codepilot\nwrite_file('a.txt')\n```\n"
PAYLOAD = "```text\nhello\n```\n"

# A reply, and what the model must hear about it. None of them may run or write anything.
REFUSED: dict[str, tuple[str, str]] = {
    "control never closed": ("Go.\n\n```codepilot\nwrite_file('a.txt')\n", "never closed"),
    "payload never closed": (f"Go.\n\n{WRITE}\n```text\nhello\n", "never closed"),
    "two control blocks": (f"{WRITE}\n{PAYLOAD}\nand\n\n{WRITE}\n{PAYLOAD}", "two control blocks"),
    "control inside a payload": (f"{WRITE}\n```text\nhello\n{WRITE}", "stands inside"),
    "no payload": (f"Go.\n\n{WRITE}", "payload"),
    "syntax error": (act("write_file('a.txt'\nprint('x')", "hello"), "SyntaxError"),
    "wrong argument": (act("write_file(path='a.txt', content='x')", "hello"), "content"),
    "a forbidden import": (act("import subprocess\nwrite_file('a.txt')", "hello"), "no subprocess here"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_malformed_reply_runs_nothing_and_says_why(stage: Stage, name: str) -> None:
    reply, told = REFUSED[name]
    stage.open(reply, finish("corrected"))
    assert await stage.run() == "corrected"
    assert list(stage.work.iterdir()) == []
    assert told in stage.heard()
    assert stage.rt.last.steps == 2


CUT = [
    f"Go.\n\n{WRITE}\n```text\nhalf a fi",
    "Go.\n\n```codepilot\nwrite_file('a.txt')\nprint('x",
    f"{act('1')}\n```completion\nI have done ever",
]


@pytest.mark.parametrize("text", CUT, ids=["payload", "control", "completion"])
async def test_a_reply_cut_by_the_token_limit_is_never_taken_for_whole(stage: Stage, text: str) -> None:
    stage.open(Reply(text, stop="length"), finish("whole"))
    assert await stage.run() == "whole"
    assert list(stage.work.iterdir()) == []
    assert "token limit" in stage.heard()
    assert [event.summary for event in stage.of(EventType.FINISH)] == ["whole"]


async def test_a_chat_answer_cut_by_the_token_limit_goes_on(stage: Stage) -> None:
    stage.open(Reply("The first half of a long expl", stop="length"), "and the second half.")
    await stage.run()
    assert stage.rt.last.steps == 2
    assert "token limit" in stage.heard()


async def test_look_alikes_never_run_and_get_a_hint(stage: Stage) -> None:
    for fence in ("```codepilot2", "```\u200bcodepilot", "```cоdepilot", "``` ` codepilot", "```Codepilot run"):
        stage.open(f"Now:\n\n{fence}\nwrite_file('a.txt')\n```\n\n{PAYLOAD}", finish("ok"))
        await stage.run()
        assert list(stage.work.iterdir()) == [], fence
        assert not stage.of(EventType.TOOL_CALL), fence


async def test_a_nested_fence_with_a_longer_outer_one_is_byte_exact(stage: Stage) -> None:
    body = "# Doc\n\n```python\nx = 1\n```\n\n~~~\ny\n~~~\n"
    stage.open(f"Go.\n\n{WRITE}\n````markdown filename=a.txt\n{body}````\n\n{finish('ok')}")
    assert await stage.run() == "ok"
    assert (stage.work / "a.txt").read_text() == body


async def test_a_naively_nested_fence_is_exact_or_refused_and_never_shortened(stage: Stage) -> None:
    body = "# Doc\n```python\nx = 1\n```\nmore text\n"
    stage.open(f"{WRITE}\n```markdown\n{body}```\n", finish())
    await stage.run()
    written = [path.read_text() for path in stage.work.iterdir()]
    assert written == [body] or (written == [] and "line" in stage.heard())


async def test_crlf_tabs_nul_and_odd_line_ends_survive_into_the_file(stage: Stage) -> None:
    body = "a\r\n\tb\x00\x0cc\u2028d\u0085e\r\n"
    stage.open(f"Go.\r\n\r\n```codepilot\r\nwrite_file('a.txt')\r\n```\r\n\r\n```text\r\n{body}```\r\n", finish())
    await stage.run()
    assert (stage.work / "a.txt").read_bytes() == body.encode()


@pytest.mark.parametrize("chunk", [1, 2, 5, 10_000])
async def test_every_chunking_shows_and_does_the_same(stage: Stage, chunk: int) -> None:
    text = act(
        "write_file('a.txt')\nprint('``` in a string')  # ```", "hello", say="See `x` and ``y``:", done="Done ✓"
    )
    stage.open(Reply(text, chunk=chunk), options={"stream": True})
    assert await stage.run() == "Done ✓"
    assert stage.shown == "See `x` and ``y``:\n\nDone ✓"
    assert (stage.work / "a.txt").read_text() == "hello\n"


async def test_ten_thousand_fences_are_read_in_a_moment(stage: Stage) -> None:
    fences = "```python\nx\n```\n\n" * 10_000
    stage.open(
        Reply(fences + "`" * 65_536 + "\n", chunk=5_000), Reply(fences + act("print('ran')"), chunk=5_000), finish()
    )
    begun = time.monotonic()
    await stage.run()
    await stage.run()
    assert time.monotonic() - begun < 5
    assert "ran" in stage.heard()


async def test_a_whitespace_reply_is_not_a_success(stage: Stage) -> None:
    stage.open(Reply("  \n\n "), finish("words"))
    assert await stage.run() is None
    assert stage.status == "failed"
    assert await stage.run() == "words"


async def test_write_file_in_comments_and_strings_is_no_write(stage: Stage) -> None:
    code = "# write_file('a.txt')\ntext = \"write_file('b.txt')\"\nwrite_file('c.txt')"
    stage.open(act(code, "hello"), finish())
    await stage.run()
    assert [path.name for path in stage.work.iterdir()] == ["c.txt"]


# ---------------------------------------------------------------- blocks that misbehave

LIMITS = {"limits": {"block_seconds": 0.5, "memory_mb": 128, "output_chars": 5_000, "calls": 20}}
HARMFUL: dict[str, tuple[str, str]] = {
    "endless loop": ("while True:\n    pass", "stopped after 0.5 s"),
    "endless loop that catches everything": (
        "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass",
        "stopped after 0.5 s",
    ),
    "recursion": ("def f():\n    return f()\nf()", "RecursionError"),
    "memory": ("x = []\nwhile True:\n    x.append(bytearray(10_000_000))", "MemoryError"),
    "one huge object": ("x = 'a' * 10**10", "emory"),
    "a flood of calls": ("for i in range(100):\n    ping()", "20 tool calls"),
    "exit": ("import sys\nsys.exit(3)", ""),
    "SystemExit": ("raise SystemExit('bye')", ""),
    "hard exit": ("import os\nos._exit(7)", ""),
    "a thread that stays": (
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\nprint('up')",
        "",
    ),
    "huge integer text": ("print(10 ** 10 ** 7)", ""),
    "deep json": ("ping(eval('[' * 90 + ']' * 90))", ""),
    "reading stdin": ("print(input('? '))", "EOF"),
    "open": ("print(open('/etc/passwd').read())", "read_file"),
    "an exception with a nasty text": (
        "class E(Exception):\n    def __str__(self):\n        raise RuntimeError('no')\nraise E",
        "E",
    ),
}


@pytest.mark.parametrize("name", HARMFUL)
async def test_a_harmful_block_harms_only_itself(stage: Stage, name: str) -> None:
    code, told = HARMFUL[name]
    rt = stage.open(act(code), act("print(6 * 7)"), finish("alive"), runtime=LIMITS)
    rt.register_tool("ping", lambda value=None: "pong")
    begun = time.monotonic()
    assert await stage.run() == "alive"
    assert time.monotonic() - begun < 8
    assert told in stage.heard(1)
    assert "\n42\n" in stage.heard(2)
    assert "root:" not in stage.conversation
    assert len(stage.heard(1)) < 12_000


async def test_a_flood_of_output_is_cut_with_a_count(stage: Stage) -> None:
    stage.open(act("for i in range(200_000):\n    print('line', i)\nprint('the end')"), finish(), runtime=LIMITS)
    await stage.run()
    assert "line 0\n" in stage.heard()
    assert "characters were dropped" in stage.heard() or "the end" in stage.heard()
    assert len(stage.heard()) < 8_000


async def test_a_failing_block_lists_what_took_effect(stage: Stage) -> None:
    code = "write_file('a.txt')\nwrite_file('b.txt')\n1 / 0\nwrite_file('c.txt')"
    stage.open(act(code, "A", "B", "C"), finish())
    await stage.run()
    text = stage.heard()
    assert "ZeroDivisionError" in text
    assert "These calls took effect before that" in text
    assert text.count("write_file(") >= 2
    assert sorted(path.name for path in stage.work.iterdir()) == ["a.txt", "b.txt"]


async def test_patching_builtins_does_not_reach_the_next_block_or_the_host(stage: Stage) -> None:
    code = """
        import json, builtins
        json.dumps = lambda *a, **k: 'patched'
        builtins.len = lambda x: 99
        print = None
        read_file = None
    """
    (stage.work / "a.txt").write_text("still here\n")
    stage.open(act(code), act("read_file('a.txt')"), finish("ok"))
    assert await stage.run() == "ok"
    assert "still here" in stage.heard(2)


async def test_twenty_bad_replies_in_a_row_end_with_the_steps(stage: Stage) -> None:
    bad = [reply for reply, _ in REFUSED.values()] * 3
    stage.open(*bad[:20], runtime={"max_steps": 20})
    assert await stage.run() is None
    assert stage.status == "max_steps"
    assert list(stage.work.iterdir()) == []


async def test_an_output_schema_is_asked_for_until_it_fits(stage: Stage) -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    stage.open(finish("not json"), finish('{"n": "three"}'), finish('{"n": 3}'), output_schema=schema)
    assert await stage.run() == '{"n": 3}'
    assert stage.rt.last.output == {"n": 3}
    assert "does not fit the output schema" in stage.heard(1)
    assert "n" in stage.heard(2)
