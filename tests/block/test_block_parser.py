"""Reading replies: which block is which, what runs, what is only shown."""

from __future__ import annotations

import pytest

from autopilot_runtime.block.explain import explain
from autopilot_runtime.block.parser import ReplyParser, parse_reply
from autopilot_runtime.block.reply import Control, Payload, Piece, Reply

ACTION = """Got it, updating the timeout.

```python
# only shown
```

```codepilot
write_file("config.py", start_line=12, end_line=12, mode="edit")
write_file("utils.py")
```

The first file:

```python filename=config.py
TIMEOUT = 30
```

```python filename=utils.py
def slugify(text):
\treturn text
```

```completion
Done. Updated TIMEOUT.
Bye.
```
"""


def shown(text: str) -> tuple[list[Piece], Reply]:
    parser = ReplyParser()
    pieces = parser.feed(text)
    reply = parser.finish()
    return [*pieces, *reply.tail], reply


def faults(reply: Reply) -> list[tuple[str, str, int]]:
    return [(one.kind, one.fault, one.line) for one in reply.problems]


def test_a_reply_with_everything_is_read_whole():
    pieces, reply = shown(ACTION)
    assert reply.kind == "action"
    assert reply.runnable
    assert not reply.problems
    code = 'write_file("config.py", start_line=12, end_line=12, mode="edit")\nwrite_file("utils.py")\n'
    assert reply.control == Control(code, 7, True)
    assert reply.payloads == (
        Payload("TIMEOUT = 30\n", "python", "config.py", 14, True),
        Payload("def slugify(text):\n\treturn text\n", "python", "utils.py", 18, True),
    )
    assert reply.completion == "Done. Updated TIMEOUT.\nBye."
    assert reply.completion_closed
    assert reply.asides.strip() == "The first file:"
    assert reply.text == ACTION
    assert pieces == [
        Piece("prose", "Got it, updating the timeout.\n\n```python\n# only shown\n```\n\n"),
        Piece("control", mark="opened"),
        Piece("control", mark="closed"),
        Piece("completion", "Done. Updated TIMEOUT.\nBye."),
    ]


def test_a_line_of_code_is_found_again_in_the_reply():
    reply = parse_reply(ACTION)
    assert reply.control is not None
    for number, line in enumerate(reply.control.code.splitlines(), start=1):
        assert ACTION.splitlines()[reply.control.line + number - 1] == line


def test_a_chat_answer_is_streamed_whole_and_its_blocks_never_run():
    text = "Sure:\n\n```python\nload()\n```\n\nand ~~gone~~ `x`\n``"
    pieces, reply = shown(text)
    assert "".join(piece.text for piece in pieces) == text
    assert reply.kind == "chat"
    assert reply.prose == text
    assert reply.control is None
    assert not reply.problems


def test_autopilot_is_the_same_word():
    assert parse_reply("```autopilot\nx()\n```").runnable


@pytest.mark.parametrize("fence", ["```", "`````", "~~~", "~~~~"])
def test_any_fence_may_hold_the_control_block(fence):
    reply = parse_reply(f"{fence}codepilot  \t\nx()\n{fence}  \n")
    assert reply.control == Control("x()\n", 1, True)
    assert reply.runnable


def test_a_completion_alone_ends_the_task():
    pieces, reply = shown("All green.\n\n```completion\nFixed it.\n```\n")
    assert reply.kind == "completion"
    assert reply.completion == "Fixed it."
    assert [piece.window for piece in pieces] == ["prose", "completion"]


def test_a_completion_before_the_control_block_does_not_hide_it():
    reply = parse_reply("```completion\nDone\n```\nbut first\n```codepilot\nx()\n```\n```text\np\n```\n")
    assert reply.kind == "action"
    assert reply.runnable
    assert reply.completion == "Done"
    assert reply.asides == "but first\n"
    assert [payload.content for payload in reply.payloads] == ["p\n"]


def test_a_completion_may_be_empty():
    reply = parse_reply("```completion\n```\n")
    assert reply.completion == ""
    assert reply.kind == "completion"


def test_a_completion_may_hold_a_block_of_its_own():
    pieces, reply = shown("```completion\nRun:\n```bash\nmake\n```\nBye.\n```\n")
    assert reply.completion == "Run:\n```bash\nmake\n```\nBye."
    assert pieces == [Piece("completion", reply.completion)]
    assert not reply.problems


def test_an_unclosed_completion_counts_when_the_model_had_finished():
    reply = parse_reply("```completion\nDone\n")
    assert (reply.completion, reply.completion_closed) == ("Done", False)
    assert faults(reply) == [("warning", "unclosed_completion", 1)]


def test_a_second_completion_is_added_and_said():
    pieces, reply = shown("```completion\nA\n```\n```completion\nB\n```\n")
    assert reply.completion == "A\n\nB"
    assert "".join(piece.text for piece in pieces) == reply.completion
    assert faults(reply) == [("warning", "two_completions", 4)]


