"""Replies that are cut, crooked, nested or made to mislead."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autopilot_runtime.block.explain import explain
from autopilot_runtime.block.parser import ReplyParser, parse_reply
from autopilot_runtime.block.reply import Piece, Reply

WRITE = '```codepilot\nwrite_file("README.md")\n```\n\n'
PARTS = st.sampled_from(
    [
        *("```", "````", "``", "`", "~~~", "~~~~", "~", "\n", "\n", "\n", "\r\n", "\r", " ", "\t", "x", "text\n"),
        *("codepilot", "autopilot", "completion", "python", " filename=a.py", "markdown", "```codepilot\n"),
        *("```completion\n", "```python\n", "\n```\n", "\n```\n", "\n````\n", "\ufeff", "\u200b", "\u2028", "\x0b"),
        *("\x85", "\x00", "\ud83d", "\ude00", "é", "😀", "Codepilot", "\x1c", "'''", "x()\n", '"```"'),
    ]
)
REPLIES = st.lists(PARTS, max_size=40).map("".join)


def streamed(chunks: list[str], *, cut: bool) -> tuple[str, str, list[str], Reply]:
    parser = ReplyParser()
    pieces: list[Piece] = []
    for chunk in chunks:
        pieces += parser.feed(chunk)
    reply = parser.finish(cut)
    pieces += reply.tail
    prose = "".join(piece.text for piece in pieces if piece.window == "prose")
    completion = "".join(piece.text for piece in pieces if piece.window == "completion")
    return prose, completion, [piece.mark for piece in pieces if piece.mark], reply


# ---------------------------------------------------------------- chunks


@settings(max_examples=400)
@given(REPLIES, st.data(), st.booleans())
@example("```codepilot\nx()\n```\n```py\na\n```\n```completion\nok\r\n\r\n```\n", None, False)
def test_any_split_gives_the_same_reply_and_the_same_view(text, data, cut):
    whole = streamed([text], cut=cut)
    assert streamed(list(text), cut=cut) == whole
    if data is not None:
        at = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
        chunks = [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]
        assert streamed(chunks, cut=cut) == whole


@settings(max_examples=400)
@given(REPLIES, st.booleans())
def test_what_a_reply_promises_holds_for_every_text(text, cut):
    prose, completion, marks, reply = streamed([text], cut=cut)
    assert reply.prose == prose
    if reply.completion is not None:
        assert reply.completion == completion
    reply.text.encode("utf-8")  # can be saved
    if "\ufffd" not in reply.text:
        assert reply.text.encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")
    assert reply.runnable == (marks == ["opened", "closed"] and not reply.errors)
    if not cut and not reply.errors and reply.kind == "chat":
        assert prose == reply.text
    assert all(1 <= one.line <= reply.text.count("\n") + 1 for one in reply.problems)
    assert bool(explain(reply)) == bool(reply.problems)
    for payload in reply.payloads:
        assert payload.content in reply.text
        assert payload.closed or reply.errors


def test_every_byte_where_a_fence_may_be_split_hides_the_code():
    text = "Hi\n```codepilot\nSECRET()\n```\n```py\nSECRET\n```\n```completion\nok\n```\n"
    for at in range(len(text)):
        prose, completion, _, reply = streamed([text[:at], text[at:]], cut=False)
        assert (prose, completion) == ("Hi\n", "ok")
        assert reply.runnable


# ---------------------------------------------------------------- cut by the token limit

FULL = "Now:\n```codepilot\na()\n```\nfile:\n```python\nx\n```\n```completion\nAll done.\n```\n"


@pytest.mark.parametrize("at", range(len(FULL) + 1))
def test_a_cut_reply_runs_only_what_was_complete(at):
    reply = parse_reply(FULL[:at], cut=True)
    complete = "x\n```\n" in FULL[:at]
    between = (
        FULL[:at].endswith(("```\n", "f", "fi", "fil", "file", "file:", "file:\n")) and "a()\n```\n" in FULL[:at]
    )
    in_completion = "```completion" in FULL[:at]
    if in_completion or between:
        assert reply.runnable
        assert reply.control.code == "a()\n"
        assert all(payload.content == "x\n" for payload in reply.payloads)
    else:
        assert not reply.runnable
        assert reply.errors
    assert (reply.completion is not None) == FULL[:at].endswith("All done.\n```\n")
    assert reply.problems, "a cut is never silent"
    assert complete or not reply.payloads or not reply.payloads[0].closed


def test_a_cut_in_the_completion_asks_for_the_completion_only():
    reply = parse_reply(FULL[: FULL.index("done")], cut=True)
    assert reply.completion is None
    assert "needs no repeating" in explain(reply)
    alone = parse_reply("```completion\nAll do", cut=True)
    assert (alone.kind, alone.completion) == ("completion", None)
    assert alone.errors


def test_a_closing_fence_at_the_very_cut_might_have_been_longer():
    reply = parse_reply("```codepilot\na()\n```", cut=True)
    assert not reply.runnable
    assert parse_reply("```codepilot\na()\n```").runnable


def test_a_cut_chat_answer_does_not_end_as_if_finished():
    reply = parse_reply("The answer is\n```codepi", cut=True)
    assert reply.prose == "The answer is\n"
    assert [one.fault for one in reply.errors] == ["cut"]


# ---------------------------------------------------------------- nesting


def test_a_longer_outer_fence_keeps_its_content_to_the_byte():
    content = "# T\r\n```bash\r\npip\x00\t\n```\n\n````\n~~~\n```codepilot\nx\n```\n\u2028\x0b\x85"
    reply = parse_reply(f"{WRITE}`````markdown\n{content}\n`````\n")
    assert reply.runnable
    assert reply.payloads[0].content == content + "\n"


def test_naive_nesting_with_languages_is_read_exactly():
    content = "# T\n```bash\npip\n```\nand\n```python\nx\n```\nEnd.\n"
    reply = parse_reply(f"{WRITE}```markdown filename=README.md\n{content}```\n\n```python\ny\n```\n")
    assert reply.runnable
    assert [payload.content for payload in reply.payloads] == [content, "y\n"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("# T\n```\npip\n```\nEnd.\n", 9),
        ("```\npip\n```\n", 8),
        ("# T\n```bash\npip\n```\n```\ntree\n```\nEnd.\n", 12),
        ("# T\n```\npip\n```\n```bash\nx\n```\nEnd.\n", 9),
        ("# T\n```bash\npip\nEnd.\n", 5),
        ("````md\n```bash\nx\n```\n````\n```\nx\n```\n", 13),
    ],
)
def test_naive_nesting_that_cannot_be_read_names_the_line_and_runs_nothing(content, line):
    reply = parse_reply(f"{WRITE}```markdown\n{content}```\n\n```completion\nDone.\n```\n")
    assert not reply.runnable
    assert line in [one.line for one in reply.errors]
    assert "longer fence" in explain(reply)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(["a", "", "```", "```bash", "```sh", "````", "~~~", "# T", "- b"]), max_size=14))
def test_a_nested_file_is_written_whole_or_not_at_all(lines):
    """Whatever a naive writer puts between three backticks, as far as it is well-formed Markdown with text around."""
    inside = False
    content = []
    for line in lines:
        if line.startswith("```") and line != "````":
            # A naive writer opens with or without a language and closes without; code in between is never blank.
            content += ["code", "```"] if inside else [line, "code"]
            inside = not inside
        elif line != "````":
            content.append(line)
    if inside:
        content += ["code", "```"]
    text = "".join(line + "\n" for line in content)
    reply = parse_reply(f"{WRITE}```markdown\n{text}```\n\n```completion\nDone.\n```\n")
    if reply.runnable:
        assert [payload.content for payload in reply.payloads] == [text]
        assert reply.completion == "Done."


def test_several_plain_payloads_with_prose_between_are_fine():
    blocks = "And:\n\n```python\na\n```\n\nNow the second file:\n```js\nb\n```\n```yaml\nc\n```\n\n```\nd\n```\n"
    reply = parse_reply(WRITE + blocks)
    assert reply.runnable
    assert [payload.content for payload in reply.payloads] == ["a\n", "b\n", "c\n", "d\n"]


def test_a_first_payload_without_a_language_may_follow_prose():
    assert parse_reply(WRITE + "The file:\n```\nA=1\n```\n").runnable


def test_a_payload_that_was_not_closed_does_not_swallow_the_next_one():
    reply = parse_reply(WRITE + "```python filename=a.py\nx\n\n```python filename=b.py\ny\n```\n```\n")
    assert [(one.fault, one.line) for one in reply.errors] == [("swallowed", 8)]


# ---------------------------------------------------------------- look-alikes


@pytest.mark.parametrize(
    ("opening", "says"),
    [
        ("```code\u200bpilot", "U+200B ZERO WIDTH SPACE"),
        ("```\u200bcodepilot", "U+200B"),
        ("```codepilot\u200b", "U+200B"),
        ("```codepilot\u00a0", "U+00A0 NO-BREAK SPACE"),
        ("```\ufeffcodepilot", "U+FEFF"),
        ("\ufeff```codepilot", "U+FEFF"),
        ("\u200b```codepilot", "U+200B"),
        ("``\u200b`codepilot", "U+200B"),
        ("```соdepilot", "CYRILLIC SMALL LETTER ES"),
        ("```cοdepilot", "GREEK SMALL LETTER OMICRON"),
        ("```ｃodepilot", "FULLWIDTH LATIN SMALL LETTER C"),
        ("```codepilot2", "'2' follows"),
        ("```codepilot-example", "'-example' follows"),
        ("```codepilot filename=a", "'filename=a' follows"),
        ("```codepilot {.python}", "follows the word"),
        ("```Codepilot", "small letters"),
        ("```AUTOPILOT", "small letters"),
        ("``` codepilot", "SPACE"),
        ("```\tcodepilot", "U+0009"),
        ("```codepilot\x0b", "U+000B"),
        ("```codepilot\x00", "U+0000"),
        ("```codepilot\u2028", "U+2028"),
        ("```code-pilot", "spelt 'code-pilot'"),
        ("```codpilot", "spelt 'codpilot'"),
        ("` ` `codepilot", "SPACE"),
        ("｀｀｀codepilot", "FULLWIDTH GRAVE ACCENT"),
        ("'''codepilot", "APOSTROPHE"),
        (" ```codepilot", "indented"),
        ("\t```codepilot", "indented"),
        ("> ```codepilot", "first character"),
        ("Let me look:```codepilot", "first character"),
        ("text\x0b```codepilot", "first character"),
        ("text\u2028```codepilot", "first character"),
        ("text\x85```codepilot", "first character"),
        ("text\r```codepilot", "first character"),
        ("```Completion", "small letters"),
    ],
)
def test_a_look_alike_never_runs_and_says_which_character(opening, says):
    reply = parse_reply(f"Now.\n{opening}\nx()\n```\n")
    assert reply.control is None
    assert reply.completion is None
    (hint,) = (one for one in reply.problems if one.fault == "look_alike")
    assert (hint.kind, hint.line) == ("hint", 2)
    assert says in hint.text, hint.text
    hint.text.encode("ascii")


NEARLY = st.lists(
    st.one_of(
        st.sampled_from(["```", "~~~", "`", "codepilot", "autopilot", "code", "pilot", " ", "о", "і"]),
        st.characters(),
    ),
    max_size=8,
).map("".join)


@settings(max_examples=500)
@given(NEARLY, NEARLY)
def test_only_the_exact_line_opens_a_control_block(before, after):
    reply = parse_reply(f"{before}codepilot{after}\nx()\n```\n")
    if reply.control is not None and reply.control.line == 1:
        line = reply.text.split("\n")[0].rstrip(" \t\r")
        assert line.lstrip("`" if line[0] == "`" else "~") in ("codepilot", "autopilot")
    assert all(one.text.replace("\n", "").isprintable() for one in reply.problems)


@pytest.mark.parametrize(
    "text",
    [
        "The completion\n- completion\n* codepilot\n'completion'\n**autopilot**\n",
        "```python\nx\n```\n```code\n```\n```compilation\n```\n",
        "use ```codepilot``` and `completion`\n",
        "````text\n ```codepilot\n```Codepilot\n````\n",
        "```text\n  ```codepilot\n  ```\n```\n",
    ],
)
def test_ordinary_talk_about_blocks_raises_no_hint(text):
    assert parse_reply(text).problems == ()


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_other_line_separators_neither_open_nor_close(end):
    inside = f"a{end}```{end}b{end}```completion{end}"
    reply = parse_reply(f"{WRITE}```text\n{inside}\n```\n")
    assert reply.runnable
    assert reply.payloads[0].content == inside + "\n"
    assert parse_reply(f"a{end}```codepilot{end}x(){end}```{end}").control is None


def test_a_crlf_reply_is_read_alike_and_keeps_its_line_ends():
    reply = parse_reply("Hi\r\n```codepilot\r\nx()\r\n```\r\n```py\r\na\r\n```\r\n```completion\r\nok\r\n```\r\n")
    assert reply.runnable
    assert reply.control.code == "x()\r\n"
    assert reply.payloads[0].content == "a\r\n"
    assert reply.completion == "ok"


# ---------------------------------------------------------------- characters and sizes


def test_a_lone_surrogate_is_replaced_and_said_and_a_split_pair_is_joined():
    reply = streamed(["a\n", "\ud83d", "\ude00\n", "\ud83d", "x"], cut=False)[3]
    assert reply.text == "a\n😀\n\ufffdx"
    assert [(one.kind, one.fault, one.line) for one in reply.problems] == [("warning", "surrogates", 3)]
    assert streamed(["\ud83d"], cut=False)[3].text == "\ufffd"


HOSTILE = {
    "64 KB of backticks": "`" * 65_536,
    "64 KB of backticks and text": "`" * 65_536 + "x" * 65_536,
    "10,000 fences": "```\nx\n```\n" * 5_000,
    "10,000 nested fences": "```a\n" * 10_000,
    "10,000 control blocks": "```codepilot\nx()\n```\n" * 5_000,
    "10,000 completions": "```completion\nx\n```\n" * 5_000,
    "10,000 payloads": "```codepilot\n```\n" + "x\n```\ny\n```\n" * 5_000,
    "10,000 look-alikes": "```Codepilot\n```\n" * 5_000,
    "20,000 near fences": " ```codepilot\n" * 20_000,
    "a megabyte of words": "completion " * 100_000,
    "a long info string": "```" + 'filename="' * 20_000,
    "fences of every length": "".join("`" * n + "x\n" for n in range(3, 700)),
    "white space after the word": "```codepilot" + " \t" * 50_000,
    "surrogates": "\ud83d" * 20_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("size", [16, 1 << 20])
def test_hostile_replies_are_read_in_linear_time(name, size):
    text = HOSTILE[name]
    began = time.perf_counter()
    streamed([text[at : at + size] for at in range(0, len(text), size)], cut=False)
    assert time.perf_counter() - began < 4  # seconds, on a busy machine; quadratic work takes minutes


def test_twice_the_text_costs_about_twice_the_time():
    """One line of 5 MB in small chunks, begun so that it must be held back: no scan of what is pending."""

    def cost(length: int) -> float:
        parser = ReplyParser()
        parser.feed("```")
        began = time.perf_counter()
        for _ in range(length // 20):
            parser.feed("x" * 20)
        return time.perf_counter() - began

    cost(20_000)
    small, large = min(cost(200_000) for _ in range(3)), cost(3_200_000)
    assert large < 16 * small * 6


def test_the_parser_is_pure():
    folder = Path(__file__).parents[2] / "autopilot_runtime" / "block"
    for path in folder.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not any(f"import {name}" in source for name in ("os", "io", "pathlib", "subprocess", "socket", "sys"))
        assert "open(" not in source.replace("_open(", "")