@pytest.mark.parametrize("text", ["", " \n\t\r\n"])
def test_white_space_is_an_empty_reply(text):
    assert parse_reply(text).kind == "empty"


def test_an_unclosed_control_block_never_runs():
    reply = parse_reply("```codepilot\nx()\n")
    assert reply.control == Control("x()\n", 1, False)
    assert not reply.runnable
    assert faults(reply) == [("error", "unclosed", 1)]
    assert reply.prose == ""


def test_two_control_blocks_run_neither_and_say_so():
    reply = parse_reply("```codepilot\na()\n```\n```autopilot\nb()\n```\n")
    assert not reply.runnable
    assert faults(reply) == [("error", "two_controls", 4)]
    assert "lines 1 and 4" in explain(reply)


def test_an_error_is_never_crowded_out_by_hints():
    reply = parse_reply("```Codepilot\n```\n" * 500 + "```codepilot\na()\n```\n```codepilot\nb()\n```\n")
    assert not reply.runnable
    assert len(reply.problems) < 50
    assert len(explain(reply)) < 5_000


def test_backticks_in_strings_and_comments_do_not_close_the_control_block():
    code = (
        's = "```"\n# ``` in a comment\nt = """\n ```\n``` x\n``\n~~~\n"""\nu = f"{s}```"\n'
        'write("```codepilot\\nx\\n```")\n'
    )
    reply = parse_reply(f"```codepilot\n{code}```\n")
    assert reply.control == Control(code, 1, True)
    assert reply.runnable


def test_a_longer_fence_lets_the_code_hold_a_bare_fence():
    code = 't = """\n```\n"""\n'
    reply = parse_reply(f"````codepilot\n{code}````\n")
    assert reply.control == Control(code, 1, True)
    assert not reply.problems


def test_a_control_block_that_swallowed_its_payload_says_where():
    reply = parse_reply('```codepilot\nwrite_file("a")\n```python filename=a\nx\n```\n')
    assert reply.control is not None
    assert "```python" in reply.control.code  # which is no Python, so the syntax check refuses it
    assert faults(reply) == [("hint", "fence_in_control", 3)]


def test_a_payload_before_the_control_block_is_display_and_said():
    reply = parse_reply('```python filename=a.py\nx\n```\n```codepilot\nwrite_file("a.py")\n```\n')
    assert reply.payloads == ()
    assert faults(reply) == [("hint", "early_payload", 1)]


def test_a_chat_answer_may_show_files_by_name():
    assert parse_reply("Put this there:\n```python filename=a.py\nx\n```\n").problems == ()


def test_indented_fences_are_text():
    text = "1. Like this:\n   ```python\n   x\n  ```\n\n```codepilot\nx()\n```\n"
    reply = parse_reply(text)
    assert reply.runnable
    assert reply.prose == text[: text.index("```codepilot")]


def test_a_backtick_in_the_info_string_makes_it_text():
    text = "```codepilot``` is the word\n```a`b\n"
    reply = parse_reply(text)
    assert (reply.kind, reply.prose, reply.problems) == ("chat", text, ())


def test_a_control_block_shown_inside_a_longer_fence_is_display():
    text = "So:\n````markdown\n```codepilot\nx()\n```\n````\n"
    reply = parse_reply(text)
    assert (reply.kind, reply.prose, reply.problems) == ("chat", text, ())


def test_a_control_block_shown_inside_an_equal_fence_is_refused_aloud():
    reply = parse_reply("```text\noutput\n```codepilot\nx()\n```\n")
    assert reply.control is None
    assert faults(reply) == [("error", "swallowed", 3)]


def test_the_tail_is_only_what_was_held_back():
    parser = ReplyParser()
    assert parser.feed("hello\n``") == [Piece("prose", "hello\n")]
    assert parser.finish().tail == (Piece("prose", "``"),)


def test_nothing_else_is_held_back():
    parser = ReplyParser()
    assert parser.feed("a") == [Piece("prose", "a")]
    assert parser.feed("\n`") == [Piece("prose", "\n")]
    assert parser.feed("x") == [Piece("prose", "`x")]
    assert parser.feed("\n```py`") == [Piece("prose", "\n```py`")]
    assert parser.feed("\n ```codepilot") == [Piece("prose", "\n ```codepilot")]


@pytest.mark.parametrize(
    ("info", "language", "filename"),
    [
        ("python filename=config.py", "python", "config.py"),
        ('python filename="my file.py" x=1', "python", "my file.py"),
        ("js\tfilename='a b.js'", "js", "a b.js"),
        ("filename=.env", "", ".env"),
        (" text ", "text", None),
        ("python filename=", "python", None),
        ("python xfilename=a", "python", None),
        ('python filename="open.py', "python", '"open.py'),
        ("", "", None),
    ],
)
def test_the_info_string_of_a_payload(info, language, filename):
    (payload,) = parse_reply(f"```codepilot\nw()\n```\n```{info}\n```\n").payloads
    assert (payload.language, payload.filename, payload.content) == (language, filename, "")
